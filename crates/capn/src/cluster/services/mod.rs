//! One-time check of a cluster that applications can run: a Service and DNS respond from each node.
//!
//! Ready nodes and Running pods do not prove this: Services are rules that kube-proxy writes on
//! each node, and kube-proxy keeps running if that fails. The check uses the cluster's DNS Service,
//! which has two endpoints in a kubeadm cluster.

mod cause;
mod dns;
mod probe;
mod wait;

use std::net::IpAddr;
use std::time::Duration;

use capi_api::Cluster;
use futures::StreamExt as _;
use incus_client::{Client as Server, ExecRequest};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use super::Existing;
use crate::error::{CommandError, Doing as _};
use crate::manifest::{Bootstrap, ClusterRequest, Cni, SERVICES_ANNOTATION};
use crate::ui::Ui;
use crate::watch::{Deadline, View};
use probe::{Probe, Target};

/// Cluster domain in capn's manifests.
const DOMAIN: &str = "cluster.local";
/// Time limit for a response once kube-proxy runs on the node and DNS has endpoints.
const PATIENCE: Duration = Duration::from_secs(45);
/// Pause between two probes of a node.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause between two diagnoses of a node, which are slower than probes.
const LOOK: Duration = Duration::from_secs(10);
/// Time limit of the probe program in a node. It sends all queries in parallel.
const PROGRAM: Duration = Duration::from_secs(15);
/// Number of nodes probed concurrently.
const AT_ONCE: usize = 8;

/// Returns whether the check is still due. Clusters without capn's pod network are not checked.
pub(super) fn are_due(request: &ClusterRequest, existing: Option<&Existing>) -> bool {
    request.bootstrap == Bootstrap::Kubeadm
        && request.cni != Cni::None
        && !existing.is_some_and(|existing| existing.services_answered)
}

/// The cluster under check.
pub(super) struct ServiceCheck<'a> {
    pub(super) request: &'a ClusterRequest,
    pub(super) view: &'a View,
    /// Client of the workload cluster.
    pub(super) workload: Client,
    /// Client of the server that runs its nodes.
    pub(super) server: Server,
    /// Command that runs something in a node, without the node's name.
    pub(super) exec: Option<&'a str>,
}

/// Runs the check, and records success in the plane. Records nothing if no node could be probed.
///
/// # Errors
///
/// Returns an error if a node gets no response, with the cause as far as known. The next command
/// checks again.
pub(super) async fn check(
    ui: &Ui,
    plane: &Client,
    subject: &ServiceCheck<'_>,
    deadline: Deadline,
) -> Result<(), CommandError> {
    let step = ui.step("Services and DNS");
    let probe = probe(subject, deadline).await?;
    let nodes: Vec<String> = subject
        .view
        .machines
        .iter()
        .map(|machine| machine.spec.infrastructure_ref.name.clone())
        .collect();
    let asking = nodes.iter().map(|node| ask(subject, &probe, node, deadline));
    let found: Vec<ProbeOutcome> = futures::stream::iter(asking).buffered(AT_ONCE).collect().await;
    let mut mute = Vec::new();
    let mut answered = 0;
    for asked in found {
        match asked {
            ProbeOutcome::Answered => answered += 1,
            ProbeOutcome::Cannot(why) => mute.push(why),
            ProbeOutcome::Problem(error) => {
                step.failed("Services and DNS");
                return Err(error);
            }
        }
    }
    if answered == 0 {
        step.done("Services were not checked: no node could be probed");
    } else {
        record(plane, subject.request).await?;
        let from = if answered == 1 { "1 node".to_owned() } else { format!("{answered} nodes") };
        step.done(match &probe.dns {
            Some((_, name)) => format!("Services and DNS ({name}) respond from {from}"),
            None => format!("Service `kubernetes` responds from {from}"),
        });
    }
    if probe.dns.is_none() {
        ui.note("the cluster has no Service kube-system/kube-dns, so DNS was not checked");
    }
    for why in mute {
        ui.note(why);
    }
    Ok(())
}

