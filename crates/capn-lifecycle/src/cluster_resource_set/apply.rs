//! Executes the plan of a set. Nothing else except `report` writes.

use capi_api::addons::{ResourceBinding, ResourceKind, ResourceRef};
use capi_api::{Cluster, ClusterResourceSet};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::sync::Semaphore;

use super::binding;
use super::manifest::{Manifest, Values, hash, parse};
use super::observe::{self, Observed, Resource};
use super::plan::{ClusterPlan, OwnerUpdate, Plan};
use super::send::Session;
use crate::Context;
use crate::drive::Retry as _;
use crate::error::{Failure, chain, is_not_found};
use crate::workload;

/// Number of clusters to which one resource is applied concurrently.
const CLUSTERS_AT_ONCE: usize = 8;
/// Number of resources that are parsed concurrently, over all namespaces. Parsing a large one takes
/// time and memory.
static READERS: Semaphore = Semaphore::const_new(2);

/// Result of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Resources that cannot be parsed, with the reason. Only a change of the resource helps.
    pub(super) unreadable: Vec<(ResourceRef, String)>,
    /// Clusters with missing objects, with the reason. They are retried.
    pub(super) failed: Vec<(String, String)>,
}

/// A cluster to which resources are applied.
struct Work<'a> {
    plan: &'a ClusterPlan,
    session: Session,
    results: Vec<ResourceBinding>,
    failed: Vec<String>,
}

/// Executes a plan: one resource after the other, each in all clusters that lack it.
///
/// # Guarantees
///
/// Everything can be repeated; resources whose result was not recorded are applied again. A cluster
/// that rejects objects or does not respond delays the others at most for the response timeouts,
/// and an invalid resource does not block other resources.
pub(super) async fn apply(
    ctx: &Context,
    set: &ClusterResourceSet,
    observed: &Observed,
    plan: &Plan,
) -> Result<Outcome, Failure> {
    for own in &plan.own {
        self::own(ctx, set, own).await?;
    }
    let mut outcome = Outcome::default();
    let mut work = Vec::new();
    for plan in plan.clusters.iter().filter(|plan| plan.waits.is_none()) {
        // If results cannot be recorded, everything would be applied again and again.
        let ready = match binding::note(ctx, set, &plan.cluster, &[]).await {
            Ok(()) => session(ctx, observed, plan).await,
            Err(error) => Err(shown(&error)),
        };
        match ready {
            Ok(session) => {
                work.push(Work { plan, session, results: Vec::new(), failed: Vec::new() });
            }
            Err(why) => outcome.failed.push((plan.cluster.clone(), why)),
        }
    }
    for (resource, _) in &observed.resources {
        if work.iter().any(|work| work.plan.apply.contains(resource))
            && let Err(why) = one(ctx, set, resource, &mut work).await?
        {
            outcome.unreadable.push((resource.clone(), why));
        }
    }
    for work in work {
        // Results after a failure are still recorded, because the objects have been applied.
        if let Err(error) = binding::note(ctx, set, &work.plan.cluster, &work.results).await {
            outcome.failed.push((work.plan.cluster.clone(), shown(&error)));
        }
        let failed = work.failed.into_iter();
        outcome.failed.extend(failed.map(|why| (work.plan.cluster.clone(), why)));
    }
    Ok(outcome)
}

fn shown(error: &Failure) -> String {
    error.over_quota().unwrap_or_else(|| chain(error))
}

async fn session(
    ctx: &Context,
    observed: &Observed,
    plan: &ClusterPlan,
) -> Result<Session, String> {
    let found = observed.clusters.iter().find(|target| target.cluster.name_any() == plan.cluster);
    let cluster: &Cluster = &found.ok_or("it is gone")?.cluster;
    let client = workload::client(ctx, cluster).await.map_err(|error| chain(&error))?;
    Ok(Session::new(client))
}

/// Applies one resource to all clusters that lack it, or returns why it cannot be parsed.
async fn one(
    ctx: &Context,
    set: &ClusterResourceSet,
    resource: &ResourceRef,
    work: &mut [Work<'_>],
) -> Result<Result<(), String>, Failure> {
    let Resource::There { values, .. } = observe::resource(ctx, set, resource).await? else {
        // Deleted since it was read, which triggers another reconcile.
        return Ok(Ok(()));
    };
    let hash = hash(&values);
    let read = read(values).await;
    let now = Time(ctx.now());
    let result = |applied| ResourceBinding {
        name: resource.name.clone(),
        kind: resource.kind,
        hash: Some(hash.clone()),
        last_applied_time: Some(now.clone()),
        applied,
    };
    let lacking = work
        .iter_mut()
        .filter(|work| work.plan.apply.contains(resource) && work.session.lost.is_none());
    let manifests = match read {
        Ok(manifests) => manifests,
        Err(why) => {
            lacking.for_each(|work| work.results.push(result(false)));
            return Ok(Err(why));
        }
    };
    let strategy = set.spec.strategy.unwrap_or_default();
    let is_secret = resource.kind == ResourceKind::Secret;
    futures::stream::iter(lacking)
        .for_each_concurrent(CLUSTERS_AT_ONCE, |work| {
            let (manifests, result, stop) = (&manifests, &result, &ctx.stop);
            async move {
                let done = work.session.apply(strategy, manifests, is_secret, stop).await;
                work.results.push(result(done.is_ok()));
                if let Err(why) = done {
                    work.failed.push(format!("{resource}: {why}"));
                }
            }
        })
        .await;
    Ok(Ok(()))
}

/// Parses manifests on a separate thread.
async fn read(values: Values) -> Result<Vec<Manifest>, String> {
    let place = READERS.acquire().await;
    let reading = tokio::task::spawn_blocking(move || parse(&values)).await;
    drop(place);
    match reading {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => {
            Err("capn panicked while it parsed this resource; please report this bug".to_owned())
        }
    }
}

/// Adds a set as an owner of a resource, so that `clusterctl move` moves both.
async fn own(ctx: &Context, set: &ClusterResourceSet, own: &OwnerUpdate) -> Result<(), Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let name = &own.resource.name;
    let change = Patch::Merge(json!({ "metadata": {
        "ownerReferences": own.owners, "resourceVersion": own.version,
    } }));
    let params = PatchParams::default();
    let done = match own.resource.kind {
        ResourceKind::Secret => {
            let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &namespace);
            api.patch_metadata(name, &params, &change).await.map(drop)
        }
        ResourceKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &namespace);
            api.patch_metadata(name, &params, &change).await.map(drop)
        }
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => {
            let kind = own.resource.kind.as_str();
            Err(Failure::api_named("patch", kind, &namespace, name)(error))
        }
    }
}
