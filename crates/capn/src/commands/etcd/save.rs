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
    after_help = "Example: `capn etcd snapshot save demo --output demo.db`. The file contains all objects of the cluster, including its Secrets, and only you can read it. FILE.json next to it describes the snapshot."
)]
pub struct SaveArgs {
    /// Name of the cluster
    pub name: String,
    /// Output file, which must not exist [default: a file in the state directory, listed by `capn
    /// etcd snapshot list`]
    #[arg(long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
}

pub(crate) async fn run(context: &Context, args: SaveArgs) -> Result<(), CommandError> {
    let SaveArgs { name, output, namespace } = args;
    let state = StateDir::of(context)?;
    let output = match output {
        None => None,
        Some(path) => Some(camino::absolute_utf8(&path).doing(format!("cannot resolve {path}"))?),
    };
    let mut interrupt = Interrupt::listen()?;
    let session = Session::open(&state, Need::Objects).await?;
    let step = context.ui.step(format!("etcd snapshot of cluster `{name}`"));
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
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted; no snapshot was saved")),
    };
    let closed = session.close().await;
    let (path, record) = result?;
    step.done(format!("etcd snapshot of cluster `{name}`, {}", etcd::size(record.size_bytes)));
    context.ui.data(&format!("{path}\n"))?;
    closed
}
