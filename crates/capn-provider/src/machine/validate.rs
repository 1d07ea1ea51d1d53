//! Validates the objects related to one machine. Pure.

use std::time::Duration;

use capi_api::{core::Cluster, refs};
use capn_api::{
    InstanceType, Isolation, LXCClusterSpec, LXCMachine, LXCMachineSpec, NetworkMode, keys,
    provider_id,
};
use capn_image::{install::InstallScript, name::ImageServers};
use capn_plan::{
    InstanceName, Owner, Role, domains, drain,
    families::Family,
    files::{self, InjectedFile},
    kind,
    kube_vip::Manifest,
    launch::{self, MachineLaunch, ServerFacts},
    machine::{Deletion, Machine, Observed, Prerequisite, WhenStopped},
    phase::{self, InstancePhase},
    stop,
};
use incus_api::InstanceFull;
use jiff::Timestamp;
use kube::api::ObjectMeta;

use super::observe::{LaunchInputs, References};
use crate::{
    failure::{Failure, chain},
    images,
    references::{self, annotation, name, namespace},
};

/// The action for a machine.
#[derive(Debug)]
pub(crate) enum Disposition {
    /// Nothing: it has no owner yet, or is about to be removed.
    Nothing,
    /// Create its instance and keep it running.
    Keep(ValidMachine),
    /// Delete its instance.
    Delete(ValidMachine),
    /// Remove the finalizer and leave the instance behind, as the user requested.
    Orphan,
    /// The spec is invalid.
    Invalid(Failure),
}

/// A validated machine.
#[derive(Clone, Debug)]
pub(crate) struct ValidMachine {
    pub(crate) name: InstanceName,
    pub(crate) spec: LXCMachineSpec,
    /// Kubernetes version.
    pub(crate) version: Option<String>,
    pub(crate) isolation: Isolation,
    pub(crate) image_servers: ImageServers,
    owner: Owner,
    skip_defaults: bool,
    deleted_at: Option<Timestamp>,
    provisioned: bool,
    prerequisite: Option<Prerequisite>,
    when_stopped: WhenStopped,
    endpoint: Option<std::net::IpAddr>,
    stop_deadline: Duration,
    /// Whether the Cluster or the LXCCluster is gone or being deleted too.
    with_cluster: bool,
    balancer: Option<LXCClusterSpec>,
    configured: bool,
    drained: bool,
    initialized: bool,
    pod_cidr: Option<String>,
    /// Families of the cluster's pods and Services.
    families: Vec<Family>,
    failure_domain: Option<String>,
    /// Network of the instances, if the cluster sets it.
    network: Option<String>,
    /// Whether the cluster creates that network but has not done so yet.
    lacks_network: bool,
}

impl ValidMachine {
    /// Returns the network of the first NIC. `None`: that of its profiles.
    pub(crate) fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    /// Returns the prerequisite that the instance waits for. `None` once it is provisioned.
    pub(crate) fn prerequisite(&self) -> Option<Prerequisite> {
        self.prerequisite.filter(|_| !self.provisioned)
    }

    /// Returns whether the instance is created while it waits for its bootstrap data. The cluster's
    /// infrastructure must be known.
    pub(crate) fn is_created_early(&self) -> bool {
        self.spec.create_before_bootstrap_data
            && self.balancer.is_some()
            && self.prerequisite.is_some()
            && !self.lacks_network
    }

    /// Returns whether the cluster has a control plane that others can join.
    pub(crate) fn has_control_plane(&self) -> bool {
        self.initialized
    }

    /// Returns the name of the Cluster.
    pub(crate) fn cluster(&self) -> &str {
        &self.owner.cluster
    }

