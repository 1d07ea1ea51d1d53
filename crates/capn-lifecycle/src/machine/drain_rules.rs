//! Evaluates MachineDrainRules for the pods of a machine, like Cluster API v1.14. Pure.

use std::collections::BTreeMap;

use capi_api::core::{DrainBehavior, DrainPodSelector};
use capi_api::{Cluster, Machine, MachineDrainRule};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use kube::{Resource as _, ResourceExt as _};

use crate::objects::check_length;

/// Maximum number of label comparisons for all pods of a node.
const COMPARED: usize = 500_000;

/// Labels of the namespaces of a cluster.
pub(super) type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The rules for the pods of one machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rules {
    /// Sorted by name. The first rule that matches a pod applies.
    rules: Vec<MachineDrainRule>,
    namespaces: Namespaces,
}

/// Drain behavior of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is evicted. Lower orders come first.
    Drain { order: i32 },
    /// It is skipped.
    Skip,
    /// It must finish its work.
    WaitCompleted,
}

impl Rules {
    /// Selects the rules for a machine.
    ///
    /// # Errors
    ///
    /// A message if a selector is invalid: no pod is evicted as long as the scope of a rule is
    /// unknown.
    pub(super) fn of(
        rules: Vec<MachineDrainRule>,
        machine: &Machine,
        cluster: &Cluster,
    ) -> Result<Self, String> {
        for rule in &rules {
            if let Some((field, problem)) = selectors(rule).next() {
                return Err(format!("MachineDrainRule {}: {field} {problem}", rule.name_any()));
            }
        }
        let mut rules: Vec<_> =
            rules.into_iter().filter(|rule| is_for_machine(rule, machine, cluster)).collect();
        rules.sort_by_key(kube::ResourceExt::name_any);
        Ok(Self { rules, namespaces: Namespaces::new() })
    }

    /// Returns whether a rule selects by namespace labels.
    pub(super) fn wants_namespaces(&self) -> bool {
        let pods = self.rules.iter().flat_map(|rule| rule.spec.pods.iter().flatten());
        pods.into_iter().any(|pods| pods.namespace_selector.is_some())
    }

    /// Returns whether there are too many pods for the rules, so that matching them would take too
    /// long.
    pub(super) fn are_too_many_for(&self, pods: usize) -> bool {
        let selectors = self.rules.iter().flat_map(|rule| rule.spec.pods.iter().flatten());
        let labels: usize = selectors
            .flat_map(|pods| [pods.selector.as_ref(), pods.namespace_selector.as_ref()])
            .flatten()
            .map(size)
            .sum();
        labels.saturating_mul(pods) > COMPARED
    }

    /// Returns the rules with the namespaces of the cluster.
    pub(super) fn with_namespaces(self, namespaces: Namespaces) -> Self {
        Self { namespaces, ..self }
    }

    /// Returns the behavior for a pod without a label of its own. A pod in an unknown namespace is
    /// waited for, because it may have to be skipped.
    pub(super) fn for_pod(&self, pod: &Pod) -> Rule {
        let namespace = self.namespaces.get(&pod.namespace().unwrap_or_default());
        for rule in &self.rules {
            let pods = rule.spec.pods.as_deref().unwrap_or_default();
            let is_for = match namespace {
                None if pods.iter().any(|pods| pods.namespace_selector.is_some()) => {
                    return Rule::WaitCompleted;
                }
                _ => pods.is_empty() || pods.iter().any(|pods| is_for_pod(pods, pod, namespace)),
            };
            if is_for {
                return match rule.spec.drain.behavior {
                    DrainBehavior::Drain => {
                        Rule::Drain { order: rule.spec.drain.order.unwrap_or(0) }
                    }
                    DrainBehavior::Skip => Rule::Skip,
                    DrainBehavior::WaitCompleted => Rule::WaitCompleted,
                };
            }
        }
        Rule::Drain { order: 0 }
    }
}

