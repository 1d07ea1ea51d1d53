//! `capn kubeconfig`

use clap::Args;

use super::NamespaceArg;
use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::kubeconfig;
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Options of `kubeconfig`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn kubeconfig demo > demo.kubeconfig`; `capn kubeconfig demo --merge`, then `kubectl get nodes`. `capn delete cluster demo` removes what --merge added."
)]
pub struct KubeconfigArgs {
    /// Name of the cluster
    pub name: String,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Merge it into the first file in KUBECONFIG, or ~/.kube/config, and make it the current
    /// context
    #[arg(long)]
    pub merge: bool,
}

pub(super) async fn run(context: &Context, args: KubeconfigArgs) -> Result<(), CommandError> {
    let KubeconfigArgs { name, namespace, merge: is_merge } = args;
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let text = read(&session, &namespace.namespace, &name).await;
    session.close().await?;
    let text = text?;
    if !is_merge {
        return context.ui.data(&text);
    }
    let path = context.environment.kubeconfig().ok_or_else(|| {
        CommandError::new("no kubeconfig to merge into: neither KUBECONFIG nor HOME is set")
    })?;
    let current = kubeconfig::merge(&state, (&namespace.namespace, &name), &path, &text)?;
    context.ui.say(format!("merged into {path}; the current context is `{current}`"));
    Ok(())
}

async fn read(session: &Session, namespace: &str, name: &str) -> Result<String, CommandError> {
    cluster::existing(session.client(), namespace, name).await?;
    let kubeconfig = cluster::kubeconfig(session.client(), namespace, name).await?;
    Ok(kubeconfig.text().to_owned())
}
