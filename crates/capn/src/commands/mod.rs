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
    let ended = match command {
        Command::Exec(args) => return exec::run(context, args).await,
        Command::Up(args) => up::run(context, args).await,
        Command::Create(CreateWhat::Cluster(args)) => create::run(context, args).await,
        Command::Get(args) => get::run(context, args).await,
        Command::Describe(DescribeWhat::Cluster(args)) => describe::run(context, args).await,
        Command::Describe(DescribeWhat::Other(words)) => meant::describe(context, words).await,
        Command::Kubeconfig(args) => kubeconfig::run(context, args).await,
        Command::Scale(args) => scale::run(context, args).await,
        Command::Upgrade(args) => upgrade::run(context, args).await,
        Command::Etcd(EtcdWhat::Snapshot(what)) => match what {
            SnapshotWhat::Save(args) => etcd::save::run(context, args).await,
            SnapshotWhat::List(args) => etcd::list::run(context, &args),
            SnapshotWhat::Restore(args) => etcd::restore::run(context, args).await,
        },
        Command::Stop(args) => stop::run(context, args).await,
        Command::Start(args) => start::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Repair(args) => repair::run(context, args).await,
        Command::Pause(args) => pause::run(context, args, true).await,
        Command::Resume(args) => pause::run(context, args, false).await,
        Command::Delete(DeleteWhat::Cluster(args)) => delete::run(context, args).await,
        Command::Delete(DeleteWhat::Other(words)) => meant::delete(context, words).await,
        Command::Generate(GenerateWhat::Cluster(args)) => generate::run(context, *args).await,
        Command::Generate(GenerateWhat::Provider(args)) => generate::provide(context, &args),
        Command::Apply(args) => apply::run(context, args).await,
        Command::Serve(args) => serve::run(context, args).await,
        Command::Manager(args) => manager::run(context, *args).await,
        Command::Image(ImageWhat::Build(args)) => image::build::run(context, args).await,
        Command::Image(ImageWhat::Import(args)) => image::import::run(context, args).await,
        Command::Image(ImageWhat::List(args)) => image::list::run(context, args).await,
        Command::Image(ImageWhat::Publish(args)) => image::publish::run(context, args).await,
        Command::Simplestreams(SimplestreamsWhat::Show(args)) => {
            simplestreams::show::run(context, args).await
        }
        Command::Simplestreams(SimplestreamsWhat::Import(args)) => {
            simplestreams::import::run(context, args).await
        }
        Command::Simplestreams(SimplestreamsWhat::Verify(args)) => {
            simplestreams::verify::run(context, args).await
        }
        Command::Identity(IdentityWhat::Create(args)) => {
            identity::create::run(context, *args).await
        }
        Command::Identity(IdentityWhat::Delete(args)) => identity::delete::run(context, args).await,
        Command::User(UserWhat::Create(args)) => user::create::run(context, *args).await,
        Command::User(UserWhat::List(args)) => user::list::run(context, args).await,
        Command::User(UserWhat::Delete(args)) => user::delete::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Version(args) => version::run(context, args),
        Command::Completion(args) => completion::run(context, &args),
    };
    ended.map(|()| Exit::Done)
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
