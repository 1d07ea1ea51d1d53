//! `capn delete cluster`

use std::time::Duration;

use clap::Args;
use kube::Client;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::etcd::Folder;
use crate::exit::Exit;
use crate::session;
use crate::state::StateDir;

/// Options of `delete cluster`.
#[derive(Clone, Debug, Args)]
pub struct DeleteArgs {
    /// Name of the cluster
    pub name: String,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until everything is gone
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub wait: Duration,
}

pub(super) async fn run(context: &Context, args: DeleteArgs) -> Result<(), CommandError> {
    let name = args.name.as_str();
    let namespace = args.namespace.namespace.as_str();
    let state = StateDir::of(context)?;
    // Without a store there is nothing to delete, and none is made to find that out.
    let work = async |client: Client| {
        let was_there =
            cluster::remove(context, &client, &state, namespace, name, args.wait).await?;
        if was_there {
            context.ui.say(format!("cluster `{name}` is deleted, nothing of it is left"));
            let folder = Folder::of(&state, namespace, name)?;
            if !folder.list()?.is_empty() {
                let path = folder.path();
                context.ui.note(format!("but snapshots of its etcd, with its Secrets: {path}"));
            }
        } else {
            let names = cluster::names(&client, namespace).await?;
            context.ui.say(format!(
                "there is no cluster `{name}`: nothing to delete; {}",
                cluster::known(&names)
            ));
        }
        Ok(())
    };
    let done = session::on_cluster(&state, namespace, false, "", work).await;
    done.map_err(|error| continuation(error, name))
}

fn continuation(error: CommandError, name: &str) -> CommandError {
    match error.exit() {
        Exit::Usage => error,
        Exit::Interrupted => {
            error.hint(format!("the rest is still there; continue: `capn delete cluster {name}`"))
        }
        _ => error
            .while_doing(format!("cannot delete cluster `{name}`"))
            .hint(format!("see what holds it: `capn describe cluster {name}`")),
    }
}