    /// Returns the namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.owner.namespace
    }

    /// Returns whether it shares the kernel of the host.
    pub(crate) fn is_contained(&self) -> bool {
        self.spec.instance_type != InstanceType::VirtualMachine
    }

    /// Returns whether the instance must be created, or has never run and may lack files or config.
    pub(crate) fn needs_launch(&self, observed: &Observed) -> bool {
        // An instance that waits for its bootstrap data needs nothing before.
        let unused = |instance: &InstanceFull| {
            phase::of(instance) == InstancePhase::Fresh && self.prerequisite.is_none()
        };
        observed.instance.as_deref().is_none_or(unused)
            && !self.provisioned
            && self.deleted_at.is_none()
            && (self.prerequisite.is_none() || self.is_created_early())
    }
}

/// Decides what to do about a machine.
pub(crate) fn disposition(machine: &LXCMachine, found: &References) -> Disposition {
    let meta = &machine.metadata;
    if meta.deletion_timestamp.is_none() {
        if found.machine.is_none() || found.cluster.is_none() {
            return Disposition::Nothing;
        }
        return match valid(machine, found) {
            Ok(valid) => Disposition::Keep(valid),
            Err(failure) => Disposition::Invalid(failure),
        };
    }
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == keys::MACHINE_FINALIZER) {
        return Disposition::Nothing;
    }
    let wants_orphan = |meta| annotation(meta, keys::ORPHAN_INSTANCES_ANNOTATION) == Some("true");
    let cluster = found.lxc_cluster.as_ref();
    if wants_orphan(meta) || cluster.is_some_and(|cluster| wants_orphan(&cluster.metadata)) {
        return Disposition::Orphan;
    }
    match valid_machine(machine, found) {
        Ok(valid) => Disposition::Delete(valid),
        // No instance can have that name, so there is nothing to delete.
        Err(failure) => Disposition::Invalid(failure),
    }
}

fn valid(machine: &LXCMachine, found: &References) -> Result<ValidMachine, Failure> {
    if let Some(cluster) = &found.lxc_cluster {
        cluster.spec.check_isolation().map_err(|message| Failure::Invalid { message })?;
        images::servers(&cluster.metadata)?;
    }
    valid_machine(machine, found)
}

fn valid_machine(machine: &LXCMachine, found: &References) -> Result<ValidMachine, Failure> {
    let meta = &machine.metadata;
    let invalid = |error: &capn_plan::names::NameError| Failure::Invalid {
        message: format!("{error}; {}", error.hint()),
    };
    let instance = InstanceName::new(machine.instance_name()).map_err(|error| invalid(&error))?;
    let cluster_spec = found.lxc_cluster.as_ref().map(|cluster| &cluster.spec);
    let role = match &found.machine {
        Some(owner) if owner.is_control_plane() => Role::ControlPlane,
        Some(_) | None => Role::Worker,
    };
    let network = cluster_spec.and_then(|spec| spec.network_name());
    let lacks_network = lacks_network(found);
    Ok(ValidMachine {
        network: network.map(str::to_owned),
        lacks_network,
        owner: Owner {
            namespace: namespace(meta).to_owned(),
            name: name(meta).to_owned(),
            uid: meta.uid.clone().unwrap_or_default(),
            cluster: cluster_name(machine, found),
            machine: Some(machine_name(machine)),
            role,
        },
        isolation: cluster_spec
            .map_or(Isolation::Privileged, capn_api::LXCClusterSpec::effective_isolation),
        // Invalid values are reported where they matter, which is not in a deletion.
        image_servers: found
            .lxc_cluster
            .as_ref()
            .and_then(|cluster| images::servers(&cluster.metadata).ok())
            .unwrap_or_default(),
        skip_defaults: cluster_spec.is_some_and(|spec| spec.skip_default_kubeadm_profile),
        version: found.machine.as_ref().and_then(|owner| owner.spec.version.clone()),
        deleted_at: meta.deletion_timestamp.as_ref().map(|time| time.0),
        stop_deadline: stop_deadline(machine, found),
        with_cluster: goes_with_cluster(found),
        balancer: cluster_spec.cloned(),
        configured: machine.status.as_ref().is_some_and(|status| status.load_balancer_configured),
        drained: annotation(meta, keys::DRAINED_ANNOTATION).is_some(),
        initialized: found.cluster.as_ref().is_some_and(Cluster::control_plane_initialized),
        pod_cidr: found.cluster.as_ref().and_then(pod_cidr),
        families: found.cluster.as_ref().map(references::families).unwrap_or_default(),
        failure_domain: found.machine.as_ref().and_then(|owner| owner.spec.failure_domain.clone()),
        provisioned: machine.spec.provider_id.as_deref()
            == Some(provider_id(instance.as_str()).as_str()),
        prerequisite: prerequisite(found)
            .or(lacks_network.then_some(Prerequisite::ClusterInfrastructure)),
        when_stopped: match annotation(meta, keys::STOPPED_POLICY_ANNOTATION) {
            Some("report") => WhenStopped::Report,
            Some(_) | None => WhenStopped::Restart,
        },
        endpoint: cluster_spec
            .and_then(|spec| spec.endpoint_host())
            .and_then(|host| host.parse().ok()),
        spec: machine.spec.clone(),
        name: instance,
    })
}

