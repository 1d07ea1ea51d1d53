//! Executes the plan of a KubeadmConfig. Nothing else except `report` writes.

use std::time::Duration;

use capi_api::{Cluster, KubeadmConfig, Machine, labels};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::data::BootstrapData;
use super::observe::{Observed, authority, namespaced, secret_failure};
use super::plan::{Plan, WaitingOn};
use super::token::{self, CHECK_EVERY, Token};
use super::validate::{Problem, Valid};
use super::{cluster_info, data, discovery, lock, secret};
use crate::Context;
use crate::error::{Failure, chain, describe, is_conflict};
use crate::pki::Purpose;
use crate::pki::set::{Wanted, generate};
use crate::workload;

/// Outcome of a reconcile.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Nothing could be done.
    Waiting(WaitingOn),
    /// A step was taken, and the next one can follow at once.
    Again,
    /// The bootstrap data exists.
    Ready {
        /// Name of the Secret.
        secret: String,
        /// When to check the token again.
        check: Option<Duration>,
    },
}

/// Executes a plan.
///
/// # Guarantees
///
/// Every step can be repeated and interrupted; the next reconcile continues from the new state.
pub(super) async fn apply(
    ctx: &Context,
    config: &KubeadmConfig,
    seen: &Observed,
    plan: Plan<'_>,
) -> Result<Outcome, Failure> {
    let (machine, cluster) = match (&plan, &seen.machine, &seen.cluster) {
        (Plan::Wait(on), _, _) => return Ok(Outcome::Waiting(on.clone())),
        (_, Some(machine), Some(cluster)) => (machine, cluster),
        (_, None, _) => return Ok(Outcome::Waiting(WaitingOn::Machine)),
        (_, Some(_), None) => return Ok(Outcome::Waiting(WaitingOn::Cluster)),
    };
    match plan {
        Plan::Wait(on) => Ok(Outcome::Waiting(on)),
        Plan::Restore { secret } => {
            own_secret(ctx, config, seen).await?;
            Ok(Outcome::Ready { secret, check: None })
        }
        Plan::Keep { token } => {
            own_secret(ctx, config, seen).await?;
            let name = config.status.as_ref().and_then(|status| status.data_secret_name.clone());
            let secret = name.unwrap_or_else(|| config.name_any());
            let check = keep(ctx, config, cluster, token.as_deref()).await?;
            if let Some(token) = token.as_deref().and_then(Token::parse) {
                announce(ctx, cluster, &token).await;
            }
            Ok(Outcome::Ready { secret, check })
        }
        Plan::Rotate { token } => {
            own_secret(ctx, config, seen).await?;
            rotate(ctx, config, cluster, &token).await
        }
        Plan::ReleaseLock { uid } => {
            tracing::info!(cluster = cluster.name_any(), "releasing the lock of a deleted machine");
            lock::release(ctx, cluster, uid.as_deref()).await?;
            Ok(Outcome::Again)
        }
        Plan::MakeCertificates(purposes) => {
            make_certificates(ctx, config, cluster, &purposes).await?;
            Ok(Outcome::Again)
        }
        Plan::Init { lock: true, .. } => {
            if lock::acquire(ctx, cluster, &machine.name_any()).await? {
                Ok(Outcome::Again)
            } else {
                Ok(Outcome::Waiting(WaitingOn::ControlPlane { by: None }))
            }
        }
        Plan::Init { lock: false, valid } => init(ctx, config, seen, machine, cluster, valid).await,
        Plan::Join { control_plane, release, valid } => {
            if let Some(uid) = release {
                lock::release(ctx, cluster, uid.as_deref()).await?;
            }
            join(ctx, config, seen, cluster, valid, control_plane).await
        }
    }
}

async fn own_secret(ctx: &Context, config: &KubeadmConfig, seen: &Observed) -> Result<(), Failure> {
    match &seen.data_secret {
        Some(existing) => secret::own(ctx, config, existing).await,
        None => Ok(()),
    }
}

/// Keeps a token alive and returns when to check it again.
async fn keep(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
    token: Option<&str>,
) -> Result<Option<Duration>, Failure> {
    let Some(token) = token.and_then(Token::parse) else { return Ok(None) };
    let failed = |source| Failure::Workload { object: describe(config), source };
    let client = workload::client(ctx, cluster).await.map_err(failed)?;
    token::keep(&client, &token, ctx.now()).await.map_err(failed)?;
    Ok(Some(CHECK_EVERY))
}

/// Replaces a token that has less than half of its lifetime left. The old one stays valid until it
/// expires, for machines that boot with it. The next reconcile creates bootstrap data with the new
/// one.
async fn rotate(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
    token: &str,
) -> Result<Outcome, Failure> {
    let name = config.status.as_ref().and_then(|status| status.data_secret_name.clone());
    let secret = name.unwrap_or_else(|| config.name_any());
    let Some(current) = Token::parse(token) else {
        return Ok(Outcome::Ready { secret, check: None });
    };
    let failed = |source| Failure::Workload { object: describe(config), source };
    let client = workload::client(ctx, cluster).await.map_err(failed)?;
    if !token::is_aging(&client, &current, ctx.now()).await.map_err(failed)? {
        return Ok(Outcome::Ready { secret, check: Some(CHECK_EVERY) });
    }
    tracing::info!(config = config.name_any(), "created a new bootstrap token for future machines");
    let change = json!({
        "metadata": { "resourceVersion": config.resource_version() },
        "spec": { "joinConfiguration": { "discovery": {
            "bootstrapToken": { "token": Token::random().to_string() },
        } } },
    });
    let api: Api<KubeadmConfig> = namespaced(ctx, config);
    api.patch(&config.name_any(), &PatchParams::default(), &Patch::Merge(&change))
        .await
        .map_err(Failure::api("patch", config))?;
    Ok(Outcome::Again)
}

