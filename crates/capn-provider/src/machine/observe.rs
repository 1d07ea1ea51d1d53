//! Reads what one machine depends on: Kubernetes objects, and what a launch is made of.

use std::sync::Arc;

use capi_api::{
    core::{Cluster, Machine},
    labels,
};
use capn_api::{InstanceType, Isolation, LXCCluster, LXCMachine};
use capn_controller::lists;
use capn_plan::{fence::Fence, network::card::Wire};
use incus_api::Profile;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::ListParams};

use super::validate::Subject;
use crate::{
    context::Context,
    failure::Failure,
    images::{self, Image},
    profiles,
    references::{self, name, namespace},
    remote::Remote,
    wire,
};

/// The Kubernetes objects around one machine, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) machine: Option<Machine>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) lxc_cluster: Option<LXCCluster>,
}

/// Reads the objects around a machine.
pub(crate) async fn references(ctx: &Context, machine: &LXCMachine) -> Result<References, Failure> {
    let meta = &machine.metadata;
    let owner: Option<Machine> = references::owner(&ctx.client, meta).await?;
    let cluster = match &owner {
        Some(owner) => {
            references::get(&ctx.client, namespace(meta), &owner.spec.cluster_name).await?
        }
        None => references::cluster_of(&ctx.client, meta).await?,
    };
    let lxc_cluster = match &cluster {
        Some(cluster) => references::infrastructure_of(&ctx.client, cluster).await?,
        None => None,
    };
    Ok(References { machine: owner, cluster, lxc_cluster })
}

/// The server of the machine's cluster.
pub(crate) async fn remote(ctx: &Context, found: &References) -> Result<Arc<Remote>, Failure> {
    let Some(lxc_cluster) = &found.lxc_cluster else {
        return Err(Failure::NoCluster);
    };
    let secret = references::identity_of(&ctx.client, lxc_cluster).await?;
    ctx.remote(&secret).await
}

/// What a launch is made of besides the manifest.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) image: Image,
    /// Bootstrap data; `None` while there is none.
    pub(crate) user_data: Option<String>,
    /// What the project allows.
    pub(crate) fence: Fence,
    /// The first network card, where the cluster says which network it is on.
    pub(crate) wire: Option<Wire>,
    /// The profiles that it will have.
    pub(crate) profiles: Vec<Profile>,
}

/// Reads the bootstrap data, finds the image, and looks at what the project allows.
pub(crate) async fn material(
    ctx: &Context,
    remote: &Remote,
    found: &References,
    subject: &Subject,
) -> Result<Material, Failure> {
    can_run(remote, subject).await?;
    let user_data = match subject.held_by() {
        Some(_) => None,
        None => Some(bootstrap_data(ctx, found).await?),
    };
    let (wanted, version) = (&subject.spec.image, subject.version.as_deref());
    let kind = subject.spec.instance_type;
    let image = images::of_machine(remote, wanted, kind, version, &subject.image_servers).await?;
    let fence = fence(remote, subject).await?;
    let profiles =
        profiles::of(remote, subject.isolation, &subject.spec.profiles, &subject.name).await?;
    let wire = wire(remote, found, subject, &profiles).await?;
    Ok(Material { image, user_data, fence, wire, profiles })
}

/// The first network card, if the cluster says its network.
///
/// # Errors
///
/// Final ones for cards of the machine's own that may not be.
async fn wire(
    remote: &Remote,
    found: &References,
    subject: &Subject,
    profiles: &[Profile],
) -> Result<Option<Wire>, Failure> {
    let (spec, name) = (&subject.spec, subject.name.as_str());
    let devices = match (subject.network(), subject.isolation) {
        // Nothing else of a privileged machine depends on its profiles.
        (Some(_), Isolation::Privileged) => wire::of_profiles(remote, &spec.profiles, name).await?,
        _ => wire::merged(profiles),
    };
    let wire = subject.network().map(|network| Wire::replacing(&devices, network));
    let cluster = found.lxc_cluster.as_ref().and_then(|cluster| cluster.metadata.uid.as_deref());
    let uid = cluster.unwrap_or_default();
    wire::check(remote, &devices, &spec.devices, wire.as_ref(), uid, name).await?;
    Ok(wire)
}

