//! Tests of the limits of replacements, and of the conditions.

use super::super::super::observe::wanted;
use super::*;

#[test]
fn retries_have_limits() {
    let limits = |max: Option<i32>, pause: i32, healthy: Option<i32>| json!({ "maxRetry": max, "retryPeriodSeconds": pause, "minHealthyPeriodSeconds": healthy });
    let (begins, deferred, cannot) =
        ("note c 0, delete c", " | c RemediationDeferred", " | c CannotBeRemediated");
    for (what, limits, since, tries, expected) in [
        ("no limits", json!(null), 60, 0, "note c 1, delete c"),
        ("many tries without a limit", json!(null), 60, 41, "note c 42, delete c"),
        ("well for almost long enough", json!(null), 3599, 4, "note c 5, delete c"),
        ("well for long", json!(null), 3600, 4, begins),
        ("well for long, and the limit counts no more", limits(Some(1), 0, None), 3600, 4, begins),
        ("a period of its own", limits(None, 0, Some(10)), 9, 4, "note c 5, delete c"),
        ("its end", limits(None, 0, Some(10)), 10, 4, begins),
        ("no period", limits(Some(0), 0, Some(0)), 0, 4, begins),
        ("too soon", limits(None, 300, None), 299, 0, deferred),
        ("soon enough", limits(None, 300, None), 300, 0, "note c 1, delete c"),
        ("too soon, and too often", limits(Some(1), 300, None), 299, 1, deferred),
        ("the last retry", limits(Some(3), 0, None), 60, 2, "note c 3, delete c"),
        ("no retry is left", limits(Some(3), 0, None), 60, 3, cannot),
        ("more than were allowed", limits(Some(3), 0, None), 60, 9, cannot),
        ("none is allowed", limits(Some(0), 0, None), 60, 0, cannot),
    ] {
        let kcp = kcp(json!({ "replicas": 3, "remediation": limits }));
        let mut observed = situation(&kcp, "a:ok b:ok c:etcd");
        let annotations = observed.machines[2].machine.annotations_mut();
        annotations.insert(REMEDIATION_FOR.into(), record("x", since, tries));
        assert_eq!(outcome(&kcp, &observed), expected, "{what}");
    }
    let strict = kcp(json!({ "replicas": 3, "remediation": limits(Some(0), 300, None) }));
    let mut observed = situation(&strict, "a:ok b:ok c:etcd");
    assert_eq!(outcome(&strict, &observed), begins, "the first replacement is no retry");
    for broken in
        ["{", "{}", r#"{"machine":"x","retryCount":3}"#, r#"{"machine":"x","retryCount":-1}"#]
    {
        let annotations = observed.machines[2].machine.annotations_mut();
        annotations.insert(REMEDIATION_FOR.into(), broken.into());
        assert_eq!(outcome(&strict, &observed), begins, "what a user has broken: {broken}");
    }
    let annotations = observed.machines[2].machine.annotations_mut();
    annotations.insert(REMEDIATION_FOR.into(), record("x", 100, 0));
    assert_eq!(decide(&strict, &observed).recheck, Some(std::time::Duration::from_secs(200)));
}

#[test]
fn nothing_is_replaced_without_a_template_or_a_response_of_etcd() {
    let three = kcp(json!({ "replicas": 3 }));
    let mut observed = situation(&three, "a:ok b:ok c:etcd");
    observed.template = Lookup::Missing;
    assert_eq!(outcome(&three, &observed), " | c RemediationDeferred");
    let mut observed = situation(&three, "a:ok b:ok c:etcd");
    observed.view = View::Silent;
    assert_eq!(outcome(&three, &observed), " | c RemediationDeferred");
    assert_eq!(decide(&three, &observed).recheck, Some(std::time::Duration::from_secs(10)));
    let external = kcp(json!({ "replicas": 3, "kubeadmConfigSpec": { "clusterConfiguration": {
        "etcd": { "external": {
            "endpoints": ["https://192.0.2.2:2379"], "caFile": "a", "certFile": "b", "keyFile": "c",
        } },
    } } }));
    let mut observed = situation(&external, "a:ok b:api c:api");
    observed.view = View::Silent;
    let pair = PemPair { certificate: "c".into(), private_key: "k".into() };
    let purposes = wanted(&external).purposes();
    observed.certificates = purposes.into_iter().map(|purpose| (purpose, pair.clone())).collect();
    assert_eq!(outcome(&external, &observed), "note b 0, delete b", "etcd is not on the machines");
}

#[test]
fn conditions_and_status_say_what_is_done() {
    let mut three = kcp(json!({ "replicas": 3 }));
    let report = |kcp: &KubeadmControlPlane, machines: &str| {
        let mut observed = situation(kcp, machines);
        let plan = decide(kcp, &observed);
        // Nothing new is known of the machines, so their conditions stay.
        observed.view = View::Silent;
        let valid = validate(kcp).unwrap();
        let known =
            StatusInputs { kcp, observed: &observed, valid: Some(&valid), plan: &plan, now: now() };
        let lists: Vec<_> = observed
            .machines
            .iter()
            .map(|owned| (owned.name(), machine_conditions(known, owned)))
            .collect();
        let status = status(known, &lists);
        let found = conditions::get(status.conditions.as_ref(), conditions::REMEDIATING).unwrap();
        let own = lists.last().unwrap().1.get(conditions::OWNER_REMEDIATED);
        let own = own.map(|own| own.reason.clone()).unwrap_or_default();
        (found.status.clone(), found.message.clone(), own, status.last_remediation)
    };
    let (status, message, own, last) = report(&three, "a:ok b:sick c:etcd");
    assert_eq!((status.as_str(), own.as_str()), ("True", "CannotBeRemediated"));
    let expected = "* Machine c: etcd needs 2 healthy members of 2, and would have 1 without c";
    assert_eq!(message, expected);
    assert_eq!(last, None);
    let (status, message, own, _) = report(&three, "a:ok b:ok c:leaving");
    assert_eq!((status.as_str(), own.as_str()), ("True", "MachineDeleting"));
    assert_eq!(message, "* Machine c: Machine is deleting");
    let (status, message, own, _) = report(&three, "a:ok b:ok c:ok");
    assert_eq!((status.as_str(), message.as_str(), own.as_str()), ("False", "", ""));

    three.annotations_mut().insert(REMEDIATION_IN_PROGRESS.into(), record("c", 60, 2));
    let last = report(&three, "a:ok b:ok").3.unwrap();
    assert_eq!((last.machine.as_str(), last.retry_count), ("c", 2));
    assert_eq!(last.time.0, now() - SignedDuration::from_secs(60));
}

#[test]
fn a_recovered_machine_waits_for_nothing() {
    let three = kcp(json!({ "replicas": 3 }));
    let mut observed = situation(&three, "a:ok b:ok c:marked");
    let list = observed.machines[2].machine.status.as_mut().unwrap().conditions.as_mut().unwrap();
    for condition in list {
        if condition.type_ == conditions::HEALTH_CHECK_SUCCEEDED {
            condition.status = "True".into();
        }
    }
    let valid = validate(&three).unwrap();
    let plan = decide(&three, &observed);
    assert_eq!(words(&plan), "");
    let known = StatusInputs {
        kcp: &three,
        observed: &observed,
        valid: Some(&valid),
        plan: &plan,
        now: now(),
    };
    let list = machine_conditions(known, &observed.machines[2]);
    assert_eq!(list.get(conditions::OWNER_REMEDIATED), None);
}
