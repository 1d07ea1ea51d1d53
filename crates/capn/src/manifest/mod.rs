//! The manifests of a cluster: what `generate` prints is exactly what `create` applies.

mod cluster;
mod difference;
mod document;
mod families;
mod health;
mod kubeadm;
mod machines;
mod none;
pub mod request;
mod yaml;

pub use difference::{Difference, differences};
pub use document::Document;
pub use request::{Bootstrap, ClusterRequest, Cni, Endpoint, Isolation, LoadBalancer, Timeouts};
pub(crate) use yaml::value_to_yaml;
pub use yaml::{parse as from_yaml, to_yaml};

use crate::identity::Identity;

/// Annotation of a Cluster: the request it was made from, as JSON.
pub const REQUEST_ANNOTATION: &str = "capn.cluster.x-k8s.io/request";
/// Annotation of a Cluster: when Services and DNS were seen to answer from its nodes (RFC 3339).
pub const SERVICES_ANNOTATION: &str = "capn.cluster.x-k8s.io/services-answered";

/// All objects of a cluster, in the order they are applied.
///
/// The Cluster comes first, so that whatever happens in between there is an object to delete.
/// `bootstrap_data` is what instances run with `--bootstrap none`; none is an empty cloud-config.
pub fn documents(
    request: &ClusterRequest,
    identity: &Identity,
    bootstrap_data: Option<&str>,
) -> Vec<Document> {
    let mut documents = vec![
        cluster::cluster(request),
        cluster::identity(request, identity),
        cluster::lxc_cluster(request),
    ];
    match request.bootstrap {
        Bootstrap::Kubeadm => {
            documents.push(machines::template(request, &request.control_plane_name()));
            documents.push(kubeadm::control_plane(request));
        }
        Bootstrap::None => {
            documents.push(none::bootstrap_data(request, bootstrap_data));
            documents.extend(none::control_planes(request));
        }
    }
    documents.push(machines::template(request, &request.workers_name()));
    if request.bootstrap == Bootstrap::Kubeadm {
        documents.push(kubeadm::worker_template(request));
    }
    documents.push(machines::deployment(request));
    documents.extend(health::checks(request));
    documents
}

#[cfg(test)]
mod tests;
