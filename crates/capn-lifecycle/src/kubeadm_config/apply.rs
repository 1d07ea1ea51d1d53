//! Carries out what was decided about a KubeadmConfig. The only writer besides `report`.

use std::time::Duration;

use capi_api::{Cluster, KubeadmConfig, Machine, labels};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

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

/// What came out of a pass.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Nothing could be done.
    Waiting(WaitingOn),
    /// A step was made, and the next one can be made at once.
    Again,
    /// There is boot data.
    Ready {
        /// Name of the Secret.
        secret: String,
        /// When to look after the token.
        check: Option<Duration>,
    },
}

/// Carries out a plan.
///
/// # Guarantees
///
/// Every step can be repeated and can be the last one; the next pass sees what was reached.
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
        Plan::ReleaseLock { uid } => {
            tracing::info!(cluster = cluster.name_any(), "give a lock free whose machine is gone");
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

/// Keeps a token alive and says when to look again.
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

async fn init(
    ctx: &Context,
    config: &KubeadmConfig,
    seen: &Observed,
    machine: &Machine,
    cluster: &Cluster,
    valid: &Valid,
) -> Result<Outcome, Failure> {
    let text = data::init(config, machine, cluster, &seen.inputs.certificates, valid)
        .map_err(|error| invalid(config, &error))?;
    let secret = secret::store(ctx, config, cluster, seen.data_secret.as_ref(), text).await?;
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
        // First written, then used: whatever happens now, the next pass takes the same token.
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
    let text = data::join(config, cluster, certificates, valid, join, control_plane)
        .map_err(|error| invalid(config, &error))?;
    let secret = secret::store(ctx, config, cluster, seen.data_secret.as_ref(), text).await?;
    Ok(Outcome::Ready { secret, check })
}

/// Saves the machine that joins a wait. It boots meanwhile, and nothing depends on this.
async fn announce(ctx: &Context, cluster: &Cluster, token: &Token) {
    let signed = async {
        let client = workload::client(ctx, cluster).await?;
        cluster_info::sign(&client, token).await
    };
    if let Err(error) = signed.await {
        let name = cluster.name_any();
        tracing::debug!(cluster = name, error = chain(&error), "cluster-info is not signed by us");
    }
}

/// Makes certificates of a cluster without a control plane object; the KubeadmConfig owns them, as
/// upstream has it.
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
            // Somebody made it in the meantime; theirs is the one.
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(secret_failure("create", config, &name)(error)),
        }
    }
    Ok(())
}

fn invalid(config: &KubeadmConfig, error: &dyn std::error::Error) -> Failure {
    Failure::Invalid { object: describe(config), problem: chain(error) }
}
