//! Decides what to do about a KubeadmConfig. Pure: no I/O, no clock.
//!
//! The order of the checks is that of upstream's bootstrap provider.

use capi_api::KubeadmConfig;
use kube::ResourceExt as _;

use super::lock::Lock;
use super::observe::{Observed, Pool, is_created};
use super::validate::{Problem, Valid};
use crate::pki::Purpose;
use crate::pki::set::Wanted;

/// The reason a plan waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WaitingOn {
    /// The Machine or MachinePool that uses it does not exist.
    Machine,
    /// The Cluster of the machine does not exist.
    Cluster,
    /// The infrastructure of the cluster is not ready.
    Infrastructure,
    /// The control plane is not initialized yet, by another machine or at all.
    ControlPlane {
        /// The machine that initializes it, if known.
        by: Option<String>,
    },
    /// A certificate that others create is missing.
    Certificate(Purpose),
    /// The endpoint is unknown.
    Endpoint,
    /// A user must act.
    User(Problem),
}

/// The action for a KubeadmConfig.
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing until it is applied"]
pub(super) enum Plan<'a> {
    /// Nothing can be done.
    Wait(WaitingOn),
    /// The machine has its bootstrap data, but the status does not say so: the objects come from a
    /// backup or from another management cluster.
    Restore {
        /// The Secret that the machine refers to.
        secret: String,
    },
    /// The bootstrap data exists. The token must be extended as long as the node does not exist.
    Keep {
        /// The token, if it is still needed.
        token: Option<String>,
    },
    /// The bootstrap data of a pool exists and its machines have joined. Its token must be replaced
    /// before it expires, so that no token is valid forever.
    Rotate {
        /// The token.
        token: String,
    },
    /// Release a lock whose holder is gone, and decide again.
    ReleaseLock {
        /// UID of the lock.
        uid: Option<String>,
    },
    /// Create missing certificates, because the cluster has no control plane object that does.
    MakeCertificates(Vec<Purpose>),
    /// Create bootstrap data that initializes the control plane. `lock` says whether the lock must
    /// be acquired first.
    Init {
        /// The lock is not held yet.
        lock: bool,
        /// The validated KubeadmConfig.
        valid: &'a Valid,
    },
    /// Create bootstrap data that joins the cluster.
    Join {
        /// Whether the machine joins as a control plane machine.
        control_plane: bool,
        /// The lock to release, which is no longer needed.
        release: Option<Option<String>>,
        /// The validated KubeadmConfig.
        valid: &'a Valid,
    },
}

/// Decides what to do.
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
    let is_stale = seen.pool.is_some_and(|pool| pool.is_stale);
    if created && !is_stale {
        let token = token_in_use(config).filter(|_| machine.node_name().is_none());
        return match (token, seen.pool) {
            (Some(token), Some(Pool { is_provisioned: true, .. })) => Plan::Rotate { token },
            (token, _) => Plan::Keep { token },
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
            // The holder of the lock creates them, so that two machines do not create two sets.
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

/// Returns whether it is for a machine that joins a control plane, which another machine
/// initializes.
fn joins_control_plane(config: &KubeadmConfig) -> bool {
    let join = config.spec.join_configuration.as_ref();
    config.spec.init_configuration.is_none()
        && join.is_some_and(|join| join.control_plane.is_some())
}

/// Returns the token that the bootstrap data uses.
fn token_in_use(config: &KubeadmConfig) -> Option<String> {
    let discovery = config.spec.join_configuration.as_ref()?.discovery.as_ref()?;
    discovery.bootstrap_token.as_ref()?.token.clone()
}

/// Returns whether the configuration contains the endpoint.
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
