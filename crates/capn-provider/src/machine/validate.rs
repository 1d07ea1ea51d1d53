//! From the objects around one machine to checked types. Pure.

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
    files::{self, Piece},
    kind,
    kube_vip::Manifest,
    launch::{self, MachineLaunch, ServerFacts},
    life::{self, Life},
    machine::{Gate, Leaving, Machine, Observed, WhenStopped},
    stop,
};
use incus_api::InstanceFull;
use jiff::Timestamp;
use kube::api::ObjectMeta;

use super::observe::{Material, References};
use crate::{
    failure::{Failure, chain},
    images,
    references::{self, annotation, name, namespace},
};

/// What is to be done about a machine.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing: it has no owner yet, or is about to be gone.
    Nothing,
    /// Make its instance and keep it running.
    Keep(Subject),
    /// Delete its instance.
    Delete(Subject),
    /// Let it go and leave its instance behind, as the user wants.
    Orphan,
    /// It asks for what cannot be.
    Invalid(Failure),
}

/// One machine, checked, without what the server says.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
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
    gate: Option<Gate>,
    when_stopped: WhenStopped,
    endpoint: Option<std::net::IpAddr>,
    stop_deadline: Duration,
    /// The Cluster or the LXCCluster is being deleted too, or gone.
    with_cluster: bool,
    balancer: Option<LXCClusterSpec>,
    configured: bool,
    drained: bool,
    initialized: bool,
    pod_cidr: Option<String>,
    /// Families of the cluster's pods and Services.
    families: Vec<Family>,
    failure_domain: Option<String>,
    /// The network that the cluster says its instances are on.
    network: Option<String>,
    /// It makes that network, which is not there yet.
    lacks_network: bool,
}

impl Subject {
    /// The network of its first card; `None`: that of its profiles.
    pub(crate) fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    /// What the making of the instance waits for. Nothing, once it was made.
    pub(crate) fn held_by(&self) -> Option<Gate> {
        self.gate.filter(|_| !self.provisioned)
    }

    /// Whether its instance is made while it waits for its bootstrap data. Where its cluster's
    /// infrastructure is, has to be known.
    pub(crate) fn is_made_early(&self) -> bool {
        self.spec.create_before_bootstrap_data
            && self.balancer.is_some()
            && self.gate.is_some()
            && !self.lacks_network
    }

    /// Whether the cluster has a control plane that others join.
    pub(crate) fn has_control_plane(&self) -> bool {
        self.initialized
    }

    /// Name of the Cluster.
    pub(crate) fn cluster(&self) -> &str {
        &self.owner.cluster
    }

    /// Its namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.owner.namespace
    }

    /// Whether it shares the host's kernel.
    pub(crate) fn is_contained(&self) -> bool {
        self.spec.instance_type != InstanceType::VirtualMachine
    }

    /// Whether the instance is to be made, or never ran and may lack what belongs into it.
    pub(crate) fn needs_launch(&self, seen: &Observed) -> bool {
        // One that waits for its data needs none of it before.
        let unused =
            |instance: &InstanceFull| life::of(instance) == Life::Fresh && self.gate.is_none();
        seen.instance.as_deref().is_none_or(unused)
            && !self.provisioned
            && self.deleted_at.is_none()
            && (self.gate.is_none() || self.is_made_early())
    }
}

/// Says what is to be done about a machine.
pub(crate) fn standing(machine: &LXCMachine, found: &References) -> Standing {
    let meta = &machine.metadata;
    if meta.deletion_timestamp.is_none() {
        if found.machine.is_none() || found.cluster.is_none() {
            return Standing::Nothing;
        }
        return match subject(machine, found) {
            Ok(subject) => Standing::Keep(subject),
            Err(failure) => Standing::Invalid(failure),
        };
    }
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == keys::MACHINE_FINALIZER) {
        return Standing::Nothing;
    }
    let wants_orphan = |meta| annotation(meta, keys::ORPHAN_INSTANCES_ANNOTATION) == Some("true");
    let cluster = found.lxc_cluster.as_ref();
    if wants_orphan(meta) || cluster.is_some_and(|cluster| wants_orphan(&cluster.metadata)) {
        return Standing::Orphan;
    }
    match identified(machine, found) {
        Ok(subject) => Standing::Delete(subject),
        // No instance can have that name, so there is none to delete.
        Err(failure) => Standing::Invalid(failure),
    }
}

fn subject(machine: &LXCMachine, found: &References) -> Result<Subject, Failure> {
    if let Some(cluster) = &found.lxc_cluster {
        cluster.spec.check_isolation().map_err(|message| Failure::Invalid { message })?;
        images::servers(&cluster.metadata)?;
    }
    identified(machine, found)
}

