//! Reads everything the size of a template's machines depends on.

use std::num::NonZeroU64;

use capi_api::core::{Cluster, MachineDeployment};
use capn_api::{InstanceType, LXCMachineSpec, LXCMachineTemplate};
use capn_controller::lists;
use capn_plan::capacity::{self, Capacity, Profile};
use incus_api::server::Flavor;
use kube::{Api, api::ListParams};

use super::{cluster_named_by, template_of};
use crate::{
    context::Context,
    failure::Failure,
    references::{self, name, namespace},
    remote::Remote,
};

/// Properties of the server that affect a size. Empty if the server is not known yet.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) flavor: Flavor,
    pub(super) profiles: Vec<Profile>,
    pub(super) host: Capacity,
    /// Name of the architecture in Kubernetes.
    pub(super) architecture: Option<&'static str>,
}

/// Returns the Cluster whose machines use a template: the one that the template names, or else that
/// of a MachineDeployment that uses it. A template of a ClusterClass has none.
pub(super) async fn cluster(
    ctx: &Context,
    template: &LXCMachineTemplate,
) -> Result<Option<Cluster>, Failure> {
    let meta = &template.metadata;
    let namespace = namespace(meta);
    if let Some(cluster) = cluster_named_by(meta) {
        return references::get(&ctx.client, namespace, &cluster).await;
    }
    let api: Api<MachineDeployment> = Api::namespaced(ctx.client.clone(), namespace);
    let failure = Failure::kube_named("list", "MachineDeployment", namespace, "");
    let deployments = lists::list(&api, &ListParams::default()).await.map_err(failure)?;
    let uses = |deployment: &&MachineDeployment| {
        template_of(deployment).is_some_and(|reference| reference.name == name(meta))
    };
    match deployments.items.iter().find(uses) {
        Some(user) => references::get(&ctx.client, namespace, &user.spec.cluster_name).await,
        None => Ok(None),
    }
}

/// Queries the server of a cluster. A missing Cluster or infrastructure is not an error: its
/// creation wakes the template.
pub(super) async fn server(
    ctx: &Context,
    cluster: Option<&Cluster>,
    spec: &LXCMachineSpec,
) -> Result<Server, Failure> {
    let mut server = Server {
        flavor: Flavor::Incus,
        profiles: Vec::new(),
        host: Capacity::default(),
        architecture: None,
    };
    let Some(cluster) = cluster else { return Ok(server) };
    let Some(lxc_cluster) = references::infrastructure_of(&ctx.client, cluster).await? else {
        return Ok(server);
    };
    let secret = references::identity_of(&ctx.client, &lxc_cluster).await?;
    let remote = ctx.remote(&secret).await?;
    server.flavor = remote.facts().flavor;
    server.profiles = profiles(&remote, spec).await?;
    let about = remote.client.server().await.map_err(failure("check the server of"))?;
    let architectures = &about.environment.architectures;
    server.architecture = architectures.first().and_then(|name| capacity::architecture(name));
    if needs_host(spec, &server) {
        server.host = host(&remote).await?;
    }
    Ok(server)
}

async fn profiles(remote: &Remote, spec: &LXCMachineSpec) -> Result<Vec<Profile>, Failure> {
    let default = ["default".to_owned()];
    let names = if spec.profiles.is_empty() { &default[..] } else { &spec.profiles };
    let mut profiles = Vec::with_capacity(names.len());
    for name in names {
        // A missing profile blocks the machines, which report it.
        if let Some(found) =
            remote.client.profile(name).await.map_err(failure("read a profile of"))?
        {
            let found = found.value;
            profiles.push(Profile { config: found.config, devices: found.devices });
        }
    }
    Ok(profiles)
}

/// Returns whether the size depends on the host: a container without limits gets all of it.
fn needs_host(spec: &LXCMachineSpec, server: &Server) -> bool {
    let known = capacity::of(spec, &server.profiles, Capacity::default(), server.flavor);
    spec.instance_type != InstanceType::VirtualMachine
        && (known.cpus.is_none() || known.memory_bytes.is_none())
}

/// Returns the CPUs and memory of the host. Unknown if the identity is restricted.
async fn host(remote: &Remote) -> Result<Capacity, Failure> {
    let resources = match remote.client.resources().await {
        Ok(resources) => resources,
        Err(error) if error.is_forbidden() => return Ok(Capacity::default()),
        Err(error) => return Err(failure("check the host of")(error)),
    };
    let count = |path: &str| resources.pointer(path)?.as_u64().and_then(NonZeroU64::new);
    Ok(Capacity {
        cpus: count("/cpu/total"),
        memory_bytes: count("/memory/total"),
        disk_bytes: None,
    })
}

fn failure(act: &'static str) -> impl FnOnce(incus_client::Error) -> Failure {
    Failure::server(act, "template")
}
