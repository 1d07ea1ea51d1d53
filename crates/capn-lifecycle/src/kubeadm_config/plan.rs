//! What to do about a KubeadmConfig. Pure: no I/O, no clock.
//!
//! The order of the checks is the order of upstream's bootstrap provider.

use capi_api::KubeadmConfig;
use kube::ResourceExt as _;

use super::lock::Lock;
use super::observe::{Observed, is_created};
use super::validate::{Problem, Valid};
use crate::pki::Purpose;
use crate::pki::set::Wanted;

/// What nothing can be done without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// A Machine that boots with it.
    Machine,
    /// The Cluster of the machine.
    Cluster,
    /// The infrastructure of the cluster.
    Infrastructure,
    /// Another machine that initializes the control plane, or the control plane to be initialized
    /// by anybody.
    ControlPlane {
        /// The machine that does it, if it is known.
        by: Option<String>,
    },
    /// A certificate that somebody else makes.
    Certificate(Purpose),
    /// Where the API server will answer.
    Endpoint,
    /// A user.
    User(Problem),
}

/// What to do about a KubeadmConfig.
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing until it is applied"]
pub(super) enum Plan<'a> {
    /// Nothing can be done.
    Wait(WaitingOn),
    /// The machine has its boot data, but the status does not say so: it came from a backup or
    /// from another management cluster.
    Restore {
        /// The Secret that the machine names.
        secret: String,
    },
    /// There is boot data. The token in it is to be kept alive as long as the node is not there.
    Keep {
        /// The token, if it still matters.
        token: Option<String>,
    },
    /// Give free a lock whose holder is gone, and look again.
    ReleaseLock {
        /// UID of the lock.
        uid: Option<String>,
    },
    /// Make the certificates that are missing: the cluster has no control plane object for that.
    MakeCertificates(Vec<Purpose>),
    /// Make boot data that initializes the control plane. `lock` says whether the lock has to be
    /// taken first.
    Init {
        /// The lock is not held yet.
        lock: bool,
        /// What was checked.
        valid: &'a Valid,
    },
    /// Make boot data that joins.
    Join {
        /// As a control plane machine.
        control_plane: bool,
        /// The lock is not needed any more.
        release: Option<Option<String>>,
        /// What was checked.
        valid: &'a Valid,
    },
}

/// Decides.
pub(super) fn plan<'a>(
    config: &KubeadmConfig,
    seen: &Observed,
    valid: Result<&'a Valid, &Problem>,
) -> Plan<'a> {
    let Some(machine) = &seen.machine else { return Plan::Wait(WaitingOn::Machine) };
    let Some(cluster) = &seen.cluster else { return Plan::Wait(WaitingOn::Cluster) };
    if !cluster.infrastructure_provisioned() {
        return Plan::Wait(WaitingOn::Infrastructure);
    }
    let created = is_created(config);
    if let Some(secret) = machine.spec.bootstrap.data_secret_name.clone().filter(|_| !created) {
        return Plan::Restore { secret };
    }
    if created {
        return Plan::Keep {
            token: token_in_use(config).filter(|_| machine.node_name().is_none()),
        };
    }
    let valid = match valid {
        Ok(valid) => valid,
        Err(problem) => return Plan::Wait(WaitingOn::User(problem.clone())),
    };
    let wanted = Wanted::of(config.spec.cluster_configuration.as_ref());
    let certificates = &seen.inputs.certificates;
    if !cluster.control_plane_initialized() {
        if !machine.is_control_plane() || joins_control_plane(config) {
            return Plan::Wait(WaitingOn::ControlPlane { by: None });
        }
        let lock = match &seen.inputs.lock {
            Lock::Held { by, .. } if *by != machine.name_any() => {
                return Plan::Wait(WaitingOn::ControlPlane { by: Some(by.clone()) });
            }
            Lock::Held { .. } => false,
            Lock::Stale { uid, .. } => return Plan::ReleaseLock { uid: uid.clone() },
            Lock::Free => true,
        };
        if let Some(missing) = wanted.first_missing(certificates) {
            let absent: Vec<_> = wanted
                .purposes()
                .into_iter()
                .filter(|purpose| !certificates.contains_key(purpose))
                .collect();
            let all_are_ours = absent.iter().all(|purpose| wanted.is_generated(*purpose));
            let ours = cluster.spec.control_plane_ref.is_none() && all_are_ours;
            // Whoever holds the lock makes them, so that two machines do not make two sets.
            return match (ours && !absent.is_empty(), lock) {
                (true, false) => Plan::MakeCertificates(absent),
                (true, true) => Plan::Init { lock, valid },
                (false, _) => Plan::Wait(WaitingOn::Certificate(missing)),
            };
        }
        return Plan::Init { lock, valid };
    }
    let control_plane = machine.is_control_plane();
    let missing = if control_plane {
        wanted.first_missing(certificates)
    } else {
        Some(Purpose::ClusterCa).filter(|purpose| !certificates.contains_key(purpose))
    };
    if let Some(missing) = missing {
        return Plan::Wait(WaitingOn::Certificate(missing));
    }
    if cluster.endpoint().is_none() && !brings_endpoint(config) {
        return Plan::Wait(WaitingOn::Endpoint);
    }
    let release = match &seen.inputs.lock {
        Lock::Free => None,
        Lock::Held { uid, .. } | Lock::Stale { uid, .. } => Some(uid.clone()),
    };
    Plan::Join { control_plane, release, valid }
}

/// It is for a machine that joins a control plane: another one initializes that.
fn joins_control_plane(config: &KubeadmConfig) -> bool {
    let join = config.spec.join_configuration.as_ref();
    config.spec.init_configuration.is_none()
        && join.is_some_and(|join| join.control_plane.is_some())
}

/// The token that the boot data joins with.
fn token_in_use(config: &KubeadmConfig) -> Option<String> {
    let discovery = config.spec.join_configuration.as_ref()?.discovery.as_ref()?;
    discovery.bootstrap_token.as_ref()?.token.clone()
}

/// The configuration says where the API server answers.
fn brings_endpoint(config: &KubeadmConfig) -> bool {
    let discovery =
        config.spec.join_configuration.as_ref().and_then(|join| join.discovery.as_ref());
    let Some(discovery) = discovery else { return false };
    if let Some(file) = &discovery.file {
        let cluster = file.kube_config.as_ref().map(|kubeconfig| kubeconfig.cluster.as_ref());
        return cluster.is_none_or(|cluster| cluster.is_some_and(|c| c.server.is_some()));
    }
    discovery.bootstrap_token.as_ref().is_some_and(|token| token.api_server_endpoint.is_some())
}
