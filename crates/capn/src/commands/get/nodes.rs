//! `capn get nodes`: reads nodes from the API servers of the clusters.

use std::time::Duration;

use futures::StreamExt as _;
use kube::Client;

use super::{ClusterNode, ClusterRow};
use crate::cluster;
use crate::error::CommandError;
use crate::ui::Ui;

/// Number of clusters that are queried concurrently. A tenant may have many that never respond.
const AT_ONCE: usize = 128;
/// Deadline for each cluster.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nodes of clusters, and errors for clusters that could not be queried. Prints a note for a
/// cluster without nodes.
pub(super) async fn read(
    ui: &Ui,
    client: &Client,
    clusters: &[ClusterRow],
) -> (Vec<ClusterNode>, Option<CommandError>) {
    let asked = clusters.iter().map(async |cluster| {
        if cluster.stopped.is_some() {
            ui.note(format!("cluster `{}` is stopped, so it has no nodes", cluster.name));
            return Ok(Vec::new());
        }
        let (namespace, name) = (&cluster.namespace, &cluster.name);
        let of = |error: CommandError| error.while_doing(format!("cluster `{name}` has no nodes"));
        let kubeconfig = cluster::kubeconfig(client, namespace, name).await.map_err(of)?;
        let nodes = cluster::nodes(&kubeconfig, PATIENCE).await.map_err(of)?;
        let node = |node| ClusterNode { namespace: namespace.clone(), cluster: name.clone(), node };
        Ok(nodes.into_iter().map(node).collect::<Vec<_>>())
    });
    // In the order of the clusters, not of their responses.
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut rows, mut failed) = (Vec::new(), None);
    for answer in answers {
        match (answer, failed.take()) {
            (Ok(nodes), before) => {
                rows.extend(nodes);
                failed = before;
            }
            (Err(error), None) => failed = Some(error),
            (Err(error), Some(first)) => failed = Some(CommandError::and_also(first, &error)),
        }
    }
    (rows, failed)
}
