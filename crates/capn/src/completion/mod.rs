//! Command line completion: the shell's script calls this program for each word, with the variable
//! `COMPLETE` set, to complete options and names.
//!
//! | module | content |
//! |---|---|
//! | `names` | names of existing clusters, machines and remotes |
//! | `arguments` | arguments that are completed with names |

mod arguments;
mod names;

use std::ffi::OsString;

use clap::{Command, CommandFactory as _};
use clap_complete::env::{EnvCompleter, Shells};

use crate::cli::Cli;
use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};

/// The variable that a shell's script sets.
pub(crate) const VARIABLE: &str = "COMPLETE";
/// The name of the program in scripts.
const PROGRAM: &str = "capn";

/// Returns the script that a shell loads once.
///
/// # Errors
///
/// Returns an error if the shell is not supported.
pub(crate) fn script(shell: &str) -> Result<String, CommandError> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    completer(&shells, shell)?
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .doing("cannot write the completion script")?;
    let mut script = String::from_utf8(script).doing("the completion script is not text")?;
    if shell == "zsh" {
        // compinit loads the file at the first completion, which must be answered too.
        script.push_str("\nif [[ \"${funcstack[1]}\" == \"_capn\" ]]; then\n    _clap_dynamic_completer_capn \"$@\"\nfi\n");
    }
    Ok(script)
}

/// Answers the script of a shell: lists completions of the last word.
///
/// # Errors
///
/// Returns an error if the shell is not supported or the words are invalid.
pub(crate) fn answer(
    shell: &str,
    arguments: Vec<OsString>,
    environment: &Environment,
) -> Result<String, CommandError> {
    let after = arguments.iter().position(|word| word == "--").map_or(arguments.len(), |at| at + 1);
    let words = arguments.get(after..).unwrap_or_default().to_vec();
    if words.is_empty() {
        return script(shell);
    }
    let mut command = command(names::Source::of(environment, &words));
    command.build();
    let dir = std::env::current_dir().ok();
    let mut answer = Vec::new();
    let shells = Shells::builtins();
    completer(&shells, shell)?
        .write_complete(&mut command, words, dir.as_deref(), &mut answer)
        .doing("cannot complete the command line")?;
    String::from_utf8(answer).doing("a completion is not text")
}

fn completer<'a>(
    shells: &'a Shells<'_>,
    shell: &str,
) -> Result<&'a dyn EnvCompleter, CommandError> {
    let unknown =
        || CommandError::usage(format!("completion is not supported for shell `{shell}`"));
    shells.completer(shell).ok_or_else(unknown)
}

/// Returns the command line with name completion.
fn command(source: names::Source) -> Command {
    arguments::with_names(Cli::command(), &source)
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::state::StateDir;

    fn complete(home: &Utf8Path, words: &[&str]) -> Vec<String> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let environment = Environment::with([("HOME", home.as_str())]);
        let mut command = command(names::Source::of(&environment, &words));
        command.build();
        let last = words.len() - 1;
        let found = clap_complete::engine::complete(&mut command, words, last, None).unwrap();
        found.iter().map(|found| found.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn names_are_completed_for_arguments_that_take_them() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let state = StateDir::at(home.join("state"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let need = crate::session::Need::Objects;
            let session = crate::session::Session::open_or_make(&state, need).await.unwrap();
            let request = crate::manifest::request::testing::demo();
            let identity = crate::identity::testing::local();
            for document in crate::manifest::documents(
                &request,
                &identity,
                &crate::manifest::Secrets::default(),
            ) {
                crate::cluster::create_missing(session.client(), &document, "default")
                    .await
                    .unwrap();
            }
            session.close().await.unwrap();
        });
        drop(runtime);
        std::fs::create_dir_all(home.join(".config/incus")).unwrap();
        let remotes = "remotes: {lab: {addr: 'https://lab:8443'}, images: {addr: 'https://images', protocol: simplestreams}}";
        std::fs::write(home.join(".config/incus/config.yml"), remotes).unwrap();
        for file in ["client.crt", "client.key"] {
            std::fs::write(home.join(".config/incus").join(file), "pem").unwrap();
        }
        let at = ["capn", "--state-dir", state.path().as_str()];
        for (words, expected) in [
            (&["describe", "cluster", "de"][..], &["demo"][..]),
            (&["stop", ""], &["demo"]),
            (&["get", "machines", "d"], &["demo"]),
            (&["etcd", "snapshot", "list", "d"], &["demo"]),
            (&["stop", "x"], &[]),
            (&["exec", "a"], &[]),
            (&["doctor", "--remote", "l"], &["lab", "local"]),
        ] {
            let mut found = complete(home, &[&at, words].concat());
            found.retain(|word| !word.starts_with('-'));
            assert_eq!(found, expected, "{words:?}");
        }
        // Options are still completed, and a missing state directory is not created.
        assert!(complete(home, &["capn", "stop", "--time"]).contains(&"--timeout".to_owned()));
        assert!(complete(home, &["capn", "stop", ""]).iter().all(|word| word.starts_with('-')));
        assert!(!home.join(".local").exists());
    }

    #[test]
    fn each_shell_has_a_script_that_calls_this_program() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = script(shell).unwrap();
            assert!(script.contains(VARIABLE) && script.contains("capn"), "{script}");
        }
    }
}
