//! Proof, once a cluster, that applications can run: a Service and DNS are answered from each node.
//!
//! That nodes are Ready and pods Running says nothing of it: Services are rules that kube-proxy
//! writes into each node, and it runs on when it cannot. The cluster's own DNS is the Service that
//! is asked, since it has two endpoints in a cluster of kubeadm.

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

/// Domain of Services, as the manifests of this command have it.
const DOMAIN: &str = "cluster.local";
/// How long a node may take to be answered once kube-proxy runs on it and DNS has its endpoints.
const PATIENCE: Duration = Duration::from_secs(45);
/// Pause between two looks at a node that is not answered.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause between two looks at why a node is not answered: they take longer than asking it again.
const LOOK: Duration = Duration::from_secs(10);
/// How long the program in a node may take: all questions are asked at once.
const PROGRAM: Duration = Duration::from_secs(15);
/// How many nodes are asked at once.
const AT_ONCE: usize = 8;

/// Whether it has yet to be proven. A cluster without a network of ours has no pods to answer.
pub(super) fn are_due(request: &ClusterRequest, existing: Option<&Existing>) -> bool {
    request.bootstrap == Bootstrap::Kubeadm
        && request.cni != Cni::None
        && !existing.is_some_and(|existing| existing.services_answered)
}

/// The cluster that is looked at.
pub(super) struct Subject<'a> {
    pub(super) request: &'a ClusterRequest,
    pub(super) view: &'a View,
    /// Its own API.
    pub(super) workload: Client,
    /// The server that its nodes are on.
    pub(super) server: Server,
    /// How a command is run in a node, up to the node's name.
    pub(super) exec: Option<&'a str>,
}

/// Proves it, and records that in the plane. Nothing is recorded where no node could be asked.
///
/// # Errors
///
/// When a node is not answered, with the cause as far as it is seen. The next time it is proven
/// anew.
pub(super) async fn prove(
    ui: &Ui,
    plane: &Client,
    subject: &Subject<'_>,
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
    let found: Vec<Asked> = futures::stream::iter(asking).buffered(AT_ONCE).collect().await;
    let mut mute = Vec::new();
    let mut answered = 0;
    for asked in found {
        match asked {
            Asked::Answered => answered += 1,
            Asked::Cannot(why) => mute.push(why),
            Asked::Problem(error) => {
                step.failed("Services and DNS");
                return Err(error);
            }
        }
    }
    if answered == 0 {
        step.done("Services were not proven: no node could be asked");
    } else {
        record(plane, subject.request).await?;
        let from = if answered == 1 { "1 node".to_owned() } else { format!("{answered} nodes") };
        step.done(match &probe.dns {
            Some((_, name)) => format!("Services answer from {from}, and so does DNS ({name})"),
            None => format!("the Service `kubernetes` answers from {from}"),
        });
    }
    if probe.dns.is_none() {
        ui.note("the cluster has no Service kube-system/kube-dns: DNS was not asked");
    }
    for why in mute {
        ui.note(why);
    }
    Ok(())
}

/// What nodes are asked. Waits until DNS has the endpoints it is to have.
async fn probe(subject: &Subject<'_>, deadline: Deadline) -> Result<Probe, CommandError> {
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

/// What came of asking one node.
enum Asked {
    Answered,
    /// It does not let itself be asked; why.
    Cannot(String),
    Problem(CommandError),
}

/// Asks a node until it is answered, or has had its time.
async fn ask(subject: &Subject<'_>, probe: &Probe, node: &str, deadline: Deadline) -> Asked {
    let given = PATIENCE * subject.request.timeouts.factor();
    let mut patience = Instant::now() + given;
    let mut looked = Instant::now();
    loop {
        let request = ExecRequest { deadline: PROGRAM, ..ExecRequest::new(probe.command()) };
        let problem = match subject.server.exec(node, request).await {
            Ok(out) if matches!(out.exit_code, 126 | 127) => {
                return Asked::Cannot(format!(
                    "Services were not proven from node `{node}`: it lacks bash, timeout or base64"
                ));
            }
            Ok(out) => probe.problem(node, &out.stdout_text()).map(CommandError::new),
            Err(error) if error.is_transient() => {
                Some(CommandError::caused(format!("cannot ask node `{node}`"), error))
            }
            Err(error) => {
                return Asked::Cannot(format!(
                    "Services were not proven from node `{node}`, which cannot be asked: {error}"
                ));
            }
        };
        let Some(problem) = problem else { return Asked::Answered };
        let now = Instant::now();
        if now - looked >= LOOK || now >= patience.min(deadline.at()) {
            let proxy = cause::proxy(&subject.workload, node).await;
            looked = Instant::now();
            if proxy.is_starting {
                patience = looked + given;
            }
            if looked >= patience.min(deadline.at()) {
                return Asked::Problem(explained(problem, proxy, subject, node));
            }
        }
        tracing::debug!(node, %problem, "a node is not answered yet");
        tokio::time::sleep(PAUSE).await;
    }
}

fn explained(
    problem: CommandError,
    proxy: cause::Proxy,
    subject: &Subject<'_>,
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
    error.hint("once it is put right, the same command proves it again")
}

/// Records in the plane that the proof was given.
async fn record(plane: &Client, request: &ClusterRequest) -> Result<(), CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(plane.clone(), &request.namespace);
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = json!({ "metadata": { "annotations": { SERVICES_ANNOTATION: at } } });
    clusters
        .patch(&request.name, &PatchParams::default(), &Patch::Merge(&change))
        .await
        .doing(format!("cannot record that Services answer in cluster `{}`", request.name))?;
    Ok(())
}