/// Determines what nodes probe. Waits until DNS has its endpoints.
async fn probe(subject: &ServiceCheck<'_>, deadline: Deadline) -> Result<Probe, CommandError> {
    let doing = "cannot read the cluster's Services";
    let services = |namespace| Api::<Service>::namespaced(subject.workload.clone(), namespace);
    let api = services("default").get("kubernetes").await.doing(doing)?;
    let api = target("kubernetes", &api)
        .ok_or_else(|| CommandError::new("the Service default/kubernetes has no cluster IP"))?;
    let dns = services("kube-system").get_opt("kube-dns").await.doing(doing)?;
    let dns = dns.as_ref().and_then(|service| target("kube-dns", service));
    if dns.is_some() {
        wait::endpoints(&subject.workload, deadline, subject.request).await?;
    }
    let name = format!("kubernetes.default.svc.{DOMAIN}");
    Ok(Probe { api, dns: dns.map(|dns| (dns, name)) })
}

fn target(name: &'static str, service: &Service) -> Option<Target> {
    let spec = service.spec.as_ref()?;
    let ip: IpAddr = spec.cluster_ip.as_deref()?.parse().ok()?;
    let port = spec.ports.as_ref()?.first()?.port;
    Some(Target { name, ip, port: u16::try_from(port).ok()? })
}

/// Result of probing one node.
enum ProbeOutcome {
    Answered,
    /// The node cannot be probed, and why.
    Cannot(String),
    Problem(CommandError),
}

/// Probes a node until it gets a response or the time limit passes.
async fn ask(
    subject: &ServiceCheck<'_>,
    probe: &Probe,
    node: &str,
    deadline: Deadline,
) -> ProbeOutcome {
    let given = PATIENCE * subject.request.timeouts.factor();
    let mut patience = Instant::now() + given;
    let mut looked = Instant::now();
    loop {
        let request = ExecRequest { deadline: PROGRAM, ..ExecRequest::new(probe.command()) };
        let problem = match subject.server.exec(node, request).await {
            Ok(out) if matches!(out.exit_code, 126 | 127) => {
                return ProbeOutcome::Cannot(format!(
                    "Services were not checked from node `{node}`, which lacks bash, timeout or base64"
                ));
            }
            Ok(out) => probe.problem(node, &out.stdout_text()).map(CommandError::new),
            Err(error) if error.is_transient() => {
                Some(CommandError::caused(format!("cannot probe node `{node}`"), error))
            }
            Err(error) => {
                return ProbeOutcome::Cannot(format!(
                    "Services were not checked from node `{node}`: {error}"
                ));
            }
        };
        let Some(problem) = problem else { return ProbeOutcome::Answered };
        let now = Instant::now();
        if now - looked >= LOOK || now >= patience.min(deadline.at()) {
            let proxy = cause::proxy(&subject.workload, node).await;
            looked = Instant::now();
            if proxy.is_starting {
                patience = looked + given;
            }
            if looked >= patience.min(deadline.at()) {
                return ProbeOutcome::Problem(explained(problem, proxy, subject, node));
            }
        }
        tracing::debug!(node, %problem, "a node gets no response yet");
        tokio::time::sleep(PAUSE).await;
    }
}

fn explained(
    problem: CommandError,
    proxy: cause::Proxy,
    subject: &ServiceCheck<'_>,
    node: &str,
) -> CommandError {
    let mut error = match proxy.says {
        Some(says) => CommandError::caused(problem.to_string(), says),
        None => problem,
    };
    if let Some(pod) = proxy.pod {
        error = error.hint(match subject.exec {
            Some(exec) => format!(
                "see `{exec} {node} -- sh -c 'crictl logs $(crictl ps -q --name kube-proxy)'`, or `kubectl -n kube-system logs {pod}`"
            ),
            None => format!("see `kubectl -n kube-system logs {pod}`"),
        });
    }
    error.hint("after fixing it, run the same command to check again")
}

/// Records in the plane that the check succeeded.
async fn record(plane: &Client, request: &ClusterRequest) -> Result<(), CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(plane.clone(), &request.namespace);
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = json!({ "metadata": { "annotations": { SERVICES_ANNOTATION: at } } });
    clusters
        .patch(&request.name, &PatchParams::default(), &Patch::Merge(&change))
        .await
        .doing(format!("cannot record the Service check of cluster `{}`", request.name))?;
    Ok(())
}