async fn init(
    ctx: &Context,
    config: &KubeadmConfig,
    seen: &Observed,
    machine: &Machine,
    cluster: &Cluster,
    valid: &Valid,
) -> Result<Outcome, Failure> {
    let data = data::init(config, machine, cluster, &seen.inputs.certificates, valid)
        .map_err(|error| invalid(config, &error))?;
    let secret = store(ctx, config, seen, cluster, data).await?;
    Ok(Outcome::Ready { secret, check: None })
}

async fn join(
    ctx: &Context,
    config: &KubeadmConfig,
    seen: &Observed,
    cluster: &Cluster,
    valid: &Valid,
    control_plane: bool,
) -> Result<Outcome, Failure> {
    let given = config.spec.join_configuration.as_ref();
    let ca = authority(&seen.inputs).unwrap_or_default();
    let discovery = discovery::complete(given, cluster.endpoint(), ca, &Token::random())
        .map_err(|error| invalid(config, &error))?;
    if given.and_then(|join| join.discovery.as_ref()) != Some(&discovery) {
        // It is written before it is used: whatever happens now, the next reconcile uses the same
        // token.
        let change = json!({
            "metadata": { "resourceVersion": config.resource_version() },
            "spec": { "joinConfiguration": { "discovery": discovery } },
        });
        let api: Api<KubeadmConfig> = namespaced(ctx, config);
        api.patch(&config.name_any(), &PatchParams::default(), &Patch::Merge(&change))
            .await
            .map_err(Failure::api("patch", config))?;
        return Ok(Outcome::Again);
    }
    let text = discovery.bootstrap_token.as_ref().and_then(|found| found.token.as_deref());
    let token = text.and_then(Token::parse);
    if text.is_some() && token.is_none() {
        let problem = "spec.joinConfiguration.discovery.bootstrapToken.token is not of the form \
                       abcdef.0123456789abcdef";
        return Ok(Outcome::Waiting(WaitingOn::User(Problem(problem.to_owned()))));
    }
    let check = keep(ctx, config, cluster, text).await?;
    let join = given.cloned().unwrap_or_default();
    let certificates = &seen.inputs.certificates;
    let data = data::join(config, cluster, certificates, valid, join, control_plane)
        .map_err(|error| invalid(config, &error))?;
    let secret = store(ctx, config, seen, cluster, data).await?;
    Ok(Outcome::Ready { secret, check })
}

async fn store(
    ctx: &Context,
    config: &KubeadmConfig,
    seen: &Observed,
    cluster: &Cluster,
    data: BootstrapData,
) -> Result<String, Failure> {
    for warning in &data.warnings {
        let name = config.name_any();
        tracing::warn!(
            config = name,
            warning,
            "additionalConfig of the KubeadmConfig may be \
                                                wrong"
        );
    }
    let (machine, existing) = (seen.machine.as_ref(), seen.data_secret.as_ref());
    secret::store(ctx, config, cluster, machine, existing, data.text).await
}

/// Saves a joining machine some waiting time. It boots in the meantime, and nothing depends on
/// this.
async fn announce(ctx: &Context, cluster: &Cluster, token: &Token) {
    let signed = async {
        let client = workload::client(ctx, cluster).await?;
        cluster_info::sign(&client, token).await
    };
    if let Err(error) = signed.await {
        let name = cluster.name_any();
        tracing::debug!(cluster = name, error = chain(&error), "cannot sign cluster-info");
    }
}

/// Creates the certificates of a cluster without a control plane object. Like upstream, the
/// KubeadmConfig owns them.
async fn make_certificates(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
    purposes: &[Purpose],
) -> Result<(), Failure> {
    let wanted = Wanted::of(config.spec.cluster_configuration.as_ref());
    let set =
        generate(&wanted, purposes, ctx.now()).await.map_err(|error| invalid(config, &error))?;
    let api: Api<Secret> = namespaced(ctx, config);
    for (purpose, pair) in set {
        let name = purpose.secret_name(&cluster.name_any());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: config.namespace(),
                labels: Some([(labels::CLUSTER_NAME.to_owned(), cluster.name_any())].into()),
                owner_references: config.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            type_: Some(labels::CLUSTER_SECRET_TYPE.to_owned()),
            data: Some(pair.to_data()),
            ..Secret::default()
        };
        match api.create(&PostParams::default(), &secret).await {
            Ok(_) => {}
            // Another client created it in the meantime; that one is used.
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(secret_failure("create", config, &name)(error)),
        }
    }
    Ok(())
}

fn invalid(config: &KubeadmConfig, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::Invalid { object: describe(config), problem: chain(error) }
}
