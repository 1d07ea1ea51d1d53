//! Asks a workload cluster to empty a node. What stands in the way is told, and holds up nothing else.

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

/// The longest reason that is told, in bytes, and how many different ones.
const LONGEST: usize = 300;
const MAX_REASONS: usize = 5;
/// How long one pass of a drain may take: what else it looks at, the time that a drain may take in all among it, comes
/// between two passes.
const PASS: Duration = Duration::from_secs(20);
const SLOW: &str = "the API server is slow to take evictions";
/// Cause by which an API server says that a namespace is being deleted.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// What stands in the way of a drain: pods by the reason why they stay, or the whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Obstacles {
    node: Option<String>,
    pods: BTreeMap<String, Vec<String>>,
}

impl Obstacles {
    fn node(why: &str) -> Self {
        Self { node: Some(shown(why)), pods: BTreeMap::new() }
    }

    fn pod(&mut self, pod: &Evict, why: &str) {
        let name = format!("{}/{}", pod.namespace, pod.name);
        self.pods.entry(shown(why)).or_default().push(name);
    }

    /// A line for each reason, to be put after what a drain waits for. Empty if nothing is in the way.
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
    capn_text::shown::line(why, LONGEST).into_owned()
}

/// Keeps new pods off a node.
pub(super) async fn cordon(
    ctx: &Context,
    machine: &Machine,
    seen: &Observed,
    node: &str,
) -> Result<(), Obstacles> {
    let done = async {
        let nodes: Api<Node> = Api::all(workload(ctx, machine, seen).await?);
        let change = json!({ "spec": { "unschedulable": true } });
        let params = PatchParams::default();
        ask(machine, "cordon the node", nodes.patch(node, &params, &Patch::Merge(&change))).await
    };
    done.await.map_err(|error| Obstacles::node(&chain(&error)))
}

/// Asks pods to leave, each whatever became of the others.
pub(super) async fn evict(
    ctx: &Context,
    machine: &Machine,
    seen: &Observed,
    pods: &[Evict],
) -> Obstacles {
    let client = match workload(ctx, machine, seen).await {
        Ok(client) => client,
        Err(error) => return Obstacles::node(&chain(&error)),
    };
    let mut obstacles = Obstacles::default();
    let end = Instant::now() + PASS;
    for pod in turned(pods) {
        if ctx.stop.is_cancelled() {
            break;
        }
        if Instant::now() >= end {
            obstacles.node = Some(SLOW.to_owned());
            break;
        }
        match evict_one(&client, pod).await {
            Ok(()) => {}
            Err(error) => match refusal(&error) {
                Some(why) => obstacles.pod(pod, &why),
                // Nobody answers: the others would wait for nothing as well.
                None => {
                    obstacles.node = Some(shown(&chain(&error)));
                    break;
                }
            },
        }
    }
    obstacles
}

/// The same pods, beginning with another one each second: those at the end have their turn too, where one pass does
/// not come to all of them.
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

/// Why an API server does not let a pod leave, with the disruption budget that it names. `None` if it
/// was not the API server that answered.
fn refusal(error: &cluster::Error) -> Option<String> {
    let cluster::Error::Request { source, .. } = error else { return None };
    let status = match source.as_ref() {
        kube::Error::Api(status) => status,
        kube::Error::BuildRequest(_) => return Some("its name cannot be asked for".to_owned()),
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
        why = format!("the API server answers {}", status.code);
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
        let going = json!({ "code": 403, "message": "x", "details": { "causes": [
            { "reason": NAMESPACE_TERMINATING, "message": "namespace a is being terminated" }] } });
        assert_eq!(refused(going), "its namespace is being deleted");
        assert_eq!(refused(json!({ "code": 503 })), "the API server answers 503");
    }

    #[test]
    fn obstacles_are_told_by_reason_and_in_bounds() {
        let pod = |name: &str| Evict {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            grace_period_seconds: None,
        };
        assert_eq!(Obstacles::default().lines(), "");
        let mut obstacles = Obstacles::default();
        obstacles.pod(&pod("b"), "two budgets");
        obstacles.pod(&pod("a"), "two budgets");
        obstacles.pod(&pod("c"), "going");
        assert_eq!(
            obstacles.lines(),
            "\n* Pod default/c: going\n* Pods default/a, default/b: two budgets"
        );
        for reason in 0..20 {
            obstacles.pod(&pod("d"), &format!("{reason} {}", "x".repeat(1000)));
        }
        let lines = obstacles.lines();
        assert!(lines.ends_with("\n* and 17 more reasons"), "{lines}");
        assert!(lines.len() < 2000, "{}", lines.len());
    }
}
