//! Which conditions are worth a line: those that say something that no other line says. Pure.

use capi_api::conditions as core;
use capn_api::conditions::reasons;

use super::{Node, Shown};

/// Conditions that sum up others, of the same object or of those below it.
const SUMMARIES: &[&str] = &[
    core::READY,
    core::AVAILABLE,
    "ControlPlaneAvailable",
    "ControlPlaneComponentsHealthy",
    "ControlPlaneInitialized",
    "ControlPlaneMachinesReady",
    "ControlPlaneMachinesUpToDate",
    "EtcdClusterHealthy",
    "InfrastructureReady",
    "Initialized",
    "MachinesReady",
    "MachinesUpToDate",
    "WorkerMachinesReady",
    "WorkerMachinesUpToDate",
    "WorkersAvailable",
];

/// Reasons against which `capn repair` helps.
const MENDED: &[&str] = &[
    reasons::INSTANCE_DELETED,
    reasons::INSTANCE_STOPPED,
    reasons::BOOTSTRAP_FAILED,
    "CannotBeRemediated",
];

/// A line: conditions of one object with the same status and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) kinds: Vec<String>,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Line {
    pub(super) fn of(condition: &Shown) -> Self {
        Self {
            kinds: vec![condition.kind.clone()],
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }

    /// `Ready=False Reason: message`, without a message that only repeats the reason.
    pub(super) fn text(&self) -> String {
        let Self { status, reason, message, .. } = self;
        let kinds = self.kinds.join(", ");
        match message == reason {
            true => format!("{kinds}={status} {reason}"),
            false => format!("{kinds}={status} {reason}: {message}"),
        }
    }

    /// A machine is lost, stopped or broken.
    fn is_mended_by_repair(&self) -> bool {
        let is_broken_node =
            |kind: &String| [core::NODE_READY, core::NODE_HEALTHY].contains(&kind.as_str());
        MENDED.contains(&self.reason.as_str())
            || (!self.waits() && self.kinds.iter().any(is_broken_node))
    }

    /// Something else has to happen first.
    fn waits(&self) -> bool {
        self.reason.starts_with("WaitingFor") || self.message.to_lowercase().contains("waiting for")
    }
}

/// The lines of an object: its conditions that do not hold and are not said elsewhere.
pub(super) fn lines(node: &Node) -> Vec<Line> {
    let bad: Vec<&Shown> =
        node.conditions.iter().filter(|condition| !condition.is_good()).collect();
    let is_summary = |condition: &&&Shown| SUMMARIES.contains(&condition.kind.as_str());
    let below = below(node);
    let is_said = |condition: &Shown| {
        below.iter().any(|line| line.message == condition.message && line.message != line.reason)
            || below.iter().any(|line| line.kinds.contains(&condition.kind))
    };
    let own: Vec<&&Shown> = bad.iter().filter(|c| !is_summary(c) && !is_said(c)).collect();
    if own.is_empty() && below.is_empty() {
        // Nobody says why.
        return bad.first().map(|condition| Line::of(condition)).into_iter().collect();
    }
    let mut lines: Vec<Line> = Vec::new();
    for condition in own {
        let same = lines.iter_mut().find(|line| {
            line.status == condition.status
                && line.reason == condition.reason
                && line.message == condition.message
        });
        match same {
            Some(line) => line.kinds.push(condition.kind.clone()),
            None => lines.push(Line::of(condition)),
        }
    }
    lines
}

/// The tree, with the word that it is paused at its root alone if the whole cluster is.
pub(super) fn paused_once(mut root: Node) -> Node {
    fn forget(nodes: &mut [Node]) {
        for node in nodes {
            node.conditions.retain(|condition| condition.kind != core::PAUSED);
            forget(&mut node.children);
        }
    }
    if root.conditions.iter().any(|shown| shown.kind == core::PAUSED && !shown.is_good()) {
        forget(&mut root.children);
    }
    root
}

/// All lines of the objects below one.
fn below(node: &Node) -> Vec<Line> {
    node.children.iter().flat_map(|child| [lines(child), below(child)].concat()).collect()
}

/// Why the cluster is not as it should be, and the object that says so: what failed, else what is
/// unknown, else what is awaited; of several, what the deepest object says that comes first.
pub(super) fn cause(root: &Node) -> Option<(String, String)> {
    cause_line(root).map(|(object, line)| (object, line.message))
}

/// Whether `capn repair` is what helps against the cause.
pub(super) fn is_mended_by_repair(root: &Node) -> bool {
    let is_paused =
        root.conditions.iter().any(|shown| shown.kind == core::PAUSED && !shown.is_good());
    !is_paused && cause_line(root).is_some_and(|(_, line)| line.is_mended_by_repair())
}

fn cause_line(root: &Node) -> Option<(String, Line)> {
    let mut all = Vec::new();
    collect(root, &mut all);
    let is_broken = |line: &Line| line.status == "False" && !line.waits();
    let pick = |fits: &dyn Fn(&Line) -> bool| all.iter().find(|(_, line)| fits(line));
    let found = pick(&is_broken)
        .or_else(|| pick(&|line| line.status == "Unknown" && !line.waits()))
        .or_else(|| pick(&|line| line.status == "Unknown"))
        .or_else(|| pick(&|line| line.status == "False"))?;
    Some(found.clone())
}

/// Lines with their objects, the deepest first.
fn collect(node: &Node, into: &mut Vec<(String, Line)>) {
    for child in &node.children {
        collect(child, into);
    }
    let object = format!("{}/{}", node.kind, node.name);
    into.extend(lines(node).into_iter().map(|line| (object.clone(), line)));
}
