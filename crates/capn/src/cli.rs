//! The command line.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Kubernetes clusters whose nodes are Incus or LXD instances
#[derive(Debug, Parser)]
#[command(
    name = "capn",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted; `exec` exits with the code of its command."
)]
pub struct Cli {
    /// Global options.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Global options.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Directory of the embedded management plane [default: $XDG_STATE_HOME/capn or
    /// ~/.local/state/capn]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub state_dir: Option<Utf8PathBuf>,
    /// Print more; repeat for debug output (-vv) and for everything (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Disable colors, like NO_COLOR
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
}

/// Commands, in the order in which users need them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a cluster with defaults, wait until it is ready and write its kubeconfig
    #[command(after_help = "Examples: `capn up`; `capn up lab --workers 3 --control-planes 3`")]
    Up(Box<commands::up::UpArgs>),
    /// Create a cluster or a worker pool
    #[command(subcommand)]
    Create(CreateWhat),
    /// List clusters, machines, nodes, pools or images
    Get(commands::get::GetArgs),
    /// Show a cluster as a tree with conditions and the root cause
    #[command(subcommand)]
    Describe(DescribeWhat),
    /// Print the kubeconfig of a cluster, or merge it into your own
    Kubeconfig(commands::kubeconfig::KubeconfigArgs),
    /// Change the number of machines of a cluster
    #[command(after_help = "Example: `capn scale demo --workers 5`")]
    Scale(commands::scale::ScaleArgs),
    /// Upgrade a cluster to another Kubernetes version, machine by machine
    Upgrade(commands::upgrade::UpgradeArgs),
    /// Take and restore etcd snapshots of a cluster
    #[command(subcommand)]
    Etcd(EtcdWhat),
    /// Stop the instances of a cluster and keep their data
    Stop(commands::stop::StopArgs),
    /// Start the instances of a stopped cluster and wait until it is available
    Start(commands::start::StartArgs),
    /// Show logs of machines, or write a support bundle
    Logs(commands::logs::LogsArgs),
    /// Run a command in a machine
    Exec(commands::exec::ExecArgs),
    /// Replace lost and failed machines, start stopped ones, and recover etcd from its last member
    Repair(commands::repair::RepairArgs),
    /// Pause a cluster: its nodes keep running, and nothing else changes
    #[command(after_help = "Example: `capn pause demo`, later `capn resume demo`")]
    Pause(commands::pause::PauseArgs),
    /// Resume a paused cluster
    #[command(after_help = "Example: `capn resume demo`")]
    Resume(commands::pause::PauseArgs),
    /// Delete a cluster with all its server resources, a worker pool or a machine
    #[command(subcommand)]
    Delete(DeleteWhat),
    /// Print the manifests that `create` would apply, or a configuration file
    #[command(subcommand)]
    Generate(GenerateWhat),
    /// Apply manifests to the embedded plane and wait until they are in effect
    #[command(
        after_help = "Example: `capn generate cluster demo > demo.yaml`, edit the file, then `capn apply -f demo.yaml`"
    )]
    Apply(commands::apply::ApplyArgs),
    /// Run the embedded plane and serve its Kubernetes API
    #[command(
        after_help = "Example: `capn serve`, then `kubectl --kubeconfig ~/.local/state/capn/plane.kubeconfig get clusters` in another terminal"
    )]
    Serve(commands::serve::ServeArgs),
    /// Manage users of the served plane, each limited to a namespace
    #[command(subcommand)]
    User(UserWhat),
    /// Run the infrastructure provider in a management cluster, next to the Cluster API controllers
    #[command(
        after_help = "Example: `capn generate provider | kubectl apply -f -` deploys it to a management cluster"
    )]
    Manager(Box<commands::manager::ManagerArgs>),
    /// Build, import, list and publish images of nodes and load balancers
    #[command(subcommand)]
    Image(ImageWhat),
    /// Inspect image servers, and manage image server directories
    #[command(subcommand)]
    Simplestreams(SimplestreamsWhat),
    /// Create and delete identities that give management clusters access to a server
    #[command(subcommand)]
    Identity(IdentityWhat),
    /// Check host and server before creating a cluster, or test the isolation of a node
    #[command(
        after_help = "Examples: `capn doctor`; `capn doctor --fix` applies safe fixes; `capn doctor --orphans` lists resources of unknown clusters"
    )]
    Doctor(commands::doctor::DoctorArgs),
    /// Print the version
    #[command(after_help = "Example: `capn version -o json`")]
    Version(commands::version::VersionArgs),
    /// Print the completion script for a shell
    Completion(commands::completion::CompletionArgs),
}