/// Returns whether the cluster creates a network for its instances that does not exist yet.
fn lacks_network(found: &References) -> bool {
    found.lxc_cluster.as_ref().is_some_and(|cluster| {
        let made = cluster.status.as_ref().and_then(|status| status.network.as_deref());
        cluster.spec.network_mode() == NetworkMode::Own
            && (made.is_none() || made != cluster.spec.network_name())
    })
}

fn cluster_name(machine: &LXCMachine, found: &References) -> String {
    let label = crate::references::label(&machine.metadata, capi_api::labels::CLUSTER_NAME);
    found
        .cluster
        .as_ref()
        .map(|cluster| name(&cluster.metadata))
        .or(label)
        .unwrap_or_default()
        .to_owned()
}

/// Returns the name of the Machine, even if it no longer exists.
fn machine_name(machine: &LXCMachine) -> String {
    refs::owner(&machine.metadata, capi_api::core::GROUP, "Machine")
        .map_or_else(|| name(&machine.metadata).to_owned(), |owner| owner.name.clone())
}

fn prerequisite(found: &References) -> Option<Prerequisite> {
    let cluster = found.cluster.as_ref()?;
    if !cluster.infrastructure_provisioned() || found.lxc_cluster.is_none() {
        return Some(Prerequisite::ClusterInfrastructure);
    }
    let machine = found.machine.as_ref()?;
    if machine.spec.bootstrap.data_secret_name.is_some() {
        return None;
    }
    match machine.is_control_plane() || cluster.control_plane_initialized() {
        true => Some(Prerequisite::BootstrapData),
        false => Some(Prerequisite::ControlPlane),
    }
}

/// Returns the first pod CIDR of the cluster.
fn pod_cidr(cluster: &Cluster) -> Option<String> {
    cluster.spec.cluster_network.as_ref()?.pods.as_ref()?.cidr_blocks.first().cloned()
}

/// Returns the shutdown deadline of the instance, from the machine or its cluster.
fn stop_deadline(machine: &LXCMachine, found: &References) -> Duration {
    let cluster = found.lxc_cluster.as_ref().map(|cluster| &cluster.metadata);
    [Some(&machine.metadata), cluster]
        .into_iter()
        .flatten()
        .filter_map(|meta| stop::parse(annotation(meta, keys::STOP_DEADLINE_ANNOTATION)?))
        .next()
        .unwrap_or(stop::DEADLINE)
}

fn goes_with_cluster(found: &References) -> bool {
    let stays = |meta: &ObjectMeta| meta.deletion_timestamp.is_none();
    !found.cluster.as_ref().is_some_and(|cluster| stays(&cluster.metadata))
        || !found.lxc_cluster.as_ref().is_some_and(|cluster| stays(&cluster.metadata))
}

