//! Tests of the status of a health check and of its events.

use serde_json::{Value, json};

use super::*;
use crate::testing::now;

fn check(status: Value) -> MachineHealthCheck {
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
        "metadata": { "name": "mhc", "namespace": "ns", "generation": 2 },
        "spec": { "clusterName": "c", "selector": { "matchLabels": { "a": "b" } } },
        "status": status,
    }))
    .unwrap()
}

fn plan(allowance: Allowance, broken: usize) -> Plan {
    Plan {
        changes: Vec::new(),
        allowance,
        targets: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        healthy: 2,
        broken,
        is_worse: false,
        next: None,
        is_held_up: false,
        doubtful: Vec::new(),
    }
}

fn restricted() -> Plan {
    plan(Allowance::Restricted("too many".to_owned()), 1)
}

#[test]
fn counts_and_the_condition_say_what_was_found() {
    for (plan, remediations, condition) in [
        (plan(Allowance::Allowed(2), 1), 2, ("True", "RemediationAllowed", "")),
        (restricted(), 0, ("False", "TooManyUnhealthy", "too many")),
    ] {
        let status = status(&check(json!({ "observedGeneration": 1 })), &plan, true, now());
        assert_eq!(status.expected_machines, Some(3));
        assert_eq!(status.current_healthy, Some(2));
        assert_eq!(status.remediations_allowed, Some(remediations));
        assert_eq!(status.targets.as_ref().unwrap(), &plan.targets);
        assert_eq!(status.observed_generation, Some(2));
        let list = status.conditions.as_ref();
        let allowed = conditions::get(list, conditions::REMEDIATION_ALLOWED).unwrap();
        let (status, reason, message) = (&allowed.status, &allowed.reason, &allowed.message);
        assert_eq!((status.as_str(), reason.as_str(), message.as_str()), condition);
        assert_eq!(conditions::status(list, conditions::PAUSED), Some(Status::False));
    }
}

#[test]
fn a_failed_pass_does_not_update_the_observed_generation() {
    let before = check(json!({ "observedGeneration": 1 }));
    let status = status(&before, &plan(Allowance::Allowed(2), 1), false, now());
    assert_eq!(status.observed_generation, Some(1));
}

#[test]
fn a_restriction_is_reported_once_and_only_if_a_machine_is_unhealthy() {
    let told = |check: &MachineHealthCheck, plan: &Plan| {
        news(check, &status(check, plan, true, now()), plan).map(|news| (news.reason, news.note))
    };
    let first = check(json!({}));
    let event = ("RemediationRestricted", "too many".to_owned());
    assert_eq!(told(&first, &restricted()), Some(event.clone()));
    let said = status(&first, &restricted(), true, now());
    let again = check(serde_json::to_value(&said).unwrap());
    assert_eq!(told(&again, &restricted()), None);
    let worse = plan(Allowance::Restricted("even more".to_owned()), 2);
    assert_eq!(told(&again, &worse), Some((event.0, "even more".to_owned())));
    let worse = Plan { is_worse: true, ..restricted() };
    assert!(told(&again, &worse).is_some(), "it was said before a machine was broken");
    assert_eq!(told(&first, &plan(Allowance::Restricted("none yet".to_owned()), 0)), None);
    assert_eq!(told(&first, &plan(Allowance::Allowed(1), 1)), None);
}
