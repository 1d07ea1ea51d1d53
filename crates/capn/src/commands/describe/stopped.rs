//! The tree of a cluster stopped by `capn stop`, whose objects describe the state before. Pure
//! functions.

use super::Node;
use crate::power::Phase;

/// Returns the tree with nothing ready.
pub(super) fn tree(root: Node, phase: Phase) -> Node {
    Node { ready: "False".to_owned(), ..at_rest(root, phase) }
}

fn at_rest(node: Node, phase: Phase) -> Node {
    let summary = match node.kind {
        "Cluster" | "Machine" => phase.as_str().to_owned(),
        _ => node.summary,
    };
    let children = node.children.into_iter().map(|child| at_rest(child, phase)).collect();
    Node { summary, ready: "Unknown".to_owned(), children, ..node }
}

/// Returns the tree without conditions; one line explains the state.
pub(super) fn quiet(node: Node) -> Node {
    let children = node.children.into_iter().map(quiet).collect();
    Node { conditions: Vec::new(), children, ..node }
}

#[cfg(test)]
mod tests {
    use super::super::{ConditionOutput, render};
    use super::*;

    fn node(kind: &'static str, summary: &str, children: Vec<Node>) -> Node {
        let condition = ConditionOutput {
            kind: "Available".into(),
            status: "False".into(),
            reason: "NotAvailable".into(),
            message: "something".into(),
        };
        Node {
            kind,
            name: "a".into(),
            summary: summary.into(),
            ready: "True".into(),
            conditions: vec![condition],
            certificates_expiry_date: None,
            children,
        }
    }

    #[test]
    fn nothing_of_a_stopped_cluster_is_shown_as_ready() {
        let lxc_machine = node("LXCMachine", "10.0.0.3", vec![]);
        let machine = node("Machine", "Running", vec![lxc_machine]);
        let root = tree(node("Cluster", "Provisioned", vec![machine]), Phase::Stopped);
        let mut text = String::new();
        render(&quiet(root), "", "", false, &|_, text| text.to_owned(), &mut text);
        insta::assert_snapshot!(text, @r"
        ✗ Cluster/a  Stopped
        └─ · Machine/a  Stopped
           └─ · LXCMachine/a  10.0.0.3
        ");
    }
}
