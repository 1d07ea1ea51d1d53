//! Selects the conditions worth showing: those that no other line explains. Pure functions.

use capi_api::conditions as core;
use capn_api::conditions::reasons;

use super::{ConditionOutput, Node};

/// Conditions that summarize others, of the same object or of its children.
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

/// Condition reasons that `capn repair` fixes.
const FIXED: &[&str] = &[
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
    pub(super) fn of(condition: &ConditionOutput) -> Self {
        Self {
            kinds: vec![condition.kind.clone()],
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }

    /// `Ready=False Reason: message`. Omits a message that only repeats the reason.
    pub(super) fn text(&self) -> String {
        let Self { status, reason, message, .. } = self;
        let kinds = self.kinds.join(", ");
        match message == reason {
            true => format!("{kinds}={status} {reason}"),
            false => format!("{kinds}={status} {reason}: {message}"),
        }
    }

    /// Returns whether the machine is lost, stopped or broken.
    fn is_fixed_by_repair(&self) -> bool {
        let is_broken_node =
            |kind: &String| [core::NODE_READY, core::NODE_HEALTHY].contains(&kind.as_str());
        FIXED.contains(&self.reason.as_str())
            || (!self.waits() && self.kinds.iter().any(is_broken_node))
    }

    /// Returns whether the condition waits for something else.
    fn waits(&self) -> bool {
        self.reason.starts_with("WaitingFor") || self.message.to_lowercase().contains("waiting for")
    }
}

/// Lines of an object: its unmet conditions that no other line explains.
pub(super) fn lines(node: &Node) -> Vec<Line> {
    let bad: Vec<&ConditionOutput> =
        node.conditions.iter().filter(|condition| !condition.is_good()).collect();
    let is_summary = |condition: &&&ConditionOutput| SUMMARIES.contains(&condition.kind.as_str());
    let below = below(node);
    let is_said = |condition: &ConditionOutput| {
        below.iter().any(|line| line.message == condition.message && line.message != line.reason)
            || below.iter().any(|line| line.kinds.contains(&condition.kind))
    };
    let own: Vec<&&ConditionOutput> =
        bad.iter().filter(|c| !is_summary(c) && !is_said(c)).collect();
    if own.is_empty() && below.is_empty() {
        // Nothing explains it.
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

/// Returns the tree with the paused condition only at its root if the whole cluster is paused.
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

/// Returns all lines of an object's descendants.
fn below(node: &Node) -> Vec<Line> {
    node.children.iter().flat_map(|child| [lines(child), below(child)].concat()).collect()
}

/// Returns the root cause and its object: a failed condition, else an unknown one, else a waiting
/// one. Of several, the first of the deepest object.
pub(super) fn cause(root: &Node) -> Option<(String, String)> {
    cause_line(root).map(|(object, line)| (object, line.message))
}

/// Returns whether `capn repair` fixes the cause.
pub(super) fn is_fixed_by_repair(root: &Node) -> bool {
    let is_paused =
        root.conditions.iter().any(|shown| shown.kind == core::PAUSED && !shown.is_good());
    !is_paused && cause_line(root).is_some_and(|(_, line)| line.is_fixed_by_repair())
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

/// Collects lines with their objects, deepest first.
fn collect(node: &Node, into: &mut Vec<(String, Line)>) {
    for child in &node.children {
        collect(child, into);
    }
    let object = format!("{}/{}", node.kind, node.name);
    into.extend(lines(node).into_iter().map(|line| (object.clone(), line)));
}