/// Returns the number of comparisons of a selector.
fn size(selector: &LabelSelector) -> usize {
    let labels = selector.match_labels.as_ref().map_or(0, BTreeMap::len);
    let expressions = selector.match_expressions.iter().flatten();
    let values = expressions.map(|wish| 1 + wish.values.as_ref().map_or(0, Vec::len));
    1 + labels + values.sum::<usize>()
}

fn is_for_machine(rule: &MachineDrainRule, machine: &Machine, cluster: &Cluster) -> bool {
    let machines = rule.spec.machines.as_deref().unwrap_or_default();
    machines.is_empty()
        || machines.iter().any(|machines| {
            matches(machines.selector.as_ref(), machine.meta().labels.as_ref())
                && matches(machines.cluster_selector.as_ref(), cluster.meta().labels.as_ref())
        })
}

fn is_for_pod(
    pods: &DrainPodSelector,
    pod: &Pod,
    namespace: Option<&BTreeMap<String, String>>,
) -> bool {
    matches(pods.selector.as_ref(), pod.meta().labels.as_ref())
        && matches(pods.namespace_selector.as_ref(), namespace)
}

/// A missing or empty selector matches everything.
fn matches(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(selector) = selector else { return true };
    let none = BTreeMap::new();
    Selector::try_from(selector.clone())
        .is_ok_and(|selector| selector.matches(labels.unwrap_or(&none)))
}

/// Returns the invalid fields of a rule, with messages.
pub(crate) fn problems(rule: &MachineDrainRule) -> Vec<(String, String)> {
    let spec = &rule.spec;
    let mut found = Vec::new();
    if spec.drain.order.is_some() && spec.drain.behavior != DrainBehavior::Drain {
        let problem = "is only allowed with the behavior Drain".to_owned();
        found.push(("spec.drain.order".to_owned(), problem));
    }
    let machines = spec.machines.as_deref().unwrap_or_default();
    let is_empty = machines.iter().any(|m| m.selector.is_none() && m.cluster_selector.is_none());
    found.extend(entries("spec.machines", machines, is_empty));
    let pods = spec.pods.as_deref().unwrap_or_default();
    let is_empty = pods.iter().any(|p| p.selector.is_none() && p.namespace_selector.is_none());
    found.extend(entries("spec.pods", pods, is_empty));
    found.extend(selectors(rule));
    found
}

fn entries<T: PartialEq>(field: &str, list: &[T], is_empty: bool) -> Option<(String, String)> {
    let is_twice =
        list.iter().enumerate().any(|(at, entry)| list.iter().take(at).any(|e| e == entry));
    let problem = match (is_empty, is_twice) {
        (true, _) => "must have a selector in each entry",
        (_, true) => "must not contain duplicate entries",
        _ => return None,
    };
    Some((field.to_owned(), problem.to_owned()))
}

/// Returns the invalid selectors.
fn selectors(rule: &MachineDrainRule) -> impl Iterator<Item = (String, String)> {
    let machines = rule.spec.machines.iter().flatten().enumerate().flat_map(|(at, machines)| {
        [
            (format!("spec.machines[{at}].selector"), machines.selector.as_ref()),
            (format!("spec.machines[{at}].clusterSelector"), machines.cluster_selector.as_ref()),
        ]
    });
    let pods = rule.spec.pods.iter().flatten().enumerate().flat_map(|(at, pods)| {
        [
            (format!("spec.pods[{at}].selector"), pods.selector.as_ref()),
            (format!("spec.pods[{at}].namespaceSelector"), pods.namespace_selector.as_ref()),
        ]
    });
    machines.chain(pods).filter_map(|(field, selector)| {
        let selector = selector?;
        if let Err(problem) = check_length(selector) {
            return Some((field, problem));
        }
        let error = Selector::try_from(selector.clone()).err()?;
        Some((field, format!("is invalid: {error}")))
    })
}

#[cfg(test)]
#[path = "drain_rules_tests.rs"]
mod tests;
