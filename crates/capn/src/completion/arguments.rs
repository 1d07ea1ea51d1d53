//! Arguments that are completed with names.

use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::names::{Kind, Source};

/// An argument, by the path of its command and its id.
struct NameArgument {
    command: &'static [&'static str],
    argument: &'static str,
    kinds: &'static [Kind],
}

const fn cluster(command: &'static [&'static str]) -> NameArgument {
    NameArgument { command, argument: "name", kinds: &[Kind::Cluster] }
}

/// Arguments that are names of clusters and machines. Names of remotes complete every option
/// `--remote`.
const NAME_ARGUMENTS: &[NameArgument] = &[
    cluster(&["up"]),
    cluster(&["describe", "cluster"]),
    cluster(&["delete", "cluster"]),
    cluster(&["kubeconfig"]),
    cluster(&["scale"]),
    cluster(&["upgrade"]),
    cluster(&["repair"]),
    cluster(&["stop"]),
    cluster(&["start"]),
    cluster(&["pause"]),
    cluster(&["resume"]),
    cluster(&["etcd", "snapshot", "save"]),
    cluster(&["etcd", "snapshot", "list"]),
    cluster(&["etcd", "snapshot", "restore"]),
    NameArgument { command: &["get"], argument: "cluster", kinds: &[Kind::Cluster] },
    NameArgument { command: &["logs"], argument: "name", kinds: &[Kind::Cluster, Kind::Machine] },
    NameArgument { command: &["exec"], argument: "machine", kinds: &[Kind::Machine] },
    NameArgument { command: &["doctor"], argument: "escape_test", kinds: &[Kind::Machine] },
];

/// Id of the option for a remote.
const REMOTE: &str = "remote";

/// Adds name completion to a command.
pub(super) fn with_names(command: Command, source: &Source) -> Command {
    let command = NAME_ARGUMENTS
        .iter()
        .fold(command, |command, argument| within(command, argument.command, argument, source));
    with_remotes(command, source)
}

fn within(command: Command, path: &[&str], argument: &NameArgument, source: &Source) -> Command {
    match path {
        [] => command.mut_arg(argument.argument, |arg| arg.add(candidates(argument.kinds, source))),
        [next, rest @ ..] => {
            command.mut_subcommand(*next, |command| within(command, rest, argument, source))
        }
    }
}

fn with_remotes(command: Command, source: &Source) -> Command {
    let has_remote = command.get_arguments().any(|arg| arg.get_id() == REMOTE);
    let command = match has_remote {
        true => command.mut_arg(REMOTE, |arg| arg.add(candidates(&[Kind::Remote], source))),
        false => command,
    };
    command.mut_subcommands(|command| with_remotes(command, source))
}

fn candidates(kinds: &'static [Kind], source: &Source) -> ArgValueCandidates {
    let source = source.clone();
    ArgValueCandidates::new(move || {
        let names = kinds.iter().flat_map(|kind| source.names(*kind));
        names.map(CompletionCandidate::new).collect()
    })
}