fn identified(machine: &LXCMachine, found: &References) -> Result<Subject, Failure> {
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
    Ok(Subject {
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
        // What cannot be understood is said where it matters, which is not a deletion.
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
        gate: gate(found).or(lacks_network.then_some(Gate::ClusterInfrastructure)),
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

/// Whether the cluster makes a network for its instances that is not there yet.
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

/// Name of the Machine, also when it is gone.
fn machine_name(machine: &LXCMachine) -> String {
    refs::owner(&machine.metadata, capi_api::core::GROUP, "Machine")
        .map_or_else(|| name(&machine.metadata).to_owned(), |owner| owner.name.clone())
}

fn gate(found: &References) -> Option<Gate> {
    let cluster = found.cluster.as_ref()?;
    if !cluster.infrastructure_provisioned() || found.lxc_cluster.is_none() {
        return Some(Gate::ClusterInfrastructure);
    }
    let machine = found.machine.as_ref()?;
    if machine.spec.bootstrap.data_secret_name.is_some() {
        return None;
    }
    match machine.is_control_plane() || cluster.control_plane_initialized() {
        true => Some(Gate::BootstrapData),
        false => Some(Gate::ControlPlane),
    }
}

/// The cluster's first range of pod addresses.
fn pod_cidr(cluster: &Cluster) -> Option<String> {
    cluster.spec.cluster_network.as_ref()?.pods.as_ref()?.cidr_blocks.first().cloned()
}

/// How long its instance may take to stop, from the machine or its cluster.
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

/// How a machine goes whose deletion was asked for.
fn leaving(subject: &Subject, now: Timestamp) -> Option<Leaving> {
    let since = now.duration_since(subject.deleted_at?);
    let since = Duration::try_from(since).unwrap_or_default();
    Some(Leaving {
        drain: drain::of(&drain::Leaving {
            cluster: subject.balancer.as_ref(),
            with_cluster: subject.with_cluster,
            control_plane: subject.owner.role == Role::ControlPlane,
            configured: subject.configured,
            drained: subject.drained,
            since,
        }),
        // What never was a node has nothing to bring to an end.
        grace: stop::left(subject.stop_deadline, since, subject.with_cluster)
            .filter(|_| subject.provisioned),
    })
}

/// The machine as the plan wants it, with the launch if there is something to launch.
pub(crate) fn wanted(
    subject: &Subject,
    material: Option<&Material>,
    server: &ServerFacts,
    now: Timestamp,
) -> Result<Machine, Failure> {
    if let Some(material) = material
        && subject.is_contained()
        && let Some(message) = material.fence.refusal(subject.isolation)
    {
        return Err(Failure::Invalid { message });
    }
    let launch = material
        .map(|material| {
            launch::machine(&MachineLaunch {
                name: &subject.name,
                owner: &subject.owner,
                spec: &subject.spec,
                isolation: subject.isolation,
                skip_defaults: subject.skip_defaults,
                source: material.image.source.clone(),
                user_data: material.user_data.as_deref(),
                server,
                fence: &material.fence,
                pieces: match &material.user_data {
                    Some(user_data) => pieces(subject, user_data)?,
                    None => Vec::new(),
                },
                placement: domains::place(subject.failure_domain.as_deref(), &subject.spec.target),
                wire: material.wire.as_ref(),
            })
            .map(Box::new)
            .map_err(|error| Failure::Invalid { message: format!("{error}; {}", error.hint()) })
        })
        .transpose()?;
    if let (Some(material), Some(launch)) = (material, &launch)
        && let Some(message) = launch.excluded(subject.isolation, &material.profiles)
    {
        return Err(Failure::Invalid { message });
    }
    Ok(Machine {
        name: subject.name.clone(),
        isolation: subject.isolation,
        owner: subject.owner.clone(),
        leaving: leaving(subject, now),
        provisioned: subject.provisioned,
        gate: subject.gate,
        launch,
        when_stopped: subject.when_stopped,
        families: subject.families.clone(),
        not_an_address: subject.endpoint,
    })
}

/// What is put into the instance before its first start.
fn pieces(subject: &Subject, user_data: &str) -> Result<Vec<Piece>, Failure> {
    let user_data = subject.spec.config.get(launch::USER_DATA).map_or(user_data, String::as_str);
    let version = subject.version.as_deref();
    let mut pieces = Vec::new();
    if subject.spec.instance_type == InstanceType::Kind {
        let runner = kind::Runner::of(&subject.spec.config)
            .map_err(|message| Failure::Invalid { message })?;
        let pod_cidr = subject.pod_cidr.as_deref();
        let of_kind = kind::pieces(user_data, &subject.name, pod_cidr, runner);
        pieces.extend(of_kind.map_err(|error| Failure::Invalid {
            message: format!("{}; {}", chain(&error), error.hint()),
        })?);
    } else if files::calls_install_script(user_data) {
        pieces.push(Piece::File {
            path: files::INSTALL_SCRIPT.to_owned(),
            text: InstallScript::new(version.unwrap_or_default()).text(),
            mode: 0o755,
        });
    }
    let manifest = subject
        .balancer
        .as_ref()
        .filter(|_| subject.owner.role == Role::ControlPlane)
        .and_then(|cluster| Manifest::of(cluster, subject.initialized, version));
    pieces.extend(manifest.map(|manifest| Piece::File {
        path: manifest.path().to_owned(),
        text: manifest.render(),
        mode: 0o600,
    }));
    Ok(pieces)
}

#[cfg(test)]
mod tests;
