//! The tree of a cluster that `capn stop` stopped: what its objects say is of the time before. Pure.

use super::Node;
use crate::power::Phase;

/// The tree, in which nothing is ready.
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

/// The tree without conditions: one line says it all.
pub(super) fn quiet(node: Node) -> Node {
    let children = node.children.into_iter().map(quiet).collect();
    Node { conditions: Vec::new(), children, ..node }
}

#[cfg(test)]
mod tests {
    use super::super::{Shown, render};
    use super::*;

    fn node(kind: &'static str, summary: &str, children: Vec<Node>) -> Node {
        let condition = Shown {
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
    fn nothing_of_a_stopped_cluster_is_said_to_be_ready() {
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
