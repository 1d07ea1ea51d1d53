//! Writes the status of one LXCCluster and fills in its endpoint.

pub(crate) mod network;

use std::net::IpAddr;

use capi_api::conditions::{Conditions, Status};
use capn_api::{
    ApiEndpoint, ClusterInitialization, LXCCluster, LXCClusterStatus, LXCMachine, NetworkMode,
    conditions::{self as kinds, reasons},
    keys,
};
use capn_plan::{
    InstanceName,
    balancer::{Plan, WaitingOn},
    diagnosis::Class,
    families::Family,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api,
    runtime::{controller::Action, events::EventType},
};
use serde_json::json;

use super::{
    observe::References,
    ovn,
    servers::ServerInfo,
    validate::{self, ValidCluster, ValidOvnCluster},
};
use crate::{
    context::Context,
    events::{StatusEvent, publish, publish_change},
    failure::Failure,
    patch,
    references::{annotation, name, namespace},
    remote::Certificates,
};

/// Outcome of a reconcile that did not fail.
#[must_use = "an outcome is nothing until it is reported"]
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The load balancer serves at these addresses.
    Serving(Vec<IpAddr>),
    /// There is nothing to do now.
    Waiting(WaitingOn),
    /// Only the user can help. Holds the message.
    Refused(String),
    /// No instance is left.
    Gone,
}

impl Outcome {
    /// Returns the outcome of a plan that needs no step.
    pub(crate) fn of(plan: Plan) -> Self {
        match plan {
            Plan::Serving(addresses) => Self::Serving(addresses),
            Plan::Wait(on) => Self::Waiting(on),
            Plan::Refuse(clash) => Self::Refused(clash.message()),
            Plan::Invalid(message) => Self::Refused(message),
            Plan::Gone => Self::Gone,
            // The caller executes steps until a plan has none.
            Plan::Do(_) => Self::too_many_steps(),
        }
    }

    /// Returns the outcome if the maximum number of steps was reached.
    pub(crate) fn too_many_steps() -> Self {
        Self::Waiting(WaitingOn::Change)
    }
}

/// Reports the outcome for an LXCCluster that is not being deleted.
pub(crate) async fn outcome(
    ctx: &Context,
    cluster: LXCCluster,
    found: &References,
    valid: &ValidCluster,
    outcome: Outcome,
) -> Result<Action, Failure> {
    let balancer = &valid.name;
    match outcome {
        Outcome::Serving(addresses) => serving(ctx, cluster, found, valid, &addresses).await,
        Outcome::Waiting(on) => {
            let condition = (Status::False, on.reason(), on.message(balancer));
            write(ctx, &mut cluster.clone(), |next| next.ready = false, condition).await?;
            Ok(Action::requeue(on.poll(&ctx.options.poll_intervals).unwrap_or(ctx.options.resync)))
        }
        Outcome::Refused(message) => refused(ctx, cluster, message).await,
        Outcome::Gone => Ok(Action::requeue(ctx.options.poll_intervals.change)),
    }
}

async fn refused(
    ctx: &Context,
    mut cluster: LXCCluster,
    message: String,
) -> Result<Action, Failure> {
    let condition = (Status::False, reasons::LOAD_BALANCER_PROVISIONING_ABORTED, message);
    write(ctx, &mut cluster, |next| next.ready = false, condition).await?;
    Ok(Action::requeue(ctx.options.resync))
}

/// Reports the outcome for an LXCCluster with a load balancer of an OVN network.
pub(crate) async fn ovn(
    ctx: &Context,
    cluster: LXCCluster,
    found: &References,
    valid: &ValidOvnCluster,
    outcome: ovn::Outcome,
) -> Result<Action, Failure> {
    match outcome {
        ovn::Outcome::Serving(address) => {
            let host = cluster.spec.endpoint_host().map(str::to_owned);
            let host = host.unwrap_or_else(|| address.to_string());
            provisioned(ctx, cluster, found, &host, valid.port).await?;
            Ok(Action::requeue(ctx.options.resync))
        }
        ovn::Outcome::Refused(message) => refused(ctx, cluster, message).await,
        ovn::Outcome::Gone | ovn::Outcome::Unsettled => {
            Ok(Action::requeue(ctx.options.poll_intervals.change))
        }
    }
}

