//! Lists server resources with owner keys: instances, networks, network ACLs and load balancers.

use capn_api::keys;
use incus_client::Client;
use incus_client::api::{Config, InstanceFilter};

use crate::error::CommandError;

/// Maximum number of projects that are searched.
const PROJECTS: usize = 1_000;
/// The default project, which every server has.
const DEFAULT_PROJECT: &str = "default";
/// Project setting: whether it has its own networks or uses those of the default project.
const OWN_NETWORKS: &str = "features.networks";

/// Kind of a resource, in deletion order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Instance of a worker, or of an unknown role.
    Worker,
    /// Instance of a control plane.
    ControlPlane,
    /// Instance of a load balancer.
    LoadBalancer,
    /// Load balancer of this OVN network.
    NetworkLoadBalancer(String),
    /// A network.
    Network,
    /// Network ACL.
    NetworkAcl,
}

impl Kind {
    /// Returns the display name.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Worker | Self::ControlPlane | Self::LoadBalancer => "instance",
            Self::NetworkLoadBalancer(_) => "load balancer",
            Self::Network => "network",
            Self::NetworkAcl => "network ACL",
        }
    }

    fn of_instance(config: &Config) -> Self {
        match config.get(keys::INSTANCE_CLUSTER_ROLE).map(String::as_str) {
            Some(keys::ROLE_LOAD_BALANCER) => Self::LoadBalancer,
            Some(keys::ROLE_CONTROL_PLANE) => Self::ControlPlane,
            _ => Self::Worker,
        }
    }
}

/// A server resource with a cluster's name in its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerResource {
    pub(crate) kind: Kind,
    /// Its name; the address of a load balancer.
    pub(crate) name: String,
    /// Project of the resource; `None` is the client's own project.
    pub(crate) project: Option<String>,
    /// Its `user.*` keys.
    pub(crate) keys: Config,
    /// State as the server names it; empty if the resource has no state.
    pub(crate) status: String,
    /// Creation time; empty if the server does not report it.
    pub(crate) created_at: String,
}

impl ServerResource {
    /// Returns the value of a key.
    pub(crate) fn key(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }
}

/// Resources of all clusters in the client's project, which has the name `project`.
///
/// # Errors
///
/// Returns an error if the server does not respond.
pub(crate) async fn of_project(
    client: &Client,
    project: Option<&str>,
) -> Result<Vec<ServerResource>, CommandError> {
    let mut resources = instances(client, project).await?;
    resources.extend(networks(client, project).await?);
    Ok(sorted(resources))
}

/// Resources of all clusters in all projects that the client can see.
///
/// # Errors
///
/// Returns an error if the server does not respond.
pub(crate) async fn of_projects(client: &Client) -> Result<Vec<ServerResource>, CommandError> {
    let projects = client.projects().await.map_err(cannot("list the projects of the server"))?;
    let mut resources = Vec::new();
    for project in projects.into_iter().take(PROJECTS) {
        let within = client.clone().with_project(&project.name);
        let name = Some(project.name.as_str());
        resources.extend(instances(&within, name).await?);
        let is_own = project.config.get(OWN_NETWORKS).is_some_and(|value| value == "true");
        if is_own || project.name == DEFAULT_PROJECT {
            resources.extend(networks(&within, name).await?);
        }
    }
    Ok(sorted(resources))
}

async fn instances(
    client: &Client,
    project: Option<&str>,
) -> Result<Vec<ServerResource>, CommandError> {
    let found = client.instances(&InstanceFilter::new()).await;
    let found = found.map_err(cannot("list the instances of the server"))?;
    let resource = |instance: incus_client::api::Instance| ServerResource {
        kind: Kind::of_instance(&instance.config),
        name: instance.name,
        project: project.map(str::to_owned),
        keys: marks(instance.config),
        status: instance.status,
        created_at: instance.created_at,
    };
    Ok(found.into_iter().map(resource).filter(is_of_a_cluster).collect())
}

async fn networks(
    client: &Client,
    project: Option<&str>,
) -> Result<Vec<ServerResource>, CommandError> {
    let resource = |kind, name: String, config, status| ServerResource {
        kind,
        name,
        project: project.map(str::to_owned),
        keys: marks(config),
        status,
        created_at: String::new(),
    };
    let mut resources = Vec::new();
    let balances = client.supports("network_load_balancer").await;
    let balances = balances.map_err(cannot("read the server's API extensions"))?;
    let networks = client.networks().await.map_err(cannot("list the networks of the server"))?;
    for network in networks.into_iter().filter(|network| network.managed) {
        if balances && network.kind == "ovn" {
            let found = client.load_balancers(&network.name).await;
            let found = found.map_err(cannot("list the load balancers of the server"))?;
            resources.extend(found.into_iter().map(|balancer| {
                let kind = Kind::NetworkLoadBalancer(network.name.clone());
                resource(kind, balancer.listen_address, balancer.put.config, String::new())
            }));
        }
        resources.push(resource(Kind::Network, network.name, network.config, network.status));
    }
    let acls =
        client.network_acls().await.map_err(cannot("list the network ACLs of the server"))?;
    resources.extend(
        acls.into_iter().map(|acl| resource(Kind::NetworkAcl, acl.name, acl.config, String::new())),
    );
    Ok(resources.into_iter().filter(is_of_a_cluster).collect())
}

fn is_of_a_cluster(resource: &ServerResource) -> bool {
    resource.key(keys::INSTANCE_CLUSTER_NAME).is_some()
        && resource.key(keys::INSTANCE_CLUSTER_NAMESPACE).is_some()
}

/// Only the owner keys: the rest of a configuration may contain secrets.
pub(super) fn marks(config: Config) -> Config {
    config.into_iter().filter(|(key, _)| key.starts_with("user.c")).collect()
}

fn sorted(mut resources: Vec<ServerResource>) -> Vec<ServerResource> {
    resources.sort_by(|a, b| (&a.project, &a.kind, &a.name).cmp(&(&b.project, &b.kind, &b.name)));
    resources
}

fn cannot(act: &'static str) -> impl Fn(incus_client::Error) -> CommandError {
    move |error| CommandError::caused(format!("cannot {act}"), error)
}