/// What `create` creates.
#[derive(Debug, Subcommand)]
pub enum CreateWhat {
    /// Create a cluster and wait until it is ready
    #[command(
        after_help = "Example: `capn create cluster lab --kubernetes-version v1.37.2 --workers 2`"
    )]
    Cluster(Box<commands::create::CreateArgs>),
    /// Add a worker pool to a cluster and wait until its nodes are Ready
    Pool(Box<commands::pool::create::CreatePoolArgs>),
}

/// What `describe` shows.
#[derive(Debug, Subcommand)]
pub enum DescribeWhat {
    /// Show a cluster as a tree with conditions and the root cause
    #[command(after_help = "Example: `capn describe cluster demo --all-conditions`")]
    Cluster(commands::describe::DescribeArgs),
    /// A name without a kind.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// What `delete` deletes.
#[derive(Debug, Subcommand)]
pub enum DeleteWhat {
    /// Delete a cluster with all its server resources
    Cluster(commands::delete::DeleteArgs),
    /// Delete a worker pool with its machines
    Pool(commands::pool::delete::DeletePoolArgs),
    /// Delete a machine; a new machine replaces it
    Machine(commands::pool::machine::DeleteMachineArgs),
    /// A name without a kind.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// Etcd commands.
#[derive(Debug, Subcommand)]
pub enum EtcdWhat {
    /// Take, list and restore snapshots
    #[command(subcommand)]
    Snapshot(SnapshotWhat),
}

/// Etcd snapshot commands.
#[derive(Debug, Subcommand)]
pub enum SnapshotWhat {
    /// Take an etcd snapshot of a cluster
    Save(commands::etcd::save::SaveArgs),
    /// List the snapshots of a cluster
    List(commands::etcd::list::ListArgs),
    /// Restore a cluster from a snapshot, even after etcd lost its quorum permanently
    Restore(commands::etcd::restore::RestoreArgs),
}

/// What `generate` prints.
#[derive(Debug, Subcommand)]
pub enum GenerateWhat {
    /// Print the manifests that `create cluster` would apply
    #[command(after_help = "Example: `capn generate cluster demo --workers 2 > demo.yaml`")]
    Cluster(Box<commands::generate::GenerateArgs>),
    /// Print a configuration file for `up -f`, or its JSON schema
    Config(Box<commands::generate::config::ConfigArgs>),
    /// Print the provider manifests for a management cluster, or write a clusterctl repository
    #[command(after_help = "Example: `capn generate provider > provider.yaml`")]
    Provider(commands::generate::provider::ProviderArgs),
    /// Write the manual pages of all commands
    Man(commands::generate::man::ManArgs),
}

/// Image commands.
#[derive(Debug, Subcommand)]
pub enum ImageWhat {
    /// Build an image on this machine and import it into the server
    Build(commands::image::build::BuildArgs),
    /// Import an image into the server, from an image server or from files
    Import(commands::image::import::ImportArgs),
    /// List images for nodes and load balancers
    List(commands::image::list::ListArgs),
    /// Publish images to a directory that serves as an image server
    Publish(commands::image::publish::PublishArgs),
}

/// Image server commands.
#[derive(Debug, Subcommand)]
pub enum SimplestreamsWhat {
    /// List the images of an image server or directory
    #[command(
        after_help = "Example: `capn simplestreams show https://images.linuxcontainers.org/capn --filter kubeadm`"
    )]
    Show(commands::simplestreams::show::ShowArgs),
    /// Add the files of an image to a directory
    Import(commands::simplestreams::import::ImportArgs),
    /// Verify every file of a server or directory against its metadata
    Verify(commands::simplestreams::verify::VerifyArgs),
}

/// User commands.
#[derive(Debug, Subcommand)]
pub enum UserWhat {
    /// Grant a user a role in a namespace and print their kubeconfig
    Create(Box<commands::user::create::UserCreateArgs>),
    /// List users with their roles
    #[command(after_help = "Example: `capn user list --namespace team`")]
    List(commands::user::list::UserListArgs),
    /// Revoke a user's roles
    #[command(after_help = "Example: `capn user delete alice --namespace team`")]
    Delete(commands::user::delete::UserDeleteArgs),
}

/// Identity commands.
#[derive(Debug, Subcommand)]
pub enum IdentityWhat {
    /// Print or apply the Secret that gives a management cluster access to a server
    #[command(after_help = "Example: `capn identity create lab --project lab --restricted`")]
    Create(Box<commands::identity::create::IdentityCreateArgs>),
    /// Delete an identity: its Secret, and the trust in its certificate
    #[command(after_help = "Example: `capn identity delete lab --namespace team`")]
    Delete(commands::identity::delete::IdentityDeleteArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
