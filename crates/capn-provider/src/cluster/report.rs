//! Turns what is known of one LXCCluster into its status, and fills in its endpoint.

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
    servers::Told,
    validate::{self, OvnSubject, Subject},
};
use crate::{
    context::Context,
    failure::Failure,
    notice::{News, tell, tell_news},
    patch,
    references::{annotation, name, namespace},
    remote::Certificates,
};

/// What became of a reconcile that did not fail.
#[must_use = "an outcome is nothing until it is reported"]
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The load balancer serves at these addresses.
    Serving(Vec<IpAddr>),
    /// Nothing to do now.
    Waiting(WaitingOn),
    /// Only the user can help.
    Refused(String),
    /// There is no instance left.
    Gone,
}

impl Outcome {
    /// What a plan that needs no step means.
    pub(crate) fn of(plan: Plan) -> Self {
        match plan {
            Plan::Serving(addresses) => Self::Serving(addresses),
            Plan::Wait(on) => Self::Waiting(on),
            Plan::Refuse(clash) => Self::Refused(clash.message()),
            Plan::Invalid(message) => Self::Refused(message),
            Plan::Gone => Self::Gone,
            // The caller takes steps until a plan has none.
            Plan::Do(_) => Self::unsettled(),
        }
    }

    /// Step after step was taken, and still there is one to take.
    pub(crate) fn unsettled() -> Self {
        Self::Waiting(WaitingOn::Change)
    }
}

/// Reports the outcome for an LXCCluster that is kept.
pub(crate) async fn outcome(
    ctx: &Context,
    cluster: LXCCluster,
    found: &References,
    subject: &Subject,
    outcome: Outcome,
) -> Result<Action, Failure> {
    let balancer = &subject.name;
    match outcome {
        Outcome::Serving(addresses) => serving(ctx, cluster, found, subject, &addresses).await,
        Outcome::Waiting(on) => {
            let verdict = (Status::False, on.reason(), on.message(balancer));
            write(ctx, &mut cluster.clone(), |next| next.ready = false, verdict).await?;
            Ok(Action::requeue(on.recheck(&ctx.options.rechecks).unwrap_or(ctx.options.resync)))
        }
        Outcome::Refused(message) => refused(ctx, cluster, message).await,
        Outcome::Gone => Ok(Action::requeue(ctx.options.rechecks.change)),
    }
}

async fn refused(
    ctx: &Context,
    mut cluster: LXCCluster,
    message: String,
) -> Result<Action, Failure> {
    let verdict = (Status::False, reasons::LOAD_BALANCER_PROVISIONING_ABORTED, message);
    write(ctx, &mut cluster, |next| next.ready = false, verdict).await?;
    Ok(Action::requeue(ctx.options.resync))
}

/// Reports the outcome for an LXCCluster whose load balancer is an OVN network's.
pub(crate) async fn ovn(
    ctx: &Context,
    cluster: LXCCluster,
    found: &References,
    subject: &OvnSubject,
    outcome: ovn::Outcome,
) -> Result<Action, Failure> {
    match outcome {
        ovn::Outcome::Serving(address) => {
            let host = cluster.spec.endpoint_host().map(str::to_owned);
            let host = host.unwrap_or_else(|| address.to_string());
            provisioned(ctx, cluster, found, &host, subject.port).await?;
            Ok(Action::requeue(ctx.options.resync))
        }
        ovn::Outcome::Refused(message) => refused(ctx, cluster, message).await,
        ovn::Outcome::Gone | ovn::Outcome::Unsettled => {
            Ok(Action::requeue(ctx.options.rechecks.change))
        }
    }
}

async fn serving(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    subject: &Subject,
    addresses: &[IpAddr],
) -> Result<Action, Failure> {
    let provisioned = is_provisioned(&cluster);
    let Some(first) = addresses.first() else {
        return outcome_without_address(ctx, cluster, subject).await;
    };
    // Once machines and certificates know the endpoint it stays, whatever the address. Before
    // that, the family of the first range is the user's choice, and else it is the Services'.
    let wanted = match subject.ranges.first() {
        Some(range) => Some(range.is_ipv4()),
        None => subject.family.map(|family| family == Family::V4),
    };
    let preferred = addresses.iter().find(|ip| Some(ip.is_ipv4()) == wanted).unwrap_or(first);
    let host = match cluster.spec.endpoint_host() {
        Some(host) => host.to_owned(),
        None => preferred.to_string(),
    };
    cluster = endpoint(ctx, cluster, &host, subject.port).await?;
    let elsewhere = subject.endpoint_ip.is_some_and(|endpoint| !addresses.contains(&endpoint));
    let verdict = if elsewhere {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let message = format!(
            "load balancer {} is at {} and not at the endpoint {host}; give its network card that address (`incus config device override {} eth0 ipv4.address={host}`) and restart it",
            subject.name,
            list.join(", "),
            subject.name,
        );
        (Status::False, reasons::LOAD_BALANCER_PROVISIONING_FAILED, message)
    } else {
        (Status::True, reasons::LOAD_BALANCER_AVAILABLE, String::new())
    };
    let ready = !elsewhere;
    let news = (ready && !provisioned).then(|| reached(&host, subject.port));
    let change = |next: &mut LXCClusterStatus| {
        next.ready = ready;
        if ready {
            next.initialization = Some(ClusterInitialization { provisioned: Some(true) });
        }
    };
    write(ctx, &mut cluster, change, verdict).await?;
    tell_news(ctx, &cluster, news).await;
    tell_machines(ctx, found).await?;
    let_leave(ctx, found).await?;
    Ok(Action::requeue(ctx.options.resync))
}

