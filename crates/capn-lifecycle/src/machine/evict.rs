//! Evicts the pods of a node. Problems are reported and do not block anything else.

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::Machine;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use super::apply::{ANSWER_WITHIN, ask, workload};
use super::observe::Observed;
use super::plan::Evict;
use crate::Context;
use crate::error::chain;
use crate::summary::named;
use crate::workload::{self as cluster, answer};

/// Maximum length of a reported reason in bytes, and maximum number of different reasons.
const LONGEST: usize = 300;
const MAX_REASONS: usize = 5;
/// Maximum duration of one drain pass. Other checks, such as the drain timeout, run between two
/// passes.
const PASS: Duration = Duration::from_secs(20);
const SLOW: &str = "the API server is slow to accept evictions";
/// Cause with which an API server reports that a namespace is being deleted.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// Everything that blocks a drain: pods by reason, or the whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DrainBlockers {
    node: Option<String>,
    pods: BTreeMap<String, Vec<String>>,
}

impl DrainBlockers {
    fn node(why: &str) -> Self {
        Self { node: Some(shown(why)), pods: BTreeMap::new() }
    }

    fn pod(&mut self, pod: &Evict, why: &str) {
        let name = format!("{}/{}", pod.namespace, pod.name);
        self.pods.entry(shown(why)).or_default().push(name);
    }

    /// Returns a line for each reason, to be appended to the message of the drain. Empty if nothing
    /// blocks it.
    pub(super) fn lines(&self) -> String {
        let mut lines: Vec<String> = self.node.iter().map(|why| format!("\n* {why}")).collect();
        lines.extend(self.pods.iter().take(MAX_REASONS).map(|(why, pods)| {
            let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
            format!("\n* {}: {why}", named("Pod", &pods))
        }));
        if let Some(more) = self.pods.len().checked_sub(MAX_REASONS).filter(|more| *more > 0) {
            lines.push(format!("\n* and {more} more reasons"));
        }
        lines.concat()
    }
}

fn shown(why: &str) -> String {
    capn_text::display::line(why, LONGEST).into_owned()
}

/// Marks a node as unschedulable.
pub(super) async fn cordon(
    ctx: &Context,
    machine: &Machine,
    observed: &Observed,
    node: &str,
) -> Result<(), DrainBlockers> {
    let done = async {
        let nodes: Api<Node> = Api::all(workload(ctx, machine, observed).await?);
        let change = json!({ "spec": { "unschedulable": true } });
        let params = PatchParams::default();
        ask(machine, "cordon the node", nodes.patch(node, &params, &Patch::Merge(&change))).await
    };
    done.await.map_err(|error| DrainBlockers::node(&chain(&error)))
}

/// Evicts pods independently of each other.
pub(super) async fn evict(
    ctx: &Context,
    machine: &Machine,
    observed: &Observed,
    pods: &[Evict],
) -> DrainBlockers {
    let client = match workload(ctx, machine, observed).await {
        Ok(client) => client,
        Err(error) => return DrainBlockers::node(&chain(&error)),
    };
    let mut blockers = DrainBlockers::default();
    let end = Instant::now() + PASS;
    for pod in turned(pods) {
        if ctx.stop.is_cancelled() {
            break;
        }
        if Instant::now() >= end {
            blockers.node = Some(SLOW.to_owned());
            break;
        }
        match evict_one(&client, pod).await {
            Ok(()) => {}
            Err(error) => match refusal(&error) {
                Some(why) => blockers.pod(pod, &why),
                // Without a response, the remaining requests would time out too.
                None => {
                    blockers.node = Some(shown(&chain(&error)));
                    break;
                }
            },
        }
    }
    blockers
}

/// Returns the pods, starting at a different one each second, so that the last ones get their turn
/// even if a reconcile does not reach all of them.
fn turned(pods: &[Evict]) -> impl Iterator<Item = &Evict> {
    let now = usize::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    let (end, begin) = pods.split_at(now.checked_rem(pods.len()).unwrap_or_default());
    begin.iter().chain(end)
}

async fn evict_one(client: &Client, pod: &Evict) -> Result<(), cluster::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = EvictParams {
        delete_options: pod.grace_period_seconds.map(|seconds| DeleteParams {
            grace_period_seconds: Some(seconds),
            ..DeleteParams::default()
        }),
        ..EvictParams::default()
    };
    let request = async {
        match pods.evict(&pod.name, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    };
    answer("evict a pod", ANSWER_WITHIN, request).await
}

/// Returns why an API server rejected an eviction, with the name of the disruption budget. `None`
/// if the error did not come from the API server.
fn refusal(error: &cluster::Error) -> Option<String> {
    let cluster::Error::Request { source, .. } = error else { return None };
    let status = match source.as_ref() {
        kube::Error::Api(status) => status,
        kube::Error::BuildRequest(_) => {
            return Some("its name cannot be used in a request".to_owned());
        }
        _ => return None,
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    if causes.clone().any(|cause| cause.reason == NAMESPACE_TERMINATING) {
        return Some("its namespace is being deleted".to_owned());
    }
    let mut why = status.message.trim().to_owned();
    for cause in causes.filter(|cause| !cause.message.is_empty()) {
        if !why.is_empty() {
            why.push(' ');
        }
        why.push_str(&cause.message);
    }
    if why.is_empty() {
        why = format!("the API server responds with {}", status.code);
    }
    Some(why)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(status: serde_json::Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        let source = Box::new(kube::Error::Api(Box::new(status)));
        refusal(&cluster::Error::Request { act: "evict a pod", source }).unwrap()
    }

    #[test]
    fn a_refusal_names_the_budget_or_the_namespace() {
        let budget = json!({ "code": 429, "reason": "TooManyRequests",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": { "causes": [{ "reason": "DisruptionBudget",
                "message": "The disruption budget db needs 2 healthy pods and has 2 currently" }] } });
        assert_eq!(
            refused(budget),
            "Cannot evict pod as it would violate the pod's disruption budget. The disruption budget \
             db needs 2 healthy pods and has 2 currently"
        );
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                   does not support.";
        assert_eq!(refused(json!({ "code": 500, "message": two })), two);
        let deleting_message = json!({ "code": 403, "message": "x", "details": { "causes": [
            { "reason": NAMESPACE_TERMINATING, "message": "namespace a is being terminated" }] } });
        assert_eq!(refused(deleting_message), "its namespace is being deleted");
        assert_eq!(refused(json!({ "code": 503 })), "the API server responds with 503");
    }

    #[test]
    fn blockers_are_grouped_by_reason_and_limited() {
        let pod = |name: &str| Evict {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            grace_period_seconds: None,
        };
        assert_eq!(DrainBlockers::default().lines(), "");
        let mut blockers = DrainBlockers::default();
        blockers.pod(&pod("b"), "two budgets");
        blockers.pod(&pod("a"), "two budgets");
        blockers.pod(&pod("c"), "going");
        assert_eq!(
            blockers.lines(),
            "\n* Pod default/c: going\n* Pods default/a, default/b: two budgets"
        );
        for reason in 0..20 {
            blockers.pod(&pod("d"), &format!("{reason} {}", "x".repeat(1000)));
        }
        let lines = blockers.lines();
        assert!(lines.ends_with("\n* and 17 more reasons"), "{lines}");
        assert!(lines.len() < 2000, "{}", lines.len());
    }
}
