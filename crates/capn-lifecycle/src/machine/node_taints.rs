//! The taints of a machine's node. Pure.

use std::collections::BTreeSet;

use capi_api::core::{MachineTaint, TaintEffect, TaintPropagation};
use capi_api::labels;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Resource as _;

use crate::objects::annotation;

/// The desired taints of a node, and the value of the annotation that lists the permanent ones.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) taints: Vec<Taint>,
    pub(super) kept: String,
}

/// Returns the taints of a node, including those of its machine.
///
/// A permanent taint (`Always`) is restored if a user removes it, and removed when the machine no
/// longer has it. A taint with `OnInitialization` is set once, while the node has no list of
/// permanent ones. Other taints stay, as in Cluster API v1.14 (`propagateMachineTaintsToNode`).
pub(super) fn wanted(node: &Node, of_machine: &[MachineTaint], is_outdated: bool) -> Wanted {
    let before = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut taints = with_marks(before, is_outdated);
    let list = annotation(node.meta(), labels::NODE_TAINTS_FROM_MACHINE);
    let mut kept = BTreeSet::new();
    let mut at_first = BTreeSet::new();
    for taint in of_machine {
        let id = id(&taint.key, effect(taint.effect));
        match taint.propagation {
            TaintPropagation::Always => kept.insert(id),
            TaintPropagation::OnInitialization => at_first.insert(id),
        };
        if taint.propagation == TaintPropagation::Always || list.is_none() {
            set(&mut taints, taint);
        }
    }
    let gone: BTreeSet<&str> = list
        .unwrap_or_default()
        .split(',')
        .filter(|id| !kept.contains(*id) && !at_first.contains(*id))
        .collect();
    taints.retain(|taint| !gone.contains(id(&taint.key, &taint.effect).as_str()));
    Wanted { taints, kept: kept.into_iter().collect::<Vec<_>>().join(",") }
}

fn id(key: &str, effect: &str) -> String {
    format!("{key}:{effect}")
}

fn effect(effect: TaintEffect) -> &'static str {
    match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    }
}

/// Sets a taint or its value. A node has at most one taint per key and effect.
fn set(taints: &mut Vec<Taint>, wanted: &MachineTaint) {
    let effect = effect(wanted.effect);
    let have = taints.iter_mut().find(|taint| taint.key == wanted.key && taint.effect == effect);
    match have {
        Some(taint) => {
            let is = taint.value.as_deref().unwrap_or_default();
            if is != wanted.value.as_deref().unwrap_or_default() {
                taint.value.clone_from(&wanted.value);
            }
        }
        None => taints.push(Taint {
            key: wanted.key.clone(),
            value: wanted.value.clone(),
            effect: effect.to_owned(),
            ..Taint::default()
        }),
    }
}

