//! Tests of external remediation requests.

use serde_json::{Value, json};

use super::*;

fn with_template() -> Value {
    json!({ "templateRef": { "apiVersion": "foo.io/v1", "kind": "FooRemediationTemplate", "name": "t" } })
}

fn request(owner: &str) -> BTreeMap<String, RemediationRequest> {
    let observed = RemediationRequest { owners: vec![owner.to_owned()], is_deleting: false };
    BTreeMap::from([("a".to_owned(), observed)])
}

#[test]
fn an_object_of_another_program_repairs_a_machine() {
    let template = || external("FooRemediationTemplate", "t", json!({}));
    let waiting = || {
        listed(vec![
            holds("ExternallyRemediated", "False", "WaitingForRemediation"),
            holds("HealthCheckSucceeded", "False", "UnhealthyNode"),
        ])
    };
    let failed = || listed(vec![holds("ExternallyRemediated", "False", CREATION_FAILED)]);
    let theirs = || listed(vec![holds("ExternallyRemediated", "Unknown", "Rebooting")]);
    let none = BTreeMap::new;
    let ours = || request("uid-a");
    let wait = Some("False/WaitingForRemediation");
    for (name, target, template, requests, expected, condition, is_held_up) in [
        ("made", bad("a", json!({})), template(), none(), Some(Request::Make), wait, false),
        ("there", bad("a", waiting()), template(), ours(), Some(Request::Keep), wait, false),
        (
            "there after all",
            bad("a", failed()),
            template(),
            ours(),
            Some(Request::Keep),
            wait,
            false,
        ),
        ("made anew", bad("a", waiting()), template(), none(), Some(Request::Make), wait, false),
        (
            "under way",
            bad("a", theirs()),
            template(),
            ours(),
            Some(Request::Keep),
            Some("Unknown/Rebooting"),
            false,
        ),
        (
            "of another",
            bad("a", json!({})),
            template(),
            request("uid-b"),
            Some(Request::Keep),
            Some("False/RemediationRequestCreationFailed"),
            true,
        ),
        (
            "no template",
            bad("a", json!({})),
            Lookup::Missing,
            none(),
            Some(Request::Keep),
            Some("False/RemediationTemplateNotFound"),
            true,
        ),
        (
            "healthy again",
            good("a", waiting()),
            template(),
            ours(),
            Some(Request::Delete),
            None,
            false,
        ),
        (
            "healthy, of another",
            good("a", json!({})),
            template(),
            request("uid-b"),
            Some(Request::Keep),
            None,
            false,
        ),
        (
            "healthy",
            good("a", json!({})),
            Lookup::Missing,
            none(),
            Some(Request::Keep),
            None,
            false,
        ),
    ] {
        let observed = Observed { template, requests, ..observed(vec![target]) };
        let plan = planned(with_template(), &observed);
        let change = plan.changes.first();
        assert_eq!(change.map(|change| change.request), expected, "{name}");
        let found = change.map(said).unwrap_or_default();
        let external = found.iter().find_map(|text| text.strip_prefix("ExternallyRemediated="));
        assert_eq!(external, condition, "{name}");
        assert!(!found.contains(&HANDED_OVER.to_owned()), "{name}: the owner has nothing to do");
        assert_eq!(plan.is_held_up, is_held_up, "{name}");
    }
}

#[test]
fn no_remediation_is_requested_if_too_many_are_unhealthy() {
    let mut remediation = with_template();
    remediation["triggerIf"] = json!({ "unhealthyLessThanOrEqualTo": 0 });
    let template = external("FooRemediationTemplate", "t", json!({}));
    let observed = Observed { template, ..observed(vec![bad("a", json!({}))]) };
    let plan = planned(remediation, &observed);
    assert_eq!(plan.changes[0].request, Request::Keep);
    assert_eq!(said(&plan.changes[0]), [BROKEN]);
    assert_eq!(plan.changes[0].news, None);
}