async fn serving(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    valid: &ValidCluster,
    addresses: &[IpAddr],
) -> Result<Action, Failure> {
    let provisioned = is_provisioned(&cluster);
    let Some(first) = addresses.first() else {
        return outcome_without_address(ctx, cluster, valid).await;
    };
    // Once machines and certificates use the endpoint, it never changes, whatever the address.
    // Before that, the family of the first range decides if the user set ranges, and else the
    // family of the Services.
    let wanted = match valid.ranges.first() {
        Some(range) => Some(range.is_ipv4()),
        None => valid.family.map(|family| family == Family::V4),
    };
    let preferred = addresses.iter().find(|ip| Some(ip.is_ipv4()) == wanted).unwrap_or(first);
    let host = match cluster.spec.endpoint_host() {
        Some(host) => host.to_owned(),
        None => preferred.to_string(),
    };
    cluster = endpoint(ctx, cluster, &host, valid.port).await?;
    let elsewhere = valid.endpoint_ip.is_some_and(|endpoint| !addresses.contains(&endpoint));
    let condition = if elsewhere {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let message = format!(
            "load balancer {} has the address {}, not the endpoint {host}; set the address of its NIC (`incus config device override {} eth0 ipv4.address={host}`) and restart it",
            valid.name,
            list.join(", "),
            valid.name,
        );
        (Status::False, reasons::LOAD_BALANCER_PROVISIONING_FAILED, message)
    } else {
        (Status::True, reasons::LOAD_BALANCER_AVAILABLE, String::new())
    };
    let ready = !elsewhere;
    let event = (ready && !provisioned).then(|| reached(&host, valid.port));
    let change = |next: &mut LXCClusterStatus| {
        next.ready = ready;
        if ready {
            next.initialization = Some(ClusterInitialization { provisioned: Some(true) });
        }
    };
    write(ctx, &mut cluster, change, condition).await?;
    publish_change(ctx, &cluster, event).await;
    mark_configured(ctx, found).await?;
    mark_drained(ctx, found).await?;
    Ok(Action::requeue(ctx.options.resync))
}

async fn outcome_without_address(
    ctx: &Context,
    mut cluster: LXCCluster,
    valid: &ValidCluster,
) -> Result<Action, Failure> {
    let on = WaitingOn::Address(None);
    let condition = (Status::False, on.reason(), on.message(&valid.name));
    write(ctx, &mut cluster, |next| next.ready = false, condition).await?;
    Ok(Action::requeue(on.poll(&ctx.options.poll_intervals).unwrap_or(ctx.options.resync)))
}

/// Records in each control plane that the load balancer forwards to it.
async fn mark_configured(ctx: &Context, found: &References) -> Result<(), Failure> {
    let backends = validate::backends(found);
    for machine in &found.machines {
        let known = backends.contains_key(name(&machine.metadata));
        let status = machine.status.clone().unwrap_or_default();
        if !known || status.load_balancer_configured {
            continue;
        }
        let mut next = status;
        next.load_balancer_configured = true;
        let api: Api<LXCMachine> =
            Api::namespaced(ctx.client.clone(), namespace(&machine.metadata));
        patch::status(&api, machine, machine.status.as_ref(), &next).await?;
    }
    Ok(())
}

