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
    after_help = "Exit codes: 0 what was asked holds, 1 it does not, 2 wrong usage, 130 interrupted; of `exec` that of the command."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Folder of the embedded management plane [default: $XDG_STATE_HOME/capn or ~/.local/state/capn]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub state_dir: Option<Utf8PathBuf>,
    /// Tell more; twice for debugging, three times for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Print without colours, as with NO_COLOR set
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
}

/// The commands, in the order a user meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a cluster with defaults, wait until it is ready and write its kubeconfig
    Up(commands::up::UpArgs),
    /// Create a cluster
    #[command(subcommand)]
    Create(CreateWhat),
    /// List clusters, machines or images
    Get(commands::get::GetArgs),
    /// Show a cluster as a tree with conditions and the cause
    #[command(subcommand)]
    Describe(DescribeWhat),
    /// Print the kubeconfig of a cluster, or merge it into yours
    Kubeconfig(commands::kubeconfig::KubeconfigArgs),
    /// Change the number of machines of a cluster
    Scale(commands::scale::ScaleArgs),
    /// Bring a cluster to another version of Kubernetes, machine by machine
    Upgrade(commands::upgrade::UpgradeArgs),
    /// Take snapshots of the etcd of a cluster, and go back to one
    #[command(subcommand)]
    Etcd(EtcdWhat),
    /// Stop the instances of a cluster, with everything in them kept
    Stop(commands::stop::StopArgs),
    /// Start the instances of a cluster, and wait until it is as it was
    Start(commands::start::StartArgs),
    /// Show the journals of machines, or write what helps to find out what is wrong into a file
    Logs(commands::logs::LogsArgs),
    /// Run a command in a machine
    Exec(commands::exec::ExecArgs),
    /// Replace lost and failed machines, start stopped ones, and bring etcd back from its last member
    Repair(commands::repair::RepairArgs),
    /// Pause a cluster: its nodes keep running, and nothing else changes
    Pause(commands::pause::PauseArgs),
    /// Resume a paused cluster
    Resume(commands::pause::PauseArgs),
    /// Delete a cluster with everything it has on the server
    #[command(subcommand)]
    Delete(DeleteWhat),
    /// Print the manifests that `create` would apply
    #[command(subcommand)]
    Generate(GenerateWhat),
    /// Apply manifests through the embedded plane, and wait until they hold
    Apply(commands::apply::ApplyArgs),
    /// Keep the embedded plane running and serve its Kubernetes API
    Serve(commands::serve::ServeArgs),
    /// Let others use the plane that `serve` serves, each in a namespace
    #[command(subcommand)]
    User(UserWhat),
    /// Run the infrastructure provider in a management cluster, beside the Cluster API controllers
    Manager(Box<commands::manager::ManagerArgs>),
    /// Build, import, list and publish images of nodes and load balancers
    #[command(subcommand)]
    Image(ImageWhat),
    /// Look into image servers, and make a folder one
    #[command(subcommand)]
    Simplestreams(SimplestreamsWhat),
    /// Make and delete identities by which management clusters reach a server
    #[command(subcommand)]
    Identity(IdentityWhat),
    /// Check host and server before a cluster is made, or try the doors out of a node
    Doctor(commands::doctor::DoctorArgs),
    /// Print the version
    Version(commands::version::VersionArgs),
    /// Print the completion script of a shell
    Completion(commands::completion::CompletionArgs),
}

/// What `create` makes.
#[derive(Debug, Subcommand)]
pub enum CreateWhat {
    /// Create a cluster and wait until it is ready
    Cluster(commands::create::CreateArgs),
}

/// What `describe` shows.
#[derive(Debug, Subcommand)]
pub enum DescribeWhat {
    /// Show a cluster as a tree with conditions and the cause
    Cluster(commands::describe::DescribeArgs),
    /// A name without a kind.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// What `delete` deletes.
#[derive(Debug, Subcommand)]
pub enum DeleteWhat {
    /// Delete a cluster with everything it has on the server
    Cluster(commands::delete::DeleteArgs),
    /// A name without a kind.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// What can be done with the etcd of a cluster.
#[derive(Debug, Subcommand)]
pub enum EtcdWhat {
    /// Take snapshots, list them, and go back to one
    #[command(subcommand)]
    Snapshot(SnapshotWhat),
}

/// What can be done with snapshots of etcd.
#[derive(Debug, Subcommand)]
pub enum SnapshotWhat {
    /// Take a snapshot of the etcd of a cluster
    Save(commands::etcd::save::SaveArgs),
    /// List the snapshots of a cluster
    List(commands::etcd::list::ListArgs),
    /// Bring a cluster back to a snapshot: also when its etcd has lost its quorum for good
    Restore(commands::etcd::restore::RestoreArgs),
}

/// What `generate` prints.
#[derive(Debug, Subcommand)]
pub enum GenerateWhat {
    /// Print the manifests that `create cluster` would apply
    Cluster(Box<commands::generate::GenerateArgs>),
    /// Print the manifests of the provider in a management cluster, or write them for clusterctl
    Provider(commands::generate::provider::ProviderArgs),
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub enum ImageWhat {
    /// Build an image on this machine and import it into the server
    Build(commands::image::build::BuildArgs),
    /// Bring an image to the server, from an image server or from files
    Import(commands::image::import::ImportArgs),
    /// List the images that nodes and load balancers can be made from
    List(commands::image::list::ListArgs),
    /// Put images into a folder that becomes an image server
    Publish(commands::image::publish::PublishArgs),
}

/// What can be done with image servers.
#[derive(Debug, Subcommand)]
pub enum SimplestreamsWhat {
    /// List the images of an image server or folder
    Show(commands::simplestreams::show::ShowArgs),
    /// Add the files of an image to a folder
    Import(commands::simplestreams::import::ImportArgs),
    /// Compare every file with what the server or folder says about it
    Verify(commands::simplestreams::verify::VerifyArgs),
}

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum UserWhat {
    /// Give a user a role in a namespace, and print the kubeconfig to hand over
    Create(Box<commands::user::create::UserCreateArgs>),
    /// List users with their roles
    List(commands::user::list::UserListArgs),
    /// Take a user's roles
    Delete(commands::user::delete::UserDeleteArgs),
}

/// What can be done with identities.
#[derive(Debug, Subcommand)]
pub enum IdentityWhat {
    /// Print or apply the Secret by which a management cluster reaches a server
    Create(Box<commands::identity::create::IdentityCreateArgs>),
    /// Delete an identity: its Secret, and the trust in a certificate that was made for it
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