async fn outcome_without_address(
    ctx: &Context,
    mut cluster: LXCCluster,
    subject: &Subject,
) -> Result<Action, Failure> {
    let on = WaitingOn::Address(None);
    let verdict = (Status::False, on.reason(), on.message(&subject.name));
    write(ctx, &mut cluster, |next| next.ready = false, verdict).await?;
    Ok(Action::requeue(on.recheck(&ctx.options.rechecks).unwrap_or(ctx.options.resync)))
}

/// Notes in each control plane that the load balancer forwards to it.
async fn tell_machines(ctx: &Context, found: &References) -> Result<(), Failure> {
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

/// Lets control planes go that leave: no client is sent to them any more.
async fn let_leave(ctx: &Context, found: &References) -> Result<(), Failure> {
    let backends = validate::backends(found);
    for machine in &found.machines {
        let meta = &machine.metadata;
        let leaves = found.leaves(machine) && found.is_control_plane(name(meta));
        if !leaves
            || backends.contains_key(name(meta))
            || annotation(meta, keys::DRAINED_ANNOTATION).is_some()
        {
            continue;
        }
        let api = Api::namespaced(ctx.client.clone(), namespace(meta));
        let change = json!({ "metadata": { "annotations": { keys::DRAINED_ANNOTATION: "true" } } });
        match patch::merge::<LXCMachine>(&api, machine, change).await {
            Ok(_) => {}
            // It went without.
            Err(failure) if failure.is_kube_not_found() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Reports an LXCCluster for which there is nothing to make.
pub(crate) async fn external(
    ctx: &Context,
    cluster: LXCCluster,
    found: &References,
) -> Result<Action, Failure> {
    let host = cluster.spec.endpoint_host().unwrap_or_default().to_owned();
    let port = cluster.spec.endpoint_port();
    provisioned(ctx, cluster, found, &host, port).await?;
    // Certificates end, and servers change, without an event.
    Ok(Action::requeue(ctx.options.resync))
}

/// Reports that the control plane is reached at an endpoint.
async fn provisioned(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &References,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    cluster = endpoint(ctx, cluster, host, port).await?;
    let news = (!is_provisioned(&cluster)).then(|| reached(host, port));
    let verdict = (Status::True, reasons::LOAD_BALANCER_AVAILABLE, String::new());
    let change = |next: &mut LXCClusterStatus| {
        next.ready = true;
        next.initialization = Some(ClusterInitialization { provisioned: Some(true) });
    };
    write(ctx, &mut cluster, change, verdict).await?;
    tell_news(ctx, &cluster, news).await;
    tell_machines(ctx, found).await
}

/// That the cluster has its endpoint.
fn reached(host: &str, port: u16) -> News {
    let note = format!("the control plane is reached at {host}:{port}");
    News::normal(reasons::LOAD_BALANCER_AVAILABLE, note)
}

/// Shows what the server tells of itself.
pub(crate) async fn server(
    ctx: &Context,
    mut cluster: LXCCluster,
    told: Told,
) -> Result<LXCCluster, Failure> {
    let mut next = cluster.status.clone().unwrap_or_default();
    let mut news = None;
    if let Some(domains) = told.domains {
        next.failure_domains = domains;
    }
    if let Some((status, reason, message)) = told.health {
        let before = condition(&cluster, kinds::SERVER_HEALTHY);
        if status == Status::False && before.is_none_or(|before| before.message != message) {
            news = Some(News::warning(reason, message.clone()));
        }
        let mut conditions = conditions(ctx, &cluster);
        conditions.set(kinds::SERVER_HEALTHY, status, reason, message);
        next.conditions = conditions.finish();
    }
    store(ctx, &mut cluster, &next).await?;
    tell_news(ctx, &cluster, news).await;
    Ok(cluster)
}

/// Shows whether the certificates of the identity hold. What becomes of one is an event, once.
pub(crate) async fn certificates(
    ctx: &Context,
    mut cluster: LXCCluster,
    found: &Certificates,
) -> Result<LXCCluster, Failure> {
    let secret = format!("{}/{}", namespace(&cluster.metadata), cluster.spec.secret_ref.name);
    let mut next = cluster.status.clone().unwrap_or_default();
    let mut news = None;
    match found.verdict(&secret, ctx.now()) {
        Some((status, reason, message)) => {
            let before = condition(&cluster, kinds::CERTIFICATES_VALID);
            let is_news = before.is_none_or(|before| before.message != message);
            if is_news && !message.is_empty() {
                news = Some(News::warning(reason, message.clone()));
            }
            let mut conditions = conditions(ctx, &cluster);
            conditions.set(kinds::CERTIFICATES_VALID, status, reason, message);
            next.conditions = conditions.finish();
        }
        None => next.conditions.retain(|it| it.type_ != kinds::CERTIFICATES_VALID),
    }
    store(ctx, &mut cluster, &next).await?;
    tell_news(ctx, &cluster, news).await;
    Ok(cluster)
}

/// Writes the endpoint if it is not complete.
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

/// Reports that a load balancer is about to be made.
pub(crate) async fn creating(
    ctx: &Context,
    cluster: &mut LXCCluster,
    name: &InstanceName,
    image: &str,
) -> Result<(), Failure> {
    let message = format!("the server makes load balancer {name} from image {image}");
    let verdict = (Status::False, reasons::CREATING_LOAD_BALANCER, message);
    write(ctx, cluster, |next| next.ready = false, verdict).await
}

/// Reports a failure, and gives it back to be retried.
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
    let news = before
        .is_none_or(|before| before.reason != reason || before.message != message)
        .then(|| News::warning(reason, message.clone()));
    let was_ready = cluster.status.as_ref().is_some_and(|status| status.ready);
    let known = was_ready && (failure.is_server_away() || matches!(failure, Failure::Kube { .. }));
    let status = if known { Status::Unknown } else { Status::False };
    let change = |next: &mut LXCClusterStatus| next.ready = known;
    let mut cluster = cluster.clone();
    match write(ctx, &mut cluster, change, (status, reason, message)).await {
        Ok(()) => tell_news(ctx, &cluster, news).await,
        Err(error) => tracing::debug!(error = error.message(), "cannot report a failure"),
    }
    failure
}

/// Reports that nothing is done about an LXCCluster.
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
    let message = format!("waiting for {} machines to go: {}", names.len(), names.join(", "));
    deleting(ctx, &mut cluster.clone(), reasons::WAITING_FOR_MACHINES, message).await?;
    // The machines' own changes wake this object; their end may be seen before it is true.
    Ok(Action::requeue(ctx.options.rechecks.remaining))
}

/// Reports that the deletion of the load balancer has begun.
pub(crate) async fn deletion_begins(
    ctx: &Context,
    cluster: &mut LXCCluster,
) -> Result<(), Failure> {
    let message = "the load balancer is being stopped and deleted".to_owned();
    deleting(ctx, cluster, reasons::DELETING, message).await
}

/// Reports the outcome for an LXCCluster that is being deleted, and lets it go when its load
/// balancer is gone.
pub(crate) async fn deletion(
    ctx: &Context,
    cluster: &LXCCluster,
    subject: &Subject,
    outcome: Outcome,
) -> Result<Action, Failure> {
    let (message, recheck) = match outcome {
        Outcome::Gone => return let_go(ctx, cluster).await,
        Outcome::Waiting(on) => (on.message(&subject.name), on.recheck(&ctx.options.rechecks)),
        Outcome::Refused(message) => (message, None),
        Outcome::Serving(_) => ("the load balancer still runs".to_owned(), None),
    };
    deleting(ctx, &mut cluster.clone(), reasons::DELETING, message).await?;
    Ok(Action::requeue(recheck.unwrap_or(ctx.options.rechecks.change)))
}

/// Reports why a deletion does not go on, and gives the failure back to be retried.
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
                "{}; to give up the load balancer and delete only this object, set the annotation {}=true",
                failure.message(),
                keys::ORPHAN_INSTANCES_ANNOTATION
            ),
        ),
    };
    if let Err(error) = deleting(ctx, &mut cluster.clone(), reason, message).await {
        tracing::debug!(error = error.message(), "cannot report a failure");
    }
    failure
}

/// Lets an LXCCluster go that has nothing left on the server.
pub(crate) async fn let_go(ctx: &Context, cluster: &LXCCluster) -> Result<Action, Failure> {
    patch::remove_finalizer(&api(ctx, cluster), cluster, keys::CLUSTER_FINALIZER).await?;
    Ok(Action::await_change())
}

/// Lets an LXCCluster go without looking at its load balancer.
pub(crate) async fn orphaned(
    ctx: &Context,
    cluster: &LXCCluster,
    name: &str,
) -> Result<Action, Failure> {
    tracing::warn!(instance = name, "left a load balancer behind, as asked");
    let own = cluster.spec.network_mode() == NetworkMode::Own;
    let note = match cluster.spec.network_name().filter(|_| own) {
        Some(network) => {
            format!("left load balancer {name} and network {network} behind, as asked")
        }
        None => format!("left load balancer {name} behind, as asked"),
    };
    tell(ctx, cluster, EventType::Warning, "LoadBalancerOrphaned", note).await;
    let_go(ctx, cluster).await
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

/// Writes the status: `change`, and the verdict about the load balancer, which `Ready` follows.
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

/// Whether the endpoint was told of once, after which it stays.
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