/// Returns the state of the deletion of a machine.
fn deletion(valid: &ValidMachine, now: Timestamp) -> Option<Deletion> {
    let since = now.duration_since(valid.deleted_at?);
    let since = Duration::try_from(since).unwrap_or_default();
    Some(Deletion {
        drain: drain::of(&drain::DeletingMachine {
            cluster: valid.balancer.as_ref(),
            with_cluster: valid.with_cluster,
            control_plane: valid.owner.role == Role::ControlPlane,
            configured: valid.configured,
            drained: valid.drained,
            since,
        }),
        // An instance that never became a node needs no clean shutdown.
        grace: stop::left(valid.stop_deadline, since, valid.with_cluster)
            .filter(|_| valid.provisioned),
    })
}

/// Returns the desired machine, with a launch request if the instance must be created.
pub(crate) fn wanted(
    valid: &ValidMachine,
    inputs: Option<&LaunchInputs>,
    server: &ServerFacts,
    now: Timestamp,
) -> Result<Machine, Failure> {
    if let Some(inputs) = inputs
        && valid.is_contained()
        && let Some(message) = inputs.restrictions.refusal(valid.isolation)
    {
        return Err(Failure::Invalid { message });
    }
    let launch = inputs
        .map(|inputs| {
            launch::machine(&MachineLaunch {
                name: &valid.name,
                owner: &valid.owner,
                spec: &valid.spec,
                isolation: valid.isolation,
                skip_defaults: valid.skip_defaults,
                source: inputs.image.source.clone(),
                user_data: inputs.user_data.as_deref(),
                server,
                restrictions: &inputs.restrictions,
                injected_files: match &inputs.user_data {
                    Some(user_data) => injected_files(valid, user_data)?,
                    None => Vec::new(),
                },
                placement: domains::place(valid.failure_domain.as_deref(), &valid.spec.target),
                cluster_nic: inputs.cluster_nic.as_ref(),
            })
            .map(Box::new)
            .map_err(|error| Failure::Invalid { message: format!("{error}; {}", error.hint()) })
        })
        .transpose()?;
    if let (Some(inputs), Some(launch)) = (inputs, &launch)
        && let Some(message) = launch.violation_message(valid.isolation, &inputs.profiles)
    {
        return Err(Failure::Invalid { message });
    }
    Ok(Machine {
        name: valid.name.clone(),
        isolation: valid.isolation,
        owner: valid.owner.clone(),
        deletion: deletion(valid, now),
        provisioned: valid.provisioned,
        prerequisite: valid.prerequisite,
        launch,
        when_stopped: valid.when_stopped,
        families: valid.families.clone(),
        ignored_vip: valid.endpoint,
    })
}

/// Returns the files to inject before the first start.
fn injected_files(valid: &ValidMachine, user_data: &str) -> Result<Vec<InjectedFile>, Failure> {
    let user_data = valid.spec.config.get(launch::USER_DATA).map_or(user_data, String::as_str);
    let version = valid.version.as_deref();
    let mut injected_files = Vec::new();
    if valid.spec.instance_type == InstanceType::Kind {
        let runner = kind::BootstrapRunner::of(&valid.spec.config)
            .map_err(|message| Failure::Invalid { message })?;
        let pod_cidr = valid.pod_cidr.as_deref();
        let of_kind = kind::injected_files(user_data, &valid.name, pod_cidr, runner);
        injected_files.extend(of_kind.map_err(|error| Failure::Invalid {
            message: format!("{}; {}", chain(&error), error.hint()),
        })?);
    } else if files::calls_install_script(user_data) {
        injected_files.push(InjectedFile::File {
            path: files::INSTALL_SCRIPT.to_owned(),
            text: InstallScript::new(version.unwrap_or_default()).text(),
            mode: 0o755,
        });
    }
    let manifest = valid
        .balancer
        .as_ref()
        .filter(|_| valid.owner.role == Role::ControlPlane)
        .and_then(|cluster| Manifest::of(cluster, valid.initialized, version));
    injected_files.extend(manifest.map(|manifest| InjectedFile::File {
        path: manifest.path().to_owned(),
        text: manifest.render(),
        mode: 0o600,
    }));
    Ok(injected_files)
}

#[cfg(test)]
mod tests;