/// Marks draining control planes: the load balancer sends no clients to them any longer.
async fn mark_drained(ctx: &Context, found: &References) -> Result<(), Failure> {
    let backends = validate::backends(found);
    for machine in &found.machines {
        let meta = &machine.metadata;
        let is_draining = found.is_draining(machine) && found.is_control_plane(name(meta));
        if !is_draining
            || backends.contains_key(name(meta))
            || annotation(meta, keys::DRAINED_ANNOTATION).is_some()
        {
            continue;
        }
        let api = Api::namespaced(ctx.client.clone(), namespace(meta));
        let change = json!({ "metadata": { "annotations": { keys::DRAINED_ANNOTATION: "true" } } });
        match patch::merge::<LXCMachine>(&api, machine, change).await {
            Ok(_) => {}
            // It was deleted in the meantime.
            Err(failure) if failure.is_kube_not_found() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Reports an LXCCluster for which there is nothing to create.
pub(crate) async fn external(
    ctx: &Context,
    cluster: LXCCluster,
    found: &References,
) -> Result<Action, Failure> {
    let host = cluster.spec.endpoint_host().unwrap_or_default().to_owned();
    let port = cluster.spec.endpoint_port();
    provisioned(ctx, cluster, found, &host, port).await?;
    // Certificates expire and servers change without an event.
    Ok(Action::requeue(ctx.options.resync))
}

/// Reports that the control plane is reachable at an endpoint.
async fn provisioned(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    cluster = endpoint(ctx, cluster, host, port).await?;
    let event = (!is_provisioned(&cluster)).then(|| reached(host, port));
    let condition = (Status::True, reasons::LOAD_BALANCER_AVAILABLE, String::new());
    let change = |next: &mut LXCClusterStatus| {
        next.ready = true;
        next.initialization = Some(ClusterInitialization { provisioned: Some(true) });
    };
    write(ctx, &mut cluster, change, condition).await?;
    publish_change(ctx, &cluster, event).await;
    mark_configured(ctx, found).await
}

/// Returns the event for a reachable endpoint.
fn reached(host: &str, port: u16) -> StatusEvent {
    let note = format!("the control plane is reachable at {host}:{port}");
    StatusEvent::normal(reasons::LOAD_BALANCER_AVAILABLE, note)
}

/// Reports the properties of the server.
pub(crate) async fn server(
    ctx: &Context,
    mut cluster: LXCCluster,
    info: ServerInfo,
) -> Result<LXCCluster, Failure> {
    let mut next = cluster.status.clone().unwrap_or_default();
    let mut event = None;
    if let Some(domains) = info.domains {
        next.failure_domains = domains;
    }
    if let Some((status, reason, message)) = info.health {
        let before = condition(&cluster, kinds::SERVER_HEALTHY);
        if status == Status::False && before.is_none_or(|before| before.message != message) {
            event = Some(StatusEvent::warning(reason, message.clone()));
        }
        let mut conditions = conditions(ctx, &cluster);
        conditions.set(kinds::SERVER_HEALTHY, status, reason, message);
        next.conditions = conditions.finish();
    }
    store(ctx, &mut cluster, &next).await?;
    publish_change(ctx, &cluster, event).await;
    Ok(cluster)
}

/// Reports whether the certificates of the identity are valid. A change is published as one event.
pub(crate) async fn certificates(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &Certificates,
) -> Result<LXCCluster, Failure> {
    let secret = format!("{}/{}", namespace(&cluster.metadata), cluster.spec.secret_ref.name);
    let mut next = cluster.status.clone().unwrap_or_default();
    let mut event = None;
    match found.condition(&secret, ctx.now()) {
        Some((status, reason, message)) => {
            let before = condition(&cluster, kinds::CERTIFICATES_VALID);
            let is_change = before.is_none_or(|before| before.message != message);
            if is_change && !message.is_empty() {
                event = Some(StatusEvent::warning(reason, message.clone()));
            }
            let mut conditions = conditions(ctx, &cluster);
            conditions.set(kinds::CERTIFICATES_VALID, status, reason, message);
            next.conditions = conditions.finish();
        }
        None => next.conditions.retain(|it| it.type_ != kinds::CERTIFICATES_VALID),
    }
    store(ctx, &mut cluster, &next).await?;
    publish_change(ctx, &cluster, event).await;
    Ok(cluster)
}

/// Writes the endpoint if it is incomplete.
async fn endpoint(
    ctx: &Context,
    cluster: LXCCluster,
    host: &str,
    port: u16,
) -> Result<LXCCluster, Failure> {
    let wanted = ApiEndpoint { host: host.to_owned(), port: i32::from(port) };
    if cluster.spec.control_plane_endpoint.as_ref() == Some(&wanted) {
        return Ok(cluster);
    }
    let change = json!({ "metadata": {}, "spec": { "controlPlaneEndpoint": wanted } });
    patch::merge(&api(ctx, &cluster), &cluster, change).await
}

/// Reports that a load balancer is about to be created.
pub(crate) async fn creating(
    ctx: &Context,
    cluster: &mut LXCCluster,
    name: &InstanceName,
    image: &str,
) -> Result<(), Failure> {
    let message = format!("the server is creating load balancer {name} from image {image}");
    let condition = (Status::False, reasons::CREATING_LOAD_BALANCER, message);
    write(ctx, cluster, |next| next.ready = false, condition).await
}

/// Reports a failure and returns the one that decides when to retry.
pub(crate) async fn failed(ctx: &Context, cluster: &LXCCluster, failure: Failure) -> Failure {
    if failure.is_conflict() || matches!(failure, Failure::Stopping) {
        return failure;
    }
    let reason = failure.reason(
        reasons::LOAD_BALANCER_PROVISIONING_FAILED,
        reasons::LOAD_BALANCER_PROVISIONING_ABORTED,
    );
    let message = failure.message();
    let before = condition(cluster, kinds::LOAD_BALANCER_AVAILABLE);
    let event = before
        .is_none_or(|before| before.reason != reason || before.message != message)
        .then(|| StatusEvent::warning(reason, message.clone()));
    let was_ready = cluster.status.as_ref().is_some_and(|status| status.ready);
    let known = was_ready && (failure.is_server_away() || matches!(failure, Failure::Kube { .. }));
    let status = if known { Status::Unknown } else { Status::False };
    let change = |next: &mut LXCClusterStatus| next.ready = known;
    let mut cluster = cluster.clone();
    let reported = write(ctx, &mut cluster, change, (status, reason, message)).await;
    if reported.is_ok() {
        publish_change(ctx, &cluster, event).await;
    }
    failure.after_report(reported)
}

/// Reports that an LXCCluster is paused.
pub(crate) async fn paused(ctx: &Context, cluster: &LXCCluster) -> Result<Action, Failure> {
    let mut next = cluster.status.clone().unwrap_or_default();
    let mut conditions = conditions(ctx, cluster);
    conditions.set(kinds::PAUSED, Status::True, reasons::PAUSED, "");
    next.conditions = conditions.finish();
    patch::status(&api(ctx, cluster), cluster, cluster.status.as_ref(), &next).await?;
    Ok(Action::await_change())
}

/// Reports that the deletion waits for machines.
pub(crate) async fn machines_remain(
    ctx: &Context,
    cluster: &LXCCluster,
    names: &[String],
) -> Result<Action, Failure> {
    let message =
        format!("waiting for {} machines to be deleted: {}", names.len(), names.join(", "));
    deleting(ctx, &mut cluster.clone(), reasons::WAITING_FOR_MACHINES, message).await?;
    // Changes of the machines wake this object, but a deletion may be seen before it is complete.
    Ok(Action::requeue(ctx.options.poll_intervals.remaining))
}

/// Reports that the deletion of the load balancer has started.
pub(crate) async fn deletion_begins(
    ctx: &Context,
    cluster: &mut LXCCluster,
) -> Result<(), Failure> {
    let message = "the load balancer is being stopped and deleted".to_owned();
    deleting(ctx, cluster, reasons::DELETING, message).await
}

/// Reports the outcome for an LXCCluster that is being deleted, and removes its finalizer once its
/// load balancer is gone.
pub(crate) async fn deletion(
    ctx: &Context,
    cluster: &LXCCluster,
    valid: &ValidCluster,
    outcome: Outcome,
) -> Result<Action, Failure> {
    let (message, poll) = match outcome {
        Outcome::Gone => return remove_finalizer_of(ctx, cluster).await,
        Outcome::Waiting(on) => (on.message(&valid.name), on.poll(&ctx.options.poll_intervals)),
        Outcome::Refused(message) => (message, None),
        Outcome::Serving(_) => ("the load balancer is still running".to_owned(), None),
    };
    deleting(ctx, &mut cluster.clone(), reasons::DELETING, message).await?;
    Ok(Action::requeue(poll.unwrap_or(ctx.options.poll_intervals.change)))
}

/// Reports why a deletion is blocked, and returns the failure that decides when to retry.
pub(crate) async fn deletion_failed(
    ctx: &Context,
    cluster: &LXCCluster,
    failure: Failure,
) -> Failure {
    if failure.is_conflict() || matches!(failure, Failure::Stopping) {
        return failure;
    }
    let (reason, message) = match failure.class() {
        Class::Passing if !failure.is_server_away() && !matches!(failure, Failure::NoCluster) => {
            (reasons::DELETING, failure.message())
        }
        _ => (
            reasons::DELETION_BLOCKED,
            format!(
                "{}; to leave the load balancer behind and delete only this object, set the annotation {}=true",
                failure.message(),
                keys::ORPHAN_INSTANCES_ANNOTATION
            ),
        ),
    };
    failure.after_report(deleting(ctx, &mut cluster.clone(), reason, message).await)
}

/// Removes the finalizer of an LXCCluster that has nothing left on the server.
pub(crate) async fn remove_finalizer_of(
    ctx: &Context,
    cluster: &LXCCluster,
) -> Result<Action, Failure> {
    patch::remove_finalizer(&api(ctx, cluster), cluster, keys::CLUSTER_FINALIZER).await?;
    Ok(Action::await_change())
}

/// Removes the finalizer of an LXCCluster and leaves its load balancer behind.
pub(crate) async fn orphaned(
    ctx: &Context,
    cluster: &LXCCluster,
    name: &str,
) -> Result<Action, Failure> {
    tracing::warn!(instance = name, "left a load balancer behind, as requested");
    let own = cluster.spec.network_mode() == NetworkMode::Own;
    let note = match cluster.spec.network_name().filter(|_| own) {
        Some(network) => {
            format!("left load balancer {name} and network {network} behind, as requested")
        }
        None => format!("left load balancer {name} behind, as requested"),
    };
    publish(ctx, cluster, EventType::Warning, "LoadBalancerOrphaned", note).await;
    remove_finalizer_of(ctx, cluster).await
}

async fn deleting(
    ctx: &Context,
    cluster: &mut LXCCluster,
    reason: &'static str,
    message: String,
) -> Result<(), Failure> {
    let mut next = cluster.status.clone().unwrap_or_default();
    next.ready = false;
    let mut conditions = conditions(ctx, cluster);
    conditions
        .set(kinds::DELETING, Status::True, reason, message.clone())
        .set(kinds::READY, Status::False, reason, message)
        .set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
    next.conditions = conditions.finish();
    store(ctx, cluster, &next).await
}

/// Writes the status: `change`, and the condition of the load balancer, which `Ready` follows.
async fn write(
    ctx: &Context,
    cluster: &mut LXCCluster,
    change: impl FnOnce(&mut LXCClusterStatus),
    (status, reason, message): (Status, &'static str, String),
) -> Result<(), Failure> {
    let mut next = cluster.status.clone().unwrap_or_default();
    next.isolation = Some(cluster.spec.effective_isolation());
    change(&mut next);
    let mut conditions = conditions(ctx, cluster);
    let ready = if status == Status::True { reasons::READY } else { reason };
    conditions
        .set(kinds::LOAD_BALANCER_AVAILABLE, status, reason, message.clone())
        .set(kinds::READY, status, ready, message)
        .set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
    next.conditions = conditions.finish();
    store(ctx, cluster, &next).await
}

async fn store(
    ctx: &Context,
    cluster: &mut LXCCluster,
    next: &LXCClusterStatus,
) -> Result<(), Failure> {
    let api = api(ctx, cluster);
    if let Some(written) = patch::status(&api, cluster, cluster.status.as_ref(), next).await? {
        *cluster = written;
    }
    Ok(())
}

/// Returns whether the endpoint has been published, after which it never changes.
pub(crate) fn is_provisioned(cluster: &LXCCluster) -> bool {
    let initialization = cluster.status.as_ref().and_then(|status| status.initialization.as_ref());
    initialization.is_some_and(|initialization| initialization.provisioned == Some(true))
}

fn condition<'a>(cluster: &'a LXCCluster, kind: &str) -> Option<&'a Condition> {
    cluster.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

fn conditions(ctx: &Context, cluster: &LXCCluster) -> Conditions {
    let existing = cluster.status.as_ref().map(|status| &status.conditions);
    Conditions::new(existing, cluster.metadata.generation, ctx.now())
}

fn api(ctx: &Context, cluster: &LXCCluster) -> Api<LXCCluster> {
    Api::namespaced(ctx.client.clone(), namespace(&cluster.metadata))
}

#[cfg(test)]
mod tests;
