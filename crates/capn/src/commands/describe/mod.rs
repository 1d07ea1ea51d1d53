//! `capn describe cluster`

mod prune;
mod stopped;

use capi_api::{conditions as core, labels};
use capn_text::display;
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use serde::Serialize;

use self::prune::Line;
use super::{NamespaceArg, freshness};
use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::output::{self, Format, OutputArgs};
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::{Tone, indented, readable};
use crate::watch::{self, View, complaint};

/// Options of `describe cluster`.
#[derive(Clone, Debug, Args)]
pub struct DescribeArgs {
    /// Name of the cluster
    pub name: String,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Show all conditions. By default, only unmet conditions that no other line explains are shown
    #[arg(long)]
    pub all_conditions: bool,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An object in the tree.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    kind: &'static str,
    name: String,
    /// Short summary of the object's state.
    summary: String,
    /// `True`, `False` or `Unknown`.
    ready: String,
    conditions: Vec<ConditionOutput>,
    /// Expiry of a control plane machine's certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificates_expiry_date: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ConditionOutput {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

pub(super) async fn run(context: &Context, args: DescribeArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let written = freshness::LastWrite::of(&state);
    let session = Session::open(&state, Need::Objects).await?;
    let namespace = args.namespace.namespace.as_str();
    let read = async {
        cluster::is_there(session.client(), namespace, &args.name).await?;
        Ok(watch::read(session.client(), namespace, &args.name).await)
    };
    let view: Result<View, CommandError> = read.await;
    if matches!(args.output.format(), Format::Table | Format::Wide) {
        freshness::note(&context.ui, written, &session);
    }
    session.close().await?;
    let view = view?;
    let stopped = view.stopped();
    let tree = match stopped {
        Some(phase) => stopped::tree(tree(&view), phase),
        None => tree(&view),
    };
    match args.output.format() {
        Format::Json => context.ui.data(&output::json(&tree)?),
        Format::Yaml => context.ui.data(&output::yaml(&tree)?),
        Format::Name => context.ui.data(&names(&tree)),
        Format::Table | Format::Wide => {
            let tree = match (args.all_conditions, stopped) {
                (true, _) => tree,
                (false, Some(_)) => stopped::quiet(tree),
                (false, None) => prune::paused_once(tree),
            };
            let mut text = String::new();
            let paint = |tone, text: &str| context.ui.paint_data(tone, text);
            render(&tree, "", "", args.all_conditions, &paint, &mut text);
            context.ui.drawing(&text)?;
            if let Some(phase) = stopped {
                let name = readable(&tree.name);
                let advice = phase.advice(&name);
                let text = format!("\ncause: Cluster/{name} {advice}\n");
                context.ui.data(&context.ui.qualified(&text))?;
            } else if let Some((object, cause)) = prune::cause(&tree) {
                let cause = indented(&cause, "  ");
                let next = match prune::is_fixed_by_repair(&tree) {
                    true => format!("; `capn repair {}` fixes it", args.name),
                    false => String::new(),
                };
                let text = format!("\ncause: {}: {cause}{next}\n", readable(&object));
                context.ui.data(&context.ui.qualified(&text))?;
            }
            Ok(())
        }
    }
}

/// Returns the tree of a cluster as text, with all conditions.
pub(crate) fn text(view: &View) -> String {
    let mut text = String::new();
    render(&tree(view), "", "", true, &|_, text| text.to_owned(), &mut text);
    text
}

fn tree(view: &View) -> Node {
    let mut children = Vec::new();
    if let Some(lxc_cluster) = &view.lxc_cluster {
        let endpoint = lxc_cluster.spec.control_plane_endpoint.as_ref();
        let summary = endpoint
            .filter(|endpoint| endpoint.is_set())
            .map_or_else(String::new, |endpoint| format!("{}:{}", endpoint.host, endpoint.port));
        let conditions = lxc_cluster.status.as_ref().map(|status| &status.conditions);
        children.push(node("LXCCluster", lxc_cluster.name_any(), summary, conditions, Vec::new()));
    }
    let machine_nodes = |is_control_plane: bool| {
        view.machines
            .iter()
            .filter(|machine| machine.is_control_plane() == is_control_plane)
            .map(|machine| {
                let status = machine.status.as_ref();
                let phase =
                    status.and_then(|status| status.phase).map_or("Pending", |p| p.as_str());
                let mut below = Vec::new();
                if let Some(lxc_machine) = view.lxc_machine(machine) {
                    let address = watch::address(lxc_machine).unwrap_or_default().to_owned();
                    let conditions = lxc_machine.status.as_ref().map(|status| &status.conditions);
                    below.push(node(
                        "LXCMachine",
                        lxc_machine.name_any(),
                        address,
                        conditions,
                        Vec::new(),
                    ));
                }
                let conditions = status.and_then(|status| status.conditions.as_ref());
                let end = status.and_then(|status| status.certificates_expiry_date.as_ref());
                let soon = end.and_then(|end| expires_soon(end.0, Timestamp::now()));
                let summary =
                    soon.map_or_else(|| phase.to_owned(), |soon| format!("{phase}, {soon}"));
                let node = node("Machine", machine.name_any(), summary, conditions, below);
                Node { certificates_expiry_date: end.map(|end| end.0), ..node }
            })
            .collect::<Vec<_>>()
    };
    let control_planes = machine_nodes(true);
    match &view.control_plane {
        Some(control_plane) => {
            let conditions =
                control_plane.status.as_ref().and_then(|status| status.conditions.as_ref());
            let version = control_plane.spec.version.clone();
            let name = control_plane.name_any();
            children.push(node("KubeadmControlPlane", name, version, conditions, control_planes));
        }
        None => children.extend(control_planes),
    }
    let mut workers = machine_nodes(false);
    for deployment in &view.deployments {
        let name = deployment.name_any();
        let (mine, others): (Vec<Node>, Vec<Node>) =
            workers.into_iter().partition(|worker| worker.name.starts_with(&format!("{name}-")));
        workers = others;
        let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let summary = format!("{} of {wanted}", mine.len());
        children.push(node("MachineDeployment", name, summary, conditions, mine));
    }
    for pool in &view.pools {
        let name = pool.name_any();
        let is_mine = |worker: &Node| {
            let machine = view.machines.iter().find(|machine| machine.name_any() == worker.name);
            let labels = machine.and_then(|machine| machine.metadata.labels.as_ref());
            labels.and_then(|labels| labels.get(labels::POOL_NAME)) == Some(&name)
        };
        let (mine, others): (Vec<Node>, Vec<Node>) = workers.into_iter().partition(is_mine);
        workers = others;
        let conditions = pool.status.as_ref().and_then(|status| status.conditions.as_ref());
        let summary = format!("{} of {}", mine.len(), pool.spec.replicas.unwrap_or(1));
        children.push(node("MachinePool", name, summary, conditions, mine));
    }
    children.extend(workers);
    let cluster = view.cluster.as_ref();
    let status = cluster.and_then(|cluster| cluster.status.as_ref());
    let phase = status.and_then(|status| status.phase).map_or("Pending", |phase| phase.as_str());
    let name = cluster.map(|cluster| cluster.name_any()).unwrap_or_default();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    node("Cluster", name, phase.to_owned(), conditions, children)
}

fn node(
    kind: &'static str,
    name: String,
    summary: String,
    conditions: Option<&Vec<Condition>>,
    children: Vec<Node>,
) -> Node {
    let ready = core::get(conditions, core::READY)
        .or(core::get(conditions, core::AVAILABLE))
        .map_or("Unknown", |condition| condition.status.as_str())
        .to_owned();
    let conditions = conditions
        .into_iter()
        .flatten()
        .map(|condition| ConditionOutput {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: complaint(condition),
        })
        .collect();
    Node { kind, name, summary, ready, conditions, certificates_expiry_date: None, children }
}

/// Returns a note on certificates that expire within 30 days or have expired.
fn expires_soon(end: Timestamp, now: Timestamp) -> Option<String> {
    let left = end.duration_since(now);
    let day = end.strftime("%Y-%m-%d");
    if left.is_negative() {
        return Some(format!("its certificates expired on {day}"));
    }
    let days = left.as_hours() / 24;
    let plural = if days == 1 { "" } else { "s" };
    (days < WARN_DAYS).then(|| format!("its certificates expire on {day}, in {days} day{plural}"))
}

/// Certificates are mentioned this many days before they expire.
const WARN_DAYS: i64 = 30;

/// Conditions for which `False` is the good status.
const GOOD_WHEN_FALSE: &[&str] = &[
    core::PAUSED,
    core::DELETING,
    core::ROLLING_OUT,
    core::SCALING_UP,
    core::SCALING_DOWN,
    core::REMEDIATING,
    core::UPDATING,
];

impl ConditionOutput {
    fn is_good(&self) -> bool {
        let good = if GOOD_WHEN_FALSE.contains(&self.kind.as_str()) { "False" } else { "True" };
        self.status == good
    }
}

fn render(
    node: &Node,
    before: &str,
    below: &str,
    all: bool,
    paint: &dyn Fn(Tone, &str) -> String,
    text: &mut String,
) {
    let mark = match node.ready.as_str() {
        "True" => paint(Tone::Good, "✓"),
        "False" => paint(Tone::Bad, "✗"),
        _ => paint(Tone::Note, "·"),
    };
    let summary = match node.summary.as_str() {
        "" => String::new(),
        summary => {
            let summary = display::line(summary, display::SERVER_TEXT);
            format!("  {}", paint(Tone::Faint, &summary))
        }
    };
    let name = readable(&node.name);
    text.push_str(&format!("{before}{mark} {}/{name}{summary}\n", node.kind));
    let bar = if node.children.is_empty() { " " } else { "│" };
    let lines: Vec<(bool, Line)> = if all {
        node.conditions.iter().map(|shown| (shown.is_good(), Line::of(shown))).collect()
    } else {
        prune::lines(node).into_iter().map(|line| (false, line)).collect()
    };
    for (is_good, line) in lines {
        let tone = if is_good { Tone::Faint } else { Tone::Note };
        let line = indented(&line.text(), &format!("{below}{bar}     "));
        text.push_str(&format!("{below}{bar}   {}\n", paint(tone, &line)));
    }
    for (index, child) in node.children.iter().enumerate() {
        let is_last = index + 1 == node.children.len();
        let (fork, bar) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        render(child, &format!("{below}{fork}"), &format!("{below}{bar}"), all, paint, text);
    }
}

fn names(node: &Node) -> String {
    let mut text = format!("{}/{}\n", node.kind.to_lowercase(), node.name);
    text.extend(node.children.iter().map(names));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_mentioned_when_they_expire_soon() {
        let now: Timestamp = "2027-01-31T12:00:00Z".parse().unwrap();
        for (end, said) in [
            ("2027-12-01T00:00:00Z", None),
            ("2027-03-02T12:00:00Z", None),
            ("2027-03-02T11:00:00Z", Some("its certificates expire on 2027-03-02, in 29 days")),
            ("2027-02-01T13:00:00Z", Some("its certificates expire on 2027-02-01, in 1 day")),
            ("2027-01-31T13:00:00Z", Some("its certificates expire on 2027-01-31, in 0 days")),
            ("2027-01-01T00:00:00Z", Some("its certificates expired on 2027-01-01")),
        ] {
            assert_eq!(expires_soon(end.parse().unwrap(), now).as_deref(), said, "{end}");
        }
    }

    fn shown(kind: &str, status: &str, reason: &str, message: &str) -> ConditionOutput {
        ConditionOutput {
            kind: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
        }
    }

    fn leaf(kind: &'static str, name: &str, ready: &str, conditions: Vec<ConditionOutput>) -> Node {
        Node {
            kind,
            name: name.into(),
            summary: String::new(),
            ready: ready.into(),
            conditions,
            certificates_expiry_date: None,
            children: Vec::new(),
        }
    }

    fn sample() -> Node {
        let bad = vec![
            shown("Ready", "False", "NotReady", "InstanceProvisioned: no space left"),
            shown("InstanceProvisioned", "False", "InstanceProvisioningFailed", "no space left"),
            shown("Paused", "False", "NotPaused", "NotPaused"),
        ];
        let machine = Node {
            children: vec![leaf("LXCMachine", "a", "False", bad)],
            ..leaf("Machine", "a", "Unknown", vec![])
        };
        Node {
            summary: "Provisioning".into(),
            children: vec![leaf("LXCCluster", "demo", "True", vec![]), machine],
            ..leaf("Cluster", "demo", "False", vec![])
        }
    }

    #[test]
    fn the_tree_shows_failing_conditions() {
        let mut text = String::new();
        render(&sample(), "", "", false, &|_, text| text.to_owned(), &mut text);
        insta::assert_snapshot!(text, @r"
        ✗ Cluster/demo  Provisioning
        ├─ ✓ LXCCluster/demo
        └─ · Machine/a
           └─ ✗ LXCMachine/a
                  InstanceProvisioned=False InstanceProvisioningFailed: no space left
        ");
    }

    #[test]
    fn control_characters_are_not_printed() {
        let bad = vec![shown("Ready", "False", "X\u{9b}2J", "a\x1b]0;b\x07\u{202e}c")];
        let mut text = String::new();
        let node = leaf("LXCMachine", "a\x1b[2J", "False", bad);
        render(&node, "", "", false, &|_, text| text.to_owned(), &mut text);
        assert!(text.contains("X�2J: a�]0;b��c"), "{text:?}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn the_cause_prefers_failed_over_unknown_over_waiting() {
        let cause = |conditions: Vec<ConditionOutput>| {
            prune::cause(&leaf("LXCMachine", "a", "False", conditions))
        };
        let of = |message: &str| Some(("LXCMachine/a".to_owned(), message.to_owned()));
        let awaited = || shown("A", "False", "WaitingForX", "waiting for x");
        let unknown = || shown("B", "Unknown", "InspectionFailed", "no answer");
        let failed = || shown("C", "False", "Failed", "no space left");
        assert_eq!(prune::cause(&sample()), of("no space left"));
        assert_eq!(cause(vec![awaited(), unknown(), failed()]), of("no space left"));
        assert_eq!(cause(vec![awaited(), unknown()]), of("no answer"));
        assert_eq!(cause(vec![awaited()]), of("waiting for x"));
        assert_eq!(cause(vec![shown("Ready", "True", "Ready", "")]), None);
        let rolling = shown("RollingOut", "True", "RollingOut", "one machine");
        assert_eq!(cause(vec![rolling]), None);
    }

    #[test]
    fn repair_is_suggested_when_it_helps() {
        let of = |kind: &str, reason: &str, message: &str| {
            let bad = vec![shown(kind, "False", reason, message)];
            prune::is_fixed_by_repair(&leaf("LXCMachine", "a", "False", bad))
        };
        assert!(of("InstanceProvisioned", "InstanceDeleted", "instance a is gone"));
        assert!(of("NodeReady", "NodeNotReady", "kubelet stopped posting node status"));
        assert!(!of("NodeReady", "NodeNotReady", "waiting for the node"));
        assert!(!of("InstanceProvisioned", "InstanceProvisioningFailed", "no space left"));
        let paused = shown("Paused", "True", "Paused", "it is paused");
        let gone = shown("InstanceProvisioned", "False", "InstanceDeleted", "gone");
        assert!(!prune::is_fixed_by_repair(&leaf("LXCMachine", "a", "False", vec![paused, gone])));
    }

    #[test]
    fn a_paused_cluster_says_so_once() {
        let paused = || vec![shown("Paused", "True", "Paused", "it is paused")];
        let tree = |root: Vec<ConditionOutput>| Node {
            children: vec![leaf("LXCCluster", "demo", "True", paused())],
            ..leaf("Cluster", "demo", "True", root)
        };
        let said = |root: Node| {
            let mut text = String::new();
            let root = prune::paused_once(root);
            render(&root, "", "", false, &|_, text| text.to_owned(), &mut text);
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            said(tree(paused())),
            ["│   Paused=True Paused: it is paused", "└─ ✓ LXCCluster/demo"]
        );
        assert_eq!(
            said(tree(vec![])),
            ["└─ ✓ LXCCluster/demo", "       Paused=True Paused: it is paused"]
        );
    }

    #[test]
    fn messages_are_not_repeated() {
        let waiting = "waiting for the control plane to be initialized";
        let of_machine = vec![
            shown("Ready", "Unknown", "ReadyUnknown", "a: b; c: d"),
            shown("InfrastructureReady", "False", "NotReady", "no space left"),
            shown("APIServerPodHealthy", "Unknown", "InspectionFailed", waiting),
            shown("EtcdPodHealthy", "Unknown", "InspectionFailed", waiting),
        ];
        let below = leaf(
            "LXCMachine",
            "a",
            "False",
            vec![shown("InstanceProvisioned", "False", "CreationFailed", "no space left")],
        );
        let machine = Node { children: vec![below], ..leaf("Machine", "a", "Unknown", of_machine) };
        let of_cluster = vec![
            shown("Available", "False", "NotAvailable", "a lot of it"),
            shown("ControlPlaneMachinesReady", "False", "NotReady", "all of it again"),
            shown("RemoteConnectionProbe", "False", "ProbeFailed", "not connected yet"),
        ];
        let root = Node { children: vec![machine], ..leaf("Cluster", "demo", "False", of_cluster) };
        let mut text = String::new();
        render(&root, "", "", false, &|_, text| text.to_owned(), &mut text);
        insta::assert_snapshot!(text, @r"
        ✗ Cluster/demo
        │   RemoteConnectionProbe=False ProbeFailed: not connected yet
        └─ · Machine/a
           │   APIServerPodHealthy, EtcdPodHealthy=Unknown InspectionFailed: waiting for the control plane to be initialized
           └─ ✗ LXCMachine/a
                  InstanceProvisioned=False CreationFailed: no space left
        ");
        text.clear();
        render(&root, "", "", true, &|_, text| text.to_owned(), &mut text);
        assert_eq!(text.lines().count(), 3 + 8, "{text}");
    }
}
