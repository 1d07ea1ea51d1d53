//! `capn delete cluster`

use std::time::Duration;

use clap::Args;
use kube::Client;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster::{self, Removal};
use crate::error::CommandError;
use crate::etcd::Folder;
use crate::exit::Exit;
use crate::orphans::{self, ClusterKey};
use crate::session;
use crate::state::{StateDir, file_names};

/// Default time limit.
const WAIT: Duration = Duration::from_secs(600);
/// Default time limit with `--force`.
const FORCED_WAIT: Duration = Duration::from_secs(120);

/// Options of `delete cluster`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn delete cluster demo`; `capn delete cluster demo --from-server` when the state directory is lost: it finds the cluster's instances and networks on the server and asks before it deletes them."
)]
pub struct DeleteArgs {
    /// Name of the cluster
    pub name: String,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until everything is deleted [default: 10m, or 2m with --force]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Delete the cluster even if its server is gone or does not release resources in time, and
    /// list what remains on the server
    #[arg(long, conflicts_with = "from_server")]
    pub force: bool,
    /// Delete the server resources of a cluster that no state directory on this machine knows,
    /// after asking
    #[arg(long)]
    pub from_server: bool,
    /// With --from-server: remote of the `incus` or `lxc` command, or unix:///PATH [default: the local socket]
    #[arg(long, value_name = "REMOTE", requires = "from_server")]
    pub remote: Option<String>,
    /// With --from-server: project on the server [default: the remote's]
    #[arg(long, value_name = "PROJECT", requires = "from_server")]
    pub project: Option<String>,
    /// With --from-server: do not ask for confirmation
    #[arg(long, requires = "from_server")]
    pub yes: bool,
}

pub(super) async fn run(context: &Context, args: DeleteArgs) -> Result<(), CommandError> {
    let name = args.name.as_str();
    let namespace = args.namespace.namespace.as_str();
    // Files in the state directory have these names too.
    file_names([namespace, name])?;
    let state = StateDir::of(context)?;
    if args.from_server {
        let cluster_key = ClusterKey { namespace: namespace.to_owned(), name: name.to_owned() };
        let (remote, project) = (args.remote.as_deref(), args.project.as_deref());
        let asked =
            orphans::DeleteRequest { cluster_key: &cluster_key, remote, project, yes: args.yes };
        return orphans::clear(context, &state, &asked).await;
    }
    // Without a database there is nothing to delete, so do not create one.
    let work = async |client: Client| {
        let wait = args.wait.unwrap_or(if args.force { FORCED_WAIT } else { WAIT });
        let removal = Removal { namespace, name, wait, force: args.force };
        let was_there = cluster::remove(context, &client, &state, removal).await?;
        if was_there {
            context.ui.say(format!("cluster `{name}` is deleted"));
            let dir = Folder::of(&state, namespace, name)?;
            if !dir.list()?.is_empty() {
                let path = dir.path();
                context.ui.note(format!(
                    "its etcd snapshots, which contain its Secrets, are kept in {path}"
                ));
            }
        } else {
            let names = cluster::names(&client, namespace).await?;
            context.ui.say(format!(
                "cluster `{name}` does not exist: nothing to delete; {}",
                cluster::known(&names)
            ));
        }
        Ok(())
    };
    let done = session::on_cluster(&state, namespace, false, "", work).await;
    done.map_err(|error| continuation(error, name, args.force))
}

fn continuation(error: CommandError, name: &str, force: bool) -> CommandError {
    match error.exit() {
        Exit::Usage => error,
        Exit::Interrupted => {
            error.hint(format!("to delete the rest: `capn delete cluster {name}`"))
        }
        // This error already says what is left and where.
        _ if force => error,
        _ => error
            .while_doing(format!("cannot delete cluster `{name}`"))
            .hint(format!("see what blocks it: `capn describe cluster {name}`"))
            .hint(format!(
                "to delete it without waiting for the server: `capn delete cluster {name} --force`"
            )),
    }
}
