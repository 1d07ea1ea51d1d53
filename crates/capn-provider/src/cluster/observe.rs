//! Reads everything that the infrastructure of one cluster depends on.

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

use super::{addresses::Addresses, validate::ValidCluster};
use crate::{
    cluster_nic,
    context::Context,
    failure::Failure,
    images::{self, Image},
    profiles,
    references::{self, name, namespace},
    remote::Remote,
};

/// The Kubernetes objects related to one LXCCluster, as far as they exist.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) cluster: Option<Cluster>,
    /// The LXCMachines of the cluster.
    pub(crate) machines: Vec<LXCMachine>,
    /// Names of the control planes among them.
    pub(crate) control_planes: Vec<String>,
    /// Names of control planes whose Machines are being deleted. The LXCMachines are deleted later,
    /// after their etcd member has left the cluster.
    pub(crate) draining: Vec<String>,
}

/// Reads the objects related to an LXCCluster.
pub(crate) async fn references(ctx: &Context, cluster: &LXCCluster) -> Result<References, Failure> {
    let meta = &cluster.metadata;
    let owner: Option<Cluster> = match references::owner(&ctx.client, meta).await? {
        Some(owner) => Some(owner),
        // During a deletion the owner may already be gone.
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
    let (draining, _): (Vec<_>, Vec<_>) = control_planes
        .into_iter()
        .partition(|machine| machine.metadata.deletion_timestamp.is_some());
    let draining = names(&draining);
    Ok(References { cluster: owner, machines, control_planes: control_plane_names, draining })
}

impl References {
    /// Returns whether the cluster is being deleted or gone.
    pub(crate) fn is_ending(&self) -> bool {
        self.cluster.as_ref().is_none_or(|owner| owner.metadata.deletion_timestamp.is_some())
    }

    /// Returns whether a control plane is about to be deleted.
    pub(crate) fn is_draining(&self, machine: &LXCMachine) -> bool {
        machine.metadata.deletion_timestamp.is_some()
            || self.draining.iter().any(|draining| draining == name(&machine.metadata))
    }

    /// Returns whether the LXCMachine with that name is a control plane.
    pub(crate) fn is_control_plane(&self, machine: &str) -> bool {
        self.control_planes.iter().any(|control_plane| control_plane == machine)
    }
}

/// Returns the addresses under which a load balancer reaches a machine.
pub(crate) fn backend_addresses(machine: &LXCMachine) -> Vec<IpAddr> {
    machine
        .status
        .iter()
        .flat_map(|status| &status.addresses)
        .filter(|address| address.kind == MachineAddressType::InternalIp)
        .filter_map(|address| address.address.parse().ok())
        .collect()
}

/// Returns the connection to the server of the cluster.
pub(crate) async fn remote(ctx: &Context, cluster: &LXCCluster) -> Result<Arc<Remote>, Failure> {
    let secret = references::identity_of(&ctx.client, cluster).await?;
    ctx.remote(&secret).await
}

/// Inputs of a launch besides the manifest.
#[derive(Clone, Debug)]
pub(crate) struct LaunchInputs {
    pub(crate) image: Image,
    /// NIC that replaces the one of the profiles: on the cluster's network, with the endpoint's
    /// address.
    pub(crate) nic: Option<(String, Config)>,
    /// Profiles of the instance.
    pub(crate) profiles: Vec<Profile>,
}

/// Resolves the image, and the NIC if the cluster sets a network, or if the endpoint has an address
/// or takes one from a range.
pub(crate) async fn inputs(
    ctx: &Context,
    remote: &Remote,
    addresses: &Addresses,
    valid: &ValidCluster,
    network: Option<&str>,
) -> Result<LaunchInputs, Failure> {
    let image = match valid.kind {
        Kind::Lxc => {
            images::of_load_balancer(remote, &valid.spec.image, &valid.image_servers).await?
        }
        Kind::Oci => {
            runs_oci(remote, valid).await?;
            images::of_oci_load_balancer(remote, &valid.spec.image, &valid.image_servers)?
        }
    };
    let nic = addresses.nic(ctx, remote, valid, network).await?;
    let profiles = profiles::of(remote, &valid.spec.profiles, &valid.name).await?;
    let mut devices = cluster_nic::merged(&profiles);
    devices.extend(nic.clone());
    cluster_nic::check_owners(remote, &devices, &valid.owner.uid, valid.name.as_str()).await?;
    Ok(LaunchInputs { image, nic, profiles })
}

/// API extensions that a server needs to run application containers as load balancers.
const OCI_EXTENSIONS: [&str; 2] = ["instance_oci", "instance_oci_entrypoint"];

async fn runs_oci(remote: &Remote, valid: &ValidCluster) -> Result<(), Failure> {
    let failure = || Failure::server("check the server of", valid.name.as_str());
    for extension in OCI_EXTENSIONS {
        if !remote.client.supports(extension).await.map_err(failure())? {
            let server = remote.client.server().await.map_err(failure())?;
            return Err(Failure::Invalid {
                message: format!(
                    "a load balancer of type oci needs a server with the API extension {extension} (Incus 6.11 or later), but this is {} {}; update the server, or use spec.loadBalancer.lxc",
                    server.flavor(),
                    server.environment.server_version
                ),
            });
        }
    }
    Ok(())
}
