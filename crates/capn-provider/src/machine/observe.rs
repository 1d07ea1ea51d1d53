//! Reads everything one machine depends on: Kubernetes objects and the inputs of a launch.

use std::sync::Arc;

use capi_api::{
    core::{Bootstrap, Cluster, Machine, MachinePool},
    labels, refs,
};
use capn_api::{InstanceType, LXCCluster, LXCMachine, keys};
use capn_controller::lists;
use capn_plan::{ignition, network::nic::ClusterNic, restrictions::ProjectRestrictions};
use incus_api::Profile;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::ListParams};

use super::validate::ValidMachine;
use crate::{
    cluster_nic,
    context::Context,
    failure::Failure,
    images::{self, Image},
    profiles,
    references::{self, annotation, name, namespace},
    remote::Remote,
};

/// The Kubernetes objects related to one machine, as far as they exist.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) machine: Option<Machine>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) lxc_cluster: Option<LXCCluster>,
}

/// Reads the objects related to a machine.
pub(crate) async fn references(ctx: &Context, machine: &LXCMachine) -> Result<References, Failure> {
    let meta = &machine.metadata;
    let mut owner: Option<Machine> = references::owner(&ctx.client, meta).await?;
    if let Some(owner) = &mut owner
        && let Some(pool) = pool_of(ctx, owner).await?
    {
        complete(owner, machine, &pool);
    }
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

/// Returns the MachinePool for which a Machine was created.
async fn pool_of(ctx: &Context, owner: &Machine) -> Result<Option<MachinePool>, Failure> {
    let meta = &owner.metadata;
    match refs::controller(meta) {
        Some(pool) if refs::is_kind(pool, capi_api::core::GROUP, "MachinePool") => {
            references::get(&ctx.client, namespace(meta), &pool.name).await
        }
        Some(_) | None => Ok(None),
    }
}

/// Fills in the fields that Cluster API omits in the Machines of a pool: bootstrap data, version
/// and failure domain.
fn complete(owner: &mut Machine, machine: &LXCMachine, pool: &MachinePool) {
    let spec = &pool.spec.template.spec;
    let made_for = |key| annotation(&machine.metadata, key).map(str::to_owned);
    let secret = spec.bootstrap.data_secret_name.clone().filter(|secret| !secret.is_empty());
    owner.spec.bootstrap =
        Bootstrap { config_ref: spec.bootstrap.config_ref.clone(), data_secret_name: secret };
    let version = made_for(keys::POOL_VERSION_ANNOTATION).or_else(|| spec.version.clone());
    owner.spec.version = owner.spec.version.take().or(version);
    let domain = made_for(keys::POOL_FAILURE_DOMAIN_ANNOTATION);
    owner.spec.failure_domain = owner.spec.failure_domain.take().or(domain);
}

/// Returns the connection to the server of the machine's cluster.
pub(crate) async fn remote(ctx: &Context, found: &References) -> Result<Arc<Remote>, Failure> {
    let Some(lxc_cluster) = &found.lxc_cluster else {
        return Err(Failure::NoCluster);
    };
    let secret = references::identity_of(&ctx.client, lxc_cluster).await?;
    ctx.remote(&secret).await
}

/// Inputs of a launch besides the manifest.
#[derive(Clone, Debug)]
pub(crate) struct LaunchInputs {
    pub(crate) image: Image,
    /// Bootstrap data. `None` if it does not exist yet.
    pub(crate) user_data: Option<String>,
    /// Restrictions of the project.
    pub(crate) restrictions: ProjectRestrictions,
    /// The first NIC, if the cluster sets its network.
    pub(crate) cluster_nic: Option<ClusterNic>,
    /// Profiles of the instance.
    pub(crate) profiles: Vec<Profile>,
}

/// Reads the bootstrap data, resolves the image, and reads the restrictions of the project.
pub(crate) async fn inputs(
    ctx: &Context,
    remote: &Remote,
    found: &References,
    valid: &ValidMachine,
) -> Result<LaunchInputs, Failure> {
    check_instance_type(remote, valid).await?;
    let user_data = match valid.prerequisite() {
        Some(_) => None,
        None => Some(bootstrap_data(ctx, found).await?),
    };
    let (wanted, version) = (&valid.spec.image, valid.version.as_deref());
    if wanted.is_empty() && user_data.as_deref().is_some_and(ignition::is_ignition) {
        return Err(Failure::Invalid { message: ignition::NEEDS_IMAGE.to_owned() });
    }
    let kind = valid.spec.instance_type;
    let image = images::of_machine(remote, wanted, kind, version, &valid.image_servers).await?;
    let restrictions = restrictions(remote, valid).await?;
    let profiles = profiles::of(remote, &valid.spec.profiles, &valid.name).await?;
    let cluster_nic = cluster_nic(remote, found, valid, &profiles).await?;
    Ok(LaunchInputs { image, user_data, restrictions, cluster_nic, profiles })
}

/// Returns the first NIC, if the cluster sets its network.
///
/// # Errors
///
/// A final failure if the machine has forbidden NICs of its own.
async fn cluster_nic(
    remote: &Remote,
    found: &References,
    valid: &ValidMachine,
    profiles: &[Profile],
) -> Result<Option<ClusterNic>, Failure> {
    let (spec, name) = (&valid.spec, valid.name.as_str());
    let devices = cluster_nic::merged(profiles);
    let cluster_nic = valid.network().map(|network| ClusterNic::replacing(&devices, network));
    let cluster = found.lxc_cluster.as_ref().and_then(|cluster| cluster.metadata.uid.as_deref());
    let uid = cluster.unwrap_or_default();
    cluster_nic::check(remote, &devices, &spec.devices, cluster_nic.as_ref(), uid, name).await?;
    Ok(cluster_nic)
}

/// Returns whether an instance may be created before its bootstrap data exists: once the instance
/// of a control plane runs, because both would compete for the disk. Always true for the first
/// machine of a control plane.
pub(crate) async fn may_create_early(
    ctx: &Context,
    remote: &Remote,
    valid: &ValidMachine,
) -> Result<bool, Failure> {
    if valid.has_control_plane() {
        return Ok(true);
    }
    let api = Api::<LXCMachine>::namespaced(ctx.client.clone(), valid.namespace());
    let of_cluster =
        format!("{}={},{}", labels::CLUSTER_NAME, valid.cluster(), labels::CONTROL_PLANE);
    let control_planes = lists::list(&api, &ListParams::default().labels(&of_cluster)).await;
    let (namespace, cluster) = (valid.namespace(), valid.cluster());
    let failure = Failure::kube_named("list the control planes of", "Cluster", namespace, cluster);
    let control_planes = control_planes.map_err(failure)?.items;
    let age = |machine: &&LXCMachine| {
        let meta = &machine.metadata;
        (meta.creation_timestamp.as_ref().map(|made| made.0), name(meta).to_owned())
    };
    let first = control_planes.iter().min_by_key(age);
    if first.is_some_and(|first| first.instance_name() == valid.name.as_str()) {
        return Ok(true);
    }
    for machine in &control_planes {
        let instance = machine.instance_name();
        let failure = Failure::server("check", instance);
        let found = remote.client.instance(instance).await.map_err(failure)?;
        if found.is_some_and(|found| found.value.is_running()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// API extensions that a server needs to run kind nodes.
const OCI_EXTENSIONS: [&str; 2] = ["instance_oci", "instance_oci_entrypoint"];

/// Checks that the server can run instances of the machine's type.
///
/// # Errors
///
/// A final failure that names what the server lacks.
async fn check_instance_type(remote: &Remote, valid: &ValidMachine) -> Result<(), Failure> {
    let failure = || Failure::server("check the server of", valid.name.as_str());
    let lacks = match valid.spec.instance_type {
        InstanceType::Unset | InstanceType::Container => return Ok(()),
        InstanceType::VirtualMachine => {
            let server = remote.client.server().await.map_err(failure())?;
            let drivers = server.environment.driver;
            (!drivers.contains("qemu")).then(|| {
                format!(
                    "cannot run virtual machines (its drivers: {drivers}): QEMU must be installed and /dev/kvm must exist when the server starts"
                )
            })
        }
        InstanceType::Kind => {
            let mut lacks = None;
            for extension in OCI_EXTENSIONS {
                if !remote.client.supports(extension).await.map_err(failure())? {
                    lacks = Some(format!(
                        "cannot run application containers (API extension {extension}), which need Incus 6.11 or later"
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
            "instance type {} is not supported here: {} {} {lacks}; use another server, or spec.instanceType: container",
            valid.spec.instance_type.as_str(),
            server.flavor(),
            server.environment.server_version
        ),
    })
}

/// Reads the restrictions of the project. They are read for each launch, because the server
/// administrator may lift one at any time.
async fn restrictions(
    remote: &Remote,
    valid: &ValidMachine,
) -> Result<ProjectRestrictions, Failure> {
    let Some(project) = remote.client.project() else { return Ok(ProjectRestrictions::default()) };
    match remote.client.get_project(project).await {
        Ok(found) => Ok(found.map_or_else(ProjectRestrictions::default, |found| {
            ProjectRestrictions::of(&found.value)
        })),
        // Without permission to read them, the launch fails with the reason.
        Err(error) if error.is_forbidden() => Ok(ProjectRestrictions::default()),
        Err(error) => Err(Failure::server("check the project of", valid.name.as_str())(error)),
    }
}

async fn bootstrap_data(ctx: &Context, found: &References) -> Result<String, Failure> {
    let write_provider_id = found.machine.as_ref().and_then(|machine| {
        let name = machine.spec.bootstrap.data_secret_name.as_deref()?;
        Some((namespace(&machine.metadata), name))
    });
    let Some((namespace, name)) = write_provider_id else {
        return Err(Failure::Bootstrap { secret: "none".into(), problem: "is not set yet" });
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
