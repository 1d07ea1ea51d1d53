//! The commands, one file each. A command returns its result and prints it last.

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
mod missing_kind;
pub mod pause;
pub mod pool;
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

/// Runs a command and returns its exit code: [`Exit::Done`], or that of a command run in a machine.
///
/// # Errors
///
/// Returns the error of the command.
pub async fn run(context: &Context, command: Command) -> Result<Exit, CommandError> {
    if let Command::Exec(args) = command {
        return exec::run(context, args).await;
    }
    running(context, command).await.map(|()| Exit::Done)
}

/// The future of a command. Not an async function: its frame would contain the frames of all
/// commands, hundreds of kilobytes without optimization.
fn running(context: &Context, command: Command) -> LocalBoxFuture<'_, Result<(), CommandError>> {
    match command {
        // Returns its own exit code.
        Command::Exec(_) => Box::pin(ready(Ok(()))),
        Command::Up(args) => Box::pin(up::run(context, *args)),
        Command::Create(CreateWhat::Cluster(args)) => Box::pin(create::run(context, *args)),
        Command::Create(CreateWhat::Pool(args)) => Box::pin(pool::create::run(context, *args)),
        Command::Get(args) => Box::pin(get::run(context, args)),
        Command::Describe(DescribeWhat::Cluster(args)) => Box::pin(describe::run(context, args)),
        Command::Describe(DescribeWhat::Other(words)) => {
            Box::pin(missing_kind::describe(context, words))
        }
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
        Command::Delete(DeleteWhat::Pool(args)) => Box::pin(pool::delete::run(context, args)),
        Command::Delete(DeleteWhat::Machine(args)) => Box::pin(pool::machine::run(context, args)),
        Command::Delete(DeleteWhat::Other(words)) => Box::pin(missing_kind::delete(context, words)),
        Command::Generate(GenerateWhat::Cluster(args)) => Box::pin(generate::run(context, *args)),
        Command::Generate(GenerateWhat::Config(args)) => {
            Box::pin(ready(generate::configure(context, *args)))
        }
        Command::Generate(GenerateWhat::Provider(args)) => {
            Box::pin(ready(generate::provide(context, &args)))
        }
        Command::Generate(GenerateWhat::Man(args)) => {
            Box::pin(ready(generate::man::run(context, &args)))
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

/// Namespace option of commands that work on a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArg {
    /// Namespace of the cluster
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
}

/// Parses `90s`, `15m`, `1h30m` or `0`.
///
/// # Errors
///
/// Returns a message if the text is invalid.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    if text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "expected a duration such as `90s`, `15m` or `1h30m`".to_owned())?;
    duration.try_into().map_err(|_| "the duration must not be negative".to_owned())
}
