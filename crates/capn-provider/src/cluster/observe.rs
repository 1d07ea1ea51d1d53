//! Reads what the infrastructure of one cluster depends on.

use std::{net::IpAddr, sync::Arc};

use capi_api::{
    core::{Cluster, Machine},
    labels,
};
use capn_api::{LXCCluster, LXCMachine, MachineAddressType};
use capn_controller::lists;
use capn_plan::balancer::Kind;
use incus_api::{Config, Profile};
use kube::{Api, api::ListParams};

use super::{addresses::Addresses, validate::Subject};
use crate::{
    context::Context,
    failure::Failure,
    images::{self, Image},
    profiles,
    references::{self, name, namespace},
    remote::Remote,
};

/// The Kubernetes objects around one LXCCluster, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) cluster: Option<Cluster>,
    /// The cluster's machines that are ours.
    pub(crate) machines: Vec<LXCMachine>,
    /// Names of those that are control planes.
    pub(crate) control_planes: Vec<String>,
    /// Names of control planes whose Machines are being deleted. Their own deletion comes later,
    /// after their etcd has left the others.
    pub(crate) leaving: Vec<String>,
}

/// Reads the objects around an LXCCluster.
pub(crate) async fn references(ctx: &Context, cluster: &LXCCluster) -> Result<References, Failure> {
    let meta = &cluster.metadata;
    let owner: Option<Cluster> = match references::owner(&ctx.client, meta).await? {
        Some(owner) => Some(owner),
        // While it is deleted its owner may be gone already.
        None if meta.deletion_timestamp.is_some() => {
            references::cluster_of(&ctx.client, meta).await?
        }
        None => None,
    };
    let cluster_name = owner
        .as_ref()
        .map(|owner| name(&owner.metadata))
        .or_else(|| references::label(meta, labels::CLUSTER_NAME));
    let Some(cluster_name) = cluster_name else {
        return Ok(References { cluster: owner, ..References::default() });
    };
    let within = namespace(meta);
    let of_cluster = format!("{}={cluster_name}", labels::CLUSTER_NAME);
    let machines = Api::<LXCMachine>::namespaced(ctx.client.clone(), within);
    let machines = lists::list(&machines, &ListParams::default().labels(&of_cluster))
        .await
        .map_err(Failure::kube_named("list the machines of", "Cluster", within, cluster_name))?
        .items;
    let control_plane = format!("{of_cluster},{}", labels::CONTROL_PLANE);
    let control_planes = Api::<Machine>::namespaced(ctx.client.clone(), within);
    let control_planes =
        lists::list(&control_planes, &ListParams::default().labels(&control_plane))
            .await
            .map_err(Failure::kube_named("list the machines of", "Cluster", within, cluster_name))?
            .items;
    let names = |machines: &[Machine]| -> Vec<String> {
        machines.iter().map(|machine| machine.spec.infrastructure_ref.name.clone()).collect()
    };
    let control_plane_names = names(&control_planes);
    let (leaving, _): (Vec<_>, Vec<_>) = control_planes
        .into_iter()
        .partition(|machine| machine.metadata.deletion_timestamp.is_some());
    let leaving = names(&leaving);
    Ok(References { cluster: owner, machines, control_planes: control_plane_names, leaving })
}

impl References {
    /// Whether the cluster is being deleted, or gone.
    pub(crate) fn is_ending(&self) -> bool {
        self.cluster.as_ref().is_none_or(|owner| owner.metadata.deletion_timestamp.is_some())
    }

    /// Whether a control plane is about to be gone.
    pub(crate) fn leaves(&self, machine: &LXCMachine) -> bool {
        machine.metadata.deletion_timestamp.is_some()
            || self.leaving.iter().any(|leaving| leaving == name(&machine.metadata))
    }

    /// Whether the LXCMachine of that name is a control plane.
    pub(crate) fn is_control_plane(&self, machine: &str) -> bool {
        self.control_planes.iter().any(|control_plane| control_plane == machine)
    }
}

/// The addresses by which a load balancer reaches a machine.
pub(crate) fn backend_addresses(machine: &LXCMachine) -> Vec<IpAddr> {
    machine
        .status
        .iter()
        .flat_map(|status| &status.addresses)
        .filter(|address| address.kind == MachineAddressType::InternalIp)
        .filter_map(|address| address.address.parse().ok())
        .collect()
}

/// The server of the cluster.
pub(crate) async fn remote(ctx: &Context, cluster: &LXCCluster) -> Result<Arc<Remote>, Failure> {
    let secret = references::identity_of(&ctx.client, cluster).await?;
    ctx.remote(&secret).await
}

/// What a launch is made of besides the manifest.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) image: Image,
    /// Network card in place of the profiles': on the cluster's network, with the endpoint's address.
    pub(crate) nic: Option<(String, Config)>,
    /// The profiles that it will have.
    pub(crate) profiles: Vec<Profile>,
}

/// Finds the image, and the network card to change when the cluster says its network, and when the
/// endpoint has an address already or takes one out of a range.
pub(crate) async fn material(
    ctx: &Context,
    remote: &Remote,
    addresses: &Addresses,
    subject: &Subject,
    network: Option<&str>,
) -> Result<Material, Failure> {
    let image = match subject.kind {
        Kind::Lxc => {
            images::of_load_balancer(remote, &subject.spec.image, &subject.image_servers).await?
        }
        Kind::Oci => {
            runs_oci(remote, subject).await?;
            images::of_oci_load_balancer(remote, &subject.spec.image, &subject.image_servers)?
        }
    };
    let nic = addresses.nic(ctx, remote, subject, network).await?;
    let profiles =
        profiles::of(remote, subject.isolation, &subject.spec.profiles, &subject.name).await?;
    Ok(Material { image, nic, profiles })
}

/// Extensions of a server that runs application containers as load balancers.
const OCI_EXTENSIONS: [&str; 2] = ["instance_oci", "instance_oci_entrypoint"];

async fn runs_oci(remote: &Remote, subject: &Subject) -> Result<(), Failure> {
    let failure = || Failure::server("look at the server of", subject.name.as_str());
    for extension in OCI_EXTENSIONS {
        if !remote.client.supports(extension).await.map_err(failure())? {
            let server = remote.client.server().await.map_err(failure())?;
            return Err(Failure::Invalid {
                message: format!(
                    "a load balancer of type oci needs a server with the API extension {extension} (Incus 6.11 or later), and this is {} {}; update it, or use spec.loadBalancer.lxc",
                    server.flavor(),
                    server.environment.server_version
                ),
            });
        }
    }
    Ok(())
}
