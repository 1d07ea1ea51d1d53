//! One file a command. A command returns what came out; printing is the last thing it does.

pub mod apply;
pub mod cluster_args;
pub mod completion;
pub mod create;
pub mod delete;
pub mod describe;
pub mod doctor;
pub mod etcd;
pub mod exec;
mod freshness;
pub mod generate;
pub mod get;
pub mod identity;
pub mod image;
pub mod kubeconfig;
pub mod logs;
pub mod manager;
mod meant;
pub mod pause;
pub mod repair;
pub mod scale;
pub mod serve;
pub mod simplestreams;
pub mod start;
pub mod stop;
pub mod up;
pub mod upgrade;
pub mod user;
pub mod version;

use std::future::ready;

use futures::future::LocalBoxFuture;

use crate::Context;
use crate::cli::{
    Command, CreateWhat, DeleteWhat, DescribeWhat, EtcdWhat, GenerateWhat, IdentityWhat, ImageWhat,
    SimplestreamsWhat, SnapshotWhat, UserWhat,
};
use crate::error::CommandError;
use crate::exit::Exit;

/// Runs a command, and says how it ended: with [`Exit::Done`], but for a command in a machine.
///
/// # Errors
///
/// When what was asked for does not hold at the end.
pub async fn run(context: &Context, command: Command) -> Result<Exit, CommandError> {
    if let Command::Exec(args) = command {
        return exec::run(context, args).await;
    }
    running(context, command).await.map(|()| Exit::Done)
}

/// The work of a command. Not an async function: the frame of one that has all commands in it would lie below each
/// of them, and is hundreds of kilobytes without optimisation.
fn running(context: &Context, command: Command) -> LocalBoxFuture<'_, Result<(), CommandError>> {
    match command {
        // Has an exit code of its own.
        Command::Exec(_) => Box::pin(ready(Ok(()))),
        Command::Up(args) => Box::pin(up::run(context, args)),
        Command::Create(CreateWhat::Cluster(args)) => Box::pin(create::run(context, args)),
        Command::Get(args) => Box::pin(get::run(context, args)),
        Command::Describe(DescribeWhat::Cluster(args)) => Box::pin(describe::run(context, args)),
        Command::Describe(DescribeWhat::Other(words)) => Box::pin(meant::describe(context, words)),
        Command::Kubeconfig(args) => Box::pin(kubeconfig::run(context, args)),
        Command::Scale(args) => Box::pin(scale::run(context, args)),
        Command::Upgrade(args) => Box::pin(upgrade::run(context, args)),
        Command::Etcd(EtcdWhat::Snapshot(what)) => match what {
            SnapshotWhat::Save(args) => Box::pin(etcd::save::run(context, args)),
            SnapshotWhat::List(args) => Box::pin(ready(etcd::list::run(context, &args))),
            SnapshotWhat::Restore(args) => Box::pin(etcd::restore::run(context, args)),
        },
        Command::Stop(args) => Box::pin(stop::run(context, args)),
        Command::Start(args) => Box::pin(start::run(context, args)),
        Command::Logs(args) => Box::pin(logs::run(context, args)),
        Command::Repair(args) => Box::pin(repair::run(context, args)),
        Command::Pause(args) => Box::pin(pause::run(context, args, true)),
        Command::Resume(args) => Box::pin(pause::run(context, args, false)),
        Command::Delete(DeleteWhat::Cluster(args)) => Box::pin(delete::run(context, args)),
        Command::Delete(DeleteWhat::Other(words)) => Box::pin(meant::delete(context, words)),
        Command::Generate(GenerateWhat::Cluster(args)) => Box::pin(generate::run(context, *args)),
        Command::Generate(GenerateWhat::Provider(args)) => {
            Box::pin(ready(generate::provide(context, &args)))
        }
        Command::Apply(args) => Box::pin(apply::run(context, args)),
        Command::Serve(args) => Box::pin(serve::run(context, args)),
        Command::Manager(args) => Box::pin(manager::run(context, *args)),
        Command::Image(ImageWhat::Build(args)) => Box::pin(image::build::run(context, args)),
        Command::Image(ImageWhat::Import(args)) => Box::pin(image::import::run(context, args)),
        Command::Image(ImageWhat::List(args)) => Box::pin(image::list::run(context, args)),
        Command::Image(ImageWhat::Publish(args)) => Box::pin(image::publish::run(context, args)),
        Command::Simplestreams(SimplestreamsWhat::Show(args)) => {
            Box::pin(simplestreams::show::run(context, args))
        }
        Command::Simplestreams(SimplestreamsWhat::Import(args)) => {
            Box::pin(simplestreams::import::run(context, args))
        }
        Command::Simplestreams(SimplestreamsWhat::Verify(args)) => {
            Box::pin(simplestreams::verify::run(context, args))
        }
        Command::Identity(IdentityWhat::Create(args)) => {
            Box::pin(identity::create::run(context, *args))
        }
        Command::Identity(IdentityWhat::Delete(args)) => {
            Box::pin(identity::delete::run(context, args))
        }
        Command::User(UserWhat::Create(args)) => Box::pin(user::create::run(context, *args)),
        Command::User(UserWhat::List(args)) => Box::pin(user::list::run(context, args)),
        Command::User(UserWhat::Delete(args)) => Box::pin(user::delete::run(context, args)),
        Command::Doctor(args) => Box::pin(doctor::run(context, args)),
        Command::Version(args) => Box::pin(ready(version::run(context, args))),
        Command::Completion(args) => Box::pin(ready(completion::run(context, &args))),
    }
}

/// Where objects are, and how long to wait: options of commands that work on a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArg {
    /// Namespace of the cluster
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
}

/// Reads `90s`, `15m`, `1h30m` or `0`.
///
/// # Errors
///
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    if text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| "write it like `90s`, `15m` or `1h30m`".to_owned())?;
    duration.try_into().map_err(|_| "a wait cannot be negative".to_owned())
}