/// Whether it is time to make an instance before its bootstrap data: once the instance of a control
/// plane runs, which it would take the disk from. For the first of a control plane it always is.
pub(crate) async fn is_time(
    ctx: &Context,
    remote: &Remote,
    subject: &Subject,
) -> Result<bool, Failure> {
    if subject.has_control_plane() {
        return Ok(true);
    }
    let api = Api::<LXCMachine>::namespaced(ctx.client.clone(), subject.namespace());
    let of_cluster =
        format!("{}={},{}", labels::CLUSTER_NAME, subject.cluster(), labels::CONTROL_PLANE);
    let control_planes = lists::list(&api, &ListParams::default().labels(&of_cluster)).await;
    let (namespace, cluster) = (subject.namespace(), subject.cluster());
    let failure = Failure::kube_named("list the control planes of", "Cluster", namespace, cluster);
    let control_planes = control_planes.map_err(failure)?.items;
    let age = |machine: &&LXCMachine| {
        let meta = &machine.metadata;
        (meta.creation_timestamp.as_ref().map(|made| made.0), name(meta).to_owned())
    };
    let first = control_planes.iter().min_by_key(age);
    if first.is_some_and(|first| first.instance_name() == subject.name.as_str()) {
        return Ok(true);
    }
    for machine in &control_planes {
        let instance = machine.instance_name();
        let failure = Failure::server("look at", instance);
        let found = remote.client.instance(instance).await.map_err(failure)?;
        if found.is_some_and(|found| found.value.is_running()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Extensions of a server that runs nodes of kind's image.
const OCI_EXTENSIONS: [&str; 2] = ["instance_oci", "instance_oci_entrypoint"];

/// Whether the server can run instances of the machine's type.
///
/// # Errors
///
/// A final one that says what the server lacks.
async fn can_run(remote: &Remote, subject: &Subject) -> Result<(), Failure> {
    let failure = || Failure::server("look at the server of", subject.name.as_str());
    let lacks = match subject.spec.instance_type {
        InstanceType::Unset | InstanceType::Container => return Ok(()),
        InstanceType::VirtualMachine => {
            let server = remote.client.server().await.map_err(failure())?;
            let drivers = server.environment.driver;
            (!drivers.contains("qemu")).then(|| {
                format!(
                    "runs no virtual machines (its drivers: {drivers}): QEMU has to be installed and /dev/kvm be there when it starts"
                )
            })
        }
        InstanceType::Kind => {
            let mut lacks = None;
            for extension in OCI_EXTENSIONS {
                if !remote.client.supports(extension).await.map_err(failure())? {
                    lacks = Some(format!(
                        "runs no application containers (API extension {extension}), which Incus does from 6.11 on"
                    ));
                    break;
                }
            }
            lacks
        }
    };
    let Some(lacks) = lacks else { return Ok(()) };
    let server = remote.client.server().await.map_err(failure())?;
    Err(Failure::Invalid {
        message: format!(
            "instance type {} is not possible here: {} {} {lacks}; use another server, or spec.instanceType: container",
            subject.spec.instance_type.as_str(),
            server.flavor(),
            server.environment.server_version
        ),
    })
}

/// The restrictions of the project. Asked for each launch, since whoever looks after the server
/// may lift one at any time.
async fn fence(remote: &Remote, subject: &Subject) -> Result<Fence, Failure> {
    let Some(project) = remote.client.project() else { return Ok(Fence::default()) };
    match remote.client.get_project(project).await {
        Ok(found) => Ok(found.map_or_else(Fence::default, |found| Fence::of(&found.value))),
        // Whoever may not look finds out from the refusal of the launch.
        Err(error) if error.is_forbidden() => Ok(Fence::default()),
        Err(error) => Err(Failure::server("look at the project of", subject.name.as_str())(error)),
    }
}

async fn bootstrap_data(ctx: &Context, found: &References) -> Result<String, Failure> {
    let named = found.machine.as_ref().and_then(|machine| {
        let name = machine.spec.bootstrap.data_secret_name.as_deref()?;
        Some((namespace(&machine.metadata), name))
    });
    let Some((namespace, name)) = named else {
        return Err(Failure::Bootstrap { secret: "none".into(), problem: "is not named yet" });
    };
    let failure = |problem| Failure::Bootstrap { secret: format!("{namespace}/{name}"), problem };
    let secret: Secret = references::get(&ctx.client, namespace, name)
        .await?
        .ok_or_else(|| failure("does not exist"))?;
    let value = secret
        .data
        .and_then(|mut data| data.remove("value"))
        .ok_or_else(|| failure("has no key \"value\""))?;
    String::from_utf8(value.0).map_err(|_| failure("has a \"value\" that is not UTF-8 text"))
}
