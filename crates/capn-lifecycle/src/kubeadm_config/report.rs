//! Computes the status of a KubeadmConfig.

use std::time::Duration;

use capi_api::KubeadmConfig;
use capi_api::bootstrap::{
    CERTIFICATES_AVAILABLE, DATA_SECRET_AVAILABLE, KubeadmConfigInitialization, KubeadmConfigStatus,
};
use capi_api::conditions::{self, Conditions, Status, reason};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use super::apply::Outcome;
use super::observe::namespaced;
use super::plan::WaitingOn;
use crate::Context;
use crate::error::{Failure, chain};
use crate::patch;
use crate::summary::{Part, Reasons, summarize};

/// Interval for state that causes no event: another machine that holds the lock, a Secret of the
/// user.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Writes the status and returns when to check again. A failed pass stays a failure.
pub(super) async fn write(
    ctx: &Context,
    config: &KubeadmConfig,
    outcome: Result<Outcome, Failure>,
) -> Result<Action, Failure> {
    let old = config.status.clone().unwrap_or_default();
    let new = status(ctx, config, &old, outcome.as_ref());
    let version = config.resource_version();
    // After a step that wrote the object itself, the version that was read is outdated, and the
    // next reconcile reports the same.
    if !matches!(outcome, Ok(Outcome::Again)) {
        let api: kube::Api<KubeadmConfig> = namespaced(ctx, config);
        let name = config.name_any();
        patch::status(&api, &name, version.as_deref(), config.status.as_ref(), &new)
            .await
            .map_err(Failure::api("patch the status of", config))?;
    }
    Ok(match outcome? {
        Outcome::Again => Action::requeue(Duration::ZERO),
        Outcome::Ready { check: Some(after), .. } => Action::requeue(after),
        Outcome::Ready { check: None, .. } => Action::requeue(ctx.resync),
        Outcome::Waiting(WaitingOn::ControlPlane { by: Some(_) } | WaitingOn::User(_)) => {
            Action::requeue(LOOK_AGAIN)
        }
        Outcome::Waiting(_) => Action::requeue(ctx.resync),
    })
}

/// Reports that the object is paused.
pub(super) async fn paused(ctx: &Context, config: &KubeadmConfig) -> Result<(), Failure> {
    let old = config.status.clone().unwrap_or_default();
    let mut list = Conditions::new(old.conditions.as_ref(), config.metadata.generation, ctx.now());
    list.set(conditions::PAUSED, Status::True, reason::PAUSED, "");
    let new = KubeadmConfigStatus { conditions: Some(list.finish()), ..old };
    let version = config.resource_version();
    let api: kube::Api<KubeadmConfig> = namespaced(ctx, config);
    patch::status(&api, &config.name_any(), version.as_deref(), config.status.as_ref(), &new)
        .await
        .map(drop)
        .map_err(Failure::api("patch the status of", config))
}

fn status(
    ctx: &Context,
    config: &KubeadmConfig,
    old: &KubeadmConfigStatus,
    outcome: Result<&Outcome, &Failure>,
) -> KubeadmConfigStatus {
    let generation = config.metadata.generation;
    let mut list = Conditions::new(old.conditions.as_ref(), generation, ctx.now());
    let mut new = old.clone();
    list.set(conditions::PAUSED, Status::False, reason::NOT_PAUSED, "");
    let created = super::observe::is_created(config);
    match outcome {
        Ok(Outcome::Ready { secret, .. }) => {
            new.data_secret_name = Some(secret.clone());
            new.initialization =
                Some(KubeadmConfigInitialization { data_secret_created: Some(true) });
            list.set(DATA_SECRET_AVAILABLE, Status::True, reason::AVAILABLE, "");
            list.set(CERTIFICATES_AVAILABLE, Status::True, reason::AVAILABLE, "");
        }
        Ok(Outcome::Waiting(on)) => {
            if let WaitingOn::Certificate(purpose) = on {
                let missing = format!("The cluster has no valid {} yet", purpose.suffix());
                list.set(CERTIFICATES_AVAILABLE, Status::False, reason::NOT_AVAILABLE, missing);
            }
            not_available(&mut list, created, message(on));
        }
        Ok(Outcome::Again) => {}
        Err(failure) => not_available(&mut list, created, chain(failure)),
    }
    let parts = [
        Part::positive(DATA_SECRET_AVAILABLE, list.get(DATA_SECRET_AVAILABLE)),
        Part::positive(CERTIFICATES_AVAILABLE, list.get(CERTIFICATES_AVAILABLE)),
    ];
    let reasons =
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY };
    summarize(&parts, reasons).set(&mut list, conditions::READY);
    new.conditions = Some(list.finish());
    if outcome.is_ok() {
        new.observed_generation = generation;
    }
    new
}

/// Existing bootstrap data stays available, whatever fails later.
fn not_available(list: &mut Conditions, created: bool, message: String) {
    if !created {
        list.set(DATA_SECRET_AVAILABLE, Status::False, reason::NOT_AVAILABLE, message);
    }
}

fn message(on: &WaitingOn) -> String {
    match on {
        WaitingOn::Machine => "Waiting for a Machine or MachinePool to own it".to_owned(),
        WaitingOn::Cluster => "Waiting for its Cluster to exist".to_owned(),
        WaitingOn::Infrastructure => {
            "Waiting for Cluster status.initialization.infrastructureProvisioned to be true"
                .to_owned()
        }
        WaitingOn::ControlPlane { by: None } => {
            "Waiting for Cluster control plane to be initialized".to_owned()
        }
        WaitingOn::ControlPlane { by: Some(machine) } => {
            format!("Waiting for Machine {machine} to initialize the control plane")
        }
        WaitingOn::Certificate(purpose) => {
            format!("Waiting for the cluster's Secret with the suffix -{}", purpose.suffix())
        }
        WaitingOn::Endpoint => "Waiting for Cluster spec.controlPlaneEndpoint to be set".to_owned(),
        WaitingOn::User(problem) => problem.to_string(),
    }
}
