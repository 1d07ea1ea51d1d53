//! The manifests of a cluster: what `generate` prints is exactly what `create` applies.

mod cluster;
mod difference;
mod document;
mod families;
mod health;
mod kubeadm;
mod machines;
mod node_settings;
mod none;
pub mod pool;
pub mod request;
pub mod settings;
mod yaml;

pub use difference::{Difference, differences};
pub use document::Document;
pub use pool::{DEFAULT_POOL, Pool, deployment_name};
pub use request::{Bootstrap, ClusterRequest, Cni, Endpoint, Isolation, LoadBalancer, Timeouts};
pub(crate) use yaml::value_to_yaml;
pub use yaml::{parse as from_yaml, to_yaml};

use crate::identity::Identity;

/// Annotation of a Cluster: its request, as JSON.
pub const REQUEST_ANNOTATION: &str = "capn.cluster.x-k8s.io/request";
/// Annotation of a MachineDeployment: its pool, as JSON.
pub const POOL_ANNOTATION: &str = "capn.cluster.x-k8s.io/pool";
/// Annotation of a Cluster: when Services and DNS were verified from its nodes (RFC 3339).
pub const SERVICES_ANNOTATION: &str = "capn.cluster.x-k8s.io/services-answered";

/// Secret values of a cluster that must not be part of its request.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Bootstrap data for `--bootstrap none`; `None` is an empty cloud-config.
    pub bootstrap_data: Option<String>,
    /// Credentials of registries, each as USER:PASSWORD.
    pub registries: Vec<(String, String)>,
}

/// Returns all objects of a cluster, in the order in which they are applied.
///
/// The Cluster comes first, so that an interrupted creation always leaves an object to delete.
/// `secrets` are values that the request does not contain.
pub fn documents(
    request: &ClusterRequest,
    identity: &Identity,
    secrets: &Secrets,
) -> Vec<Document> {
    let mut documents = vec![
        cluster::cluster(request),
        cluster::identity(request, identity),
        cluster::lxc_cluster(request),
    ];
    match request.bootstrap {
        Bootstrap::Kubeadm => {
            documents.extend(node_settings::secret(request, &secrets.registries));
            documents.push(machines::template(request, &request.control_plane_name()));
            documents.push(kubeadm::control_plane(request));
        }
        Bootstrap::None => {
            documents.push(none::bootstrap_data(request, secrets.bootstrap_data.as_deref()));
            documents.extend(none::control_planes(request));
        }
    }
    documents.extend(request.pools().iter().flat_map(|pool| pool_documents(request, pool)));
    documents.extend(health::control_plane(request));
    documents
}

/// Objects of one pool. The MachineDeployment follows the objects it refers to.
pub fn pool_documents(request: &ClusterRequest, pool: &Pool) -> Vec<Document> {
    let name = request.deployment_name(&pool.name);
    let of_pool = request.of_pool(pool);
    let mut documents = vec![machines::template(&of_pool, &name)];
    if request.bootstrap == Bootstrap::Kubeadm {
        documents.push(kubeadm::worker_template(&of_pool, pool));
    }
    documents.push(machines::deployment(&of_pool, pool));
    documents.extend(health::workers(&of_pool, &name));
    documents
}

#[cfg(test)]
mod tests;
