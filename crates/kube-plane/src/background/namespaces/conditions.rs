//! Conditions of a namespace that is being deleted, as in Kubernetes' namespace controller. Types,
//! reasons and messages follow `k8s.io/kubernetes/pkg/controller/namespace/deletion`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// Maximum size of a message, in bytes: a namespace may have many kinds of objects and finalizers.
const MAX_MESSAGE: usize = 4096;

/// Remaining content of a namespace.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    /// Number of objects by resource, such as `machines.cluster.x-k8s.io`.
    objects: BTreeMap<String, usize>,
    /// Number of objects by finalizer.
    finalizers: BTreeMap<String, usize>,
    /// The first failed deletions.
    failures: Vec<String>,
}

/// Maximum number of failures to describe.
const MAX_FAILURES: usize = 20;

impl Remaining {
    /// Counts the objects of a resource, each given by its finalizers.
    pub(super) fn add<'a>(
        &mut self,
        resource: &str,
        objects: impl Iterator<Item = &'a [Box<str>]>,
    ) {
        for finalizers in objects {
            *self.objects.entry(resource.to_owned()).or_default() += 1;
            for finalizer in finalizers {
                *self.finalizers.entry(finalizer.to_string()).or_default() += 1;
            }
        }
    }

    pub(super) fn failed(&mut self, why: String) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(why);
        }
    }

    pub(super) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }

    /// Returns the conditions. Unchanged ones keep their transition time.
    pub(super) fn conditions(&self, before: &[Value], now: &str) -> Vec<Value> {
        let counted = |counts: &BTreeMap<String, usize>, verb: &str| {
            let mut text = String::new();
            for (name, count) in counts {
                let comma = if text.is_empty() { "" } else { ", " };
                // Writing to a String cannot fail.
                _ = write!(text, "{comma}{name} {verb} {count} resource instances");
            }
            text
        };
        let rows = [
            (
                "NamespaceDeletionContentFailure",
                ["ContentDeleted", "ContentDeletionFailed"],
                "All content successfully deleted, may be waiting on finalizers",
                self.failures.join("; "),
            ),
            (
                "NamespaceContentRemaining",
                ["ContentRemoved", "SomeResourcesRemain"],
                "All content successfully removed",
                prefixed("Some resources are remaining: ", counted(&self.objects, "has")),
            ),
            (
                "NamespaceFinalizersRemaining",
                ["ContentHasNoFinalizers", "SomeFinalizersRemain"],
                "All content-preserving finalizers finished",
                prefixed(
                    "Some content in the namespace has finalizers remaining: ",
                    counted(&self.finalizers, "in"),
                ),
            ),
        ];
        let ours = rows.map(|(kind, [fine, bad], none, mut problem)| {
            let (status, reason) = if problem.is_empty() { ("False", fine) } else { ("True", bad) };
            if problem.is_empty() {
                none.clone_into(&mut problem);
            }
            if problem.len() > MAX_MESSAGE {
                problem.truncate(problem.floor_char_boundary(MAX_MESSAGE));
                problem.push('…');
            }
            let old = before.iter().find(|old| old["type"] == kind && old["status"] == status);
            let since = old.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(now);
            json!({
                "type": kind, "status": status, "reason": reason, "message": problem,
                "lastTransitionTime": since,
            })
        });
        let others = before.iter().filter(|old| !ours.iter().any(|our| our["type"] == old["type"]));
        others.cloned().chain(ours.iter().cloned()).collect()
    }
}

fn prefixed(prefix: &str, text: String) -> String {
    if text.is_empty() { text } else { format!("{prefix}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_objects_are_counted_by_resource_and_finalizer() {
        let mut remaining = Remaining::default();
        assert!(remaining.is_empty());
        let held: [Box<str>; 1] = ["example.org/hold".into()];
        remaining.add("configmaps", [&held[..], &held, &[]].into_iter());
        remaining.add("secrets", [&[][..]].into_iter());
        remaining.add("leases.coordination.k8s.io", std::iter::empty());
        assert!(!remaining.is_empty());
        let first = remaining.conditions(&[json!({"type": "Other"})], "then");
        let told: Vec<_> = first[1..].iter().map(|c| c["message"].as_str().unwrap()).collect();
        assert_eq!(
            told,
            [
                "All content successfully deleted, may be waiting on finalizers",
                "Some resources are remaining: configmaps has 3 resource instances, secrets has 1 resource instances",
                "Some content in the namespace has finalizers remaining: example.org/hold in 2 resource instances",
            ]
        );
        assert_eq!(first[0]["type"], "Other");
        assert_eq!(remaining.conditions(&first, "now"), first, "nothing changed");
        remaining.failed("cannot delete secrets a: the disk is full".to_owned());
        let second = remaining.conditions(&first, "now");
        assert_eq!(second[1]["status"], "True");
        assert_eq!(second[1]["lastTransitionTime"], "now");
        assert_eq!(second[2]["lastTransitionTime"], "then");
    }
}