/// Removes the taint of an uninitialized node, and sets that of an outdated revision if required.
fn with_marks(mut taints: Vec<Taint>, is_outdated: bool) -> Vec<Taint> {
    let is = |taint: &Taint, key: &str, effect: &str| taint.key == key && taint.effect == effect;
    let outdated =
        |taint: &Taint| is(taint, labels::NODE_OUTDATED_REVISION_TAINT, "PreferNoSchedule");
    taints.retain(|taint| {
        !is(taint, labels::NODE_UNINITIALIZED_TAINT, "NoSchedule")
            && (is_outdated || !outdated(taint))
    });
    if is_outdated && !taints.iter().any(outdated) {
        taints.push(Taint {
            key: labels::NODE_OUTDATED_REVISION_TAINT.to_owned(),
            effect: "PreferNoSchedule".to_owned(),
            ..Taint::default()
        });
    }
    taints
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(list: Option<&str>, taints: Value) -> Node {
        let annotations =
            list.map_or(json!({}), |list| json!({ labels::NODE_TAINTS_FROM_MACHINE: list }));
        serde_json::from_value(json!({
            "metadata": { "name": "n", "annotations": annotations }, "spec": { "taints": taints },
        }))
        .unwrap()
    }

    fn of_machine(taints: Value) -> Vec<MachineTaint> {
        serde_json::from_value(taints).unwrap()
    }

    fn always(key: &str) -> Value {
        json!({ "key": key, "effect": "NoSchedule", "propagation": "Always" })
    }

    fn at_first(key: &str) -> Value {
        json!({ "key": key, "effect": "NoSchedule", "propagation": "OnInitialization" })
    }

    fn shown(wanted: &Wanted) -> (Vec<String>, &str) {
        let show = |taint: &Taint| match taint.value.as_deref() {
            Some(value) => format!("{}={value}:{}", taint.key, taint.effect),
            None => format!("{}:{}", taint.key, taint.effect),
        };
        (wanted.taints.iter().map(show).collect(), &wanted.kept)
    }

    #[test]
    fn machine_taints_are_added_kept_and_removed() {
        let on = |key: &str| json!({ "key": key, "effect": "NoSchedule" });
        let valued = |value: &str| json!({ "key": "a", "value": value, "effect": "NoSchedule", "propagation": "Always" });
        // (list on the node, taints of the node, taints of the machine, resulting taints, resulting
        // list)
        for (list, have, machine, taints, kept) in [
            (None, json!([]), json!([]), vec![], ""),
            (Some(""), json!([]), json!([]), vec![], ""),
            // Permanent taints.
            (None, json!([]), json!([always("a")]), vec!["a:NoSchedule"], "a:NoSchedule"),
            (Some(""), json!([]), json!([always("a")]), vec!["a:NoSchedule"], "a:NoSchedule"),
            (
                Some("a:NoSchedule"),
                json!([]),
                json!([always("a")]),
                vec!["a:NoSchedule"],
                "a:NoSchedule",
            ),
            (Some("a:NoSchedule"), json!([on("a")]), json!([]), vec![], ""),
            (Some("a:NoSchedule"), json!([on("a"), on("b")]), json!([]), vec!["b:NoSchedule"], ""),
            (
                Some("a:NoSchedule,b:NoSchedule"),
                json!([on("a"), on("b")]),
                json!([always("b")]),
                vec!["b:NoSchedule"],
                "b:NoSchedule",
            ),
            // Changed values.
            (
                Some("a:NoSchedule"),
                json!([valued("1")]),
                json!([valued("2")]),
                vec!["a=2:NoSchedule"],
                "a:NoSchedule",
            ),
            // Only at initialization.
            (None, json!([]), json!([at_first("a")]), vec!["a:NoSchedule"], ""),
            (Some(""), json!([]), json!([at_first("a")]), vec![], ""),
            (Some(""), json!([on("a")]), json!([]), vec!["a:NoSchedule"], ""),
            // A change from one kind to the other.
            (
                Some("a:NoSchedule"),
                json!([on("a")]),
                json!([at_first("a")]),
                vec!["a:NoSchedule"],
                "",
            ),
            (Some(""), json!([]), json!([always("a")]), vec!["a:NoSchedule"], "a:NoSchedule"),
            // Taints of others.
            (Some(""), json!([on("b")]), json!([]), vec!["b:NoSchedule"], ""),
            (
                None,
                json!([on("b")]),
                json!([always("a"), at_first("c")]),
                vec!["b:NoSchedule", "a:NoSchedule", "c:NoSchedule"],
                "a:NoSchedule",
            ),
            // An invalid entry is not a taint of the machine.
            (Some("a,:,b:x:y"), json!([on("a")]), json!([]), vec!["a:NoSchedule"], ""),
        ] {
            let found = wanted(&node(list, have.clone()), &of_machine(machine.clone()), false);
            assert_eq!(
                shown(&found),
                (taints.iter().map(ToString::to_string).collect(), kept),
                "{list:?} {have} {machine}"
            );
            let again = wanted(
                &node(Some(&found.kept), serde_json::to_value(&found.taints).unwrap()),
                &of_machine(machine),
                false,
            );
            assert_eq!(again, found, "nothing to do twice");
        }
    }

    #[test]
    fn nodes_of_an_older_revision_are_marked_and_unmarked() {
        let marked = wanted(&node(Some(""), json!([])), &[], true);
        assert_eq!(marked.taints[0].key, labels::NODE_OUTDATED_REVISION_TAINT);
        let again = node(Some(""), serde_json::to_value(&marked.taints).unwrap());
        assert_eq!(wanted(&again, &[], true), marked);
        assert_eq!(wanted(&again, &[], false).taints, []);
    }
}
