//! `capn etcd snapshot save`

use camino::Utf8PathBuf;
use clap::Args;

use crate::Context;
use crate::cluster;
use crate::commands::NamespaceArg;
use crate::error::{CommandError, Doing as _};
use crate::etcd::{self, Keeper, Reason, Wanted};
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Options of `etcd snapshot save`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn etcd snapshot save demo --output demo.db`. The file holds all objects of the cluster, its Secrets too, and is readable by you alone. Beside it, as FILE.json, is what it is of."
)]
pub struct SaveArgs {
    /// Name of the cluster
    pub name: String,
    /// The file, which must not be there yet [default: one in the state folder, which
    /// `capn etcd snapshot list` lists]
    #[arg(long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
}

pub(crate) async fn run(context: &Context, args: SaveArgs) -> Result<(), CommandError> {
    let SaveArgs { name, output, namespace } = args;
    let state = StateDir::of(context)?;
    let output = match output {
        None => None,
        Some(path) => {
            Some(camino::absolute_utf8(&path).doing(format!("cannot find out where {path} is"))?)
        }
    };
    let mut interrupt = Interrupt::listen()?;
    let session = Session::open(&state, Need::Objects).await?;
    let step = context.ui.step(format!("snapshot of the etcd of cluster `{name}`"));
    let work = async {
        cluster::existing(session.client(), &namespace.namespace, &name).await?;
        let wanted = Wanted {
            namespace: &namespace.namespace,
            cluster: &name,
            reason: Reason::Hand,
            output: output.as_deref(),
        };
        Keeper::of(&state).take(session.client(), wanted).await
    };
    let result = tokio::select! {
        result = work => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted: nothing was kept")),
    };
    let closed = session.close().await;
    let (path, record) = result?;
    step.done(format!(
        "snapshot of the etcd of cluster `{name}`, {}",
        etcd::size(record.size_bytes)
    ));
    context.ui.data(&format!("{path}\n"))?;
    closed
}
