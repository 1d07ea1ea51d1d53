//! Tests of the replacement of unhealthy machines.

use capi_api::controlplane::{REMEDIATION_FOR, REMEDIATION_IN_PROGRESS};

use super::*;

mod first;
mod limits;

/// Sets conditions to false.
fn fails(owned: &mut OwnedMachine, kinds: &[&str]) {
    let status = owned.machine.status.get_or_insert_default();
    let list = status.conditions.get_or_insert_default();
    for kind in kinds {
        list.retain(|condition| condition.type_ != *kind);
        let condition = json!({
            "type": kind, "status": "False", "reason": "R", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        });
        list.push(serde_json::from_value(condition).unwrap());
    }
}

/// A machine, by a keyword for its state. An appended star makes it the etcd leader.
fn machine_of(kcp: &KubeadmControlPlane, name: &str, state: &str, age: i64) -> OwnedMachine {
    let marks = [conditions::HEALTH_CHECK_SUCCEEDED, conditions::OWNER_REMEDIATED];
    let etcd = [health::ETCD_MEMBER_HEALTHY, health::ETCD_POD_HEALTHY];
    let new = || owned(kcp, name, age);
    let mut found = match state.trim_end_matches('*') {
        "new" | "lost" | "first" | "first!" => new(),
        "joiner" | "joiner!" => joining(kcp, name),
        "first-" => deleting(new(), "DrainingNode"),
        "going" | "leaving" => deleting(well(new()), "DrainingNode"),
        _ => well(new()),
    };
    match state.trim_end_matches('*') {
        "marked" | "lost" | "leaving" | "first!" | "joiner!" | "silent" => {
            fails(&mut found, &marks);
        }
        "wished" => {
            fails(&mut found, &marks);
            found.machine.annotations_mut().insert(labels::REMEDIATE_MACHINE.into(), "".into());
        }
        "etcd" => {
            fails(&mut found, &marks);
            fails(&mut found, &etcd);
        }
        "api" => {
            fails(&mut found, &marks);
            fails(&mut found, &[health::API_SERVER_POD_HEALTHY]);
        }
        // Unhealthy, but no health check reports it.
        "sick" => fails(&mut found, &etcd),
        "ok" | "new" | "going" | "first" | "first-" | "joiner" => {}
        other => panic!("{other}"),
    }
    found
}

/// Machines such as `a:ok b:etcd`, oldest first, in a cluster where etcd responds.
fn situation(kcp: &KubeadmControlPlane, text: &str) -> Observed {
    let pairs: Vec<(&str, &str)> =
        text.split_whitespace().map(|pair| pair.split_once(':').unwrap()).collect();
    let machines: Vec<_> = pairs
        .iter()
        .zip(1_i64..)
        .map(|((name, state), at)| machine_of(kcp, name, state, 1000 - at))
        .collect();
    let mut observed = observation(machines);
    let mut components = Components::default();
    let mut members = Vec::new();
    let mut leader = None;
    for ((owned, (name, state)), id) in observed.machines.iter().zip(&pairs).zip(1_u64..) {
        if owned.machine.node_name().is_none() {
            continue;
        }
        members.push(json!({ "ID": id.to_string(), "name": name }));
        if state.ends_with('*') || (leader.is_none() && *state == "ok") {
            leader = Some(json!({ "leader": id.to_string() }));
        }
        let ready = if state.starts_with("silent") { "Unknown" } else { "True" };
        let node = json!({
            "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        });
        components.nodes.insert((*name).to_owned(), serde_json::from_value(node).unwrap());
    }
    let list = json!({ "members": members });
    let view = etcd::View::read(list, json!({ "alarms": [] }), leader.unwrap_or(json!({})));
    components.etcd = EtcdState::Answered(view.unwrap());
    if observed.initialized {
        observed.view = View::Reachable(components);
    }
    observed
}

fn record(machine: &str, since: i64, tries: i32) -> String {
    let at = now() - SignedDuration::from_secs(since);
    json!({ "machine": machine, "timestamp": at.to_string(), "retryCount": tries }).to_string()
}

/// Formats the plan and, after a bar, the state of waiting machines.
fn outcome(kcp: &KubeadmControlPlane, observed: &Observed) -> String {
    let plan = decide(kcp, observed);
    let said: Vec<_> =
        plan.remediation.iter().map(|(name, said)| format!("{name} {}", said.reason)).collect();
    let words = words(&plan);
    if said.is_empty() { words } else { format!("{words} | {}", said.join(", ")) }
}

/// Rows: description, replicas, machines, the recorded machine, outcome.
fn check(rows: &[(&str, i32, &str, &str, &str)]) {
    for (what, replicas, machines, noted, expected) in rows {
        let mut kcp = kcp(json!({ "replicas": replicas }));
        if !noted.is_empty() {
            let text = if *noted == "garbage" { "{".into() } else { record(noted, 60, 0) };
            kcp.annotations_mut().insert(REMEDIATION_IN_PROGRESS.into(), text);
        }
        assert_eq!(outcome(&kcp, &situation(&kcp, machines)), *expected, "{what}: {machines}");
    }
}

const CANNOT: &str = " | a CannotBeRemediated";

#[test]
fn an_unhealthy_machine_is_replaced_while_etcd_keeps_its_quorum() {
    check(&[
        ("one, well", 1, "a:ok", "", ""),
        ("one of one", 1, "a:etcd", "", CANNOT),
        ("one of one that its user gave up", 1, "a:wished", "", CANNOT),
        ("one of one whose API server is down", 1, "a:api", "", CANNOT),
        ("one of two, during a rollout", 1, "a:etcd b:ok", "", "note a 0, delete a"),
        (
            "two of two",
            1,
            "a:etcd b:etcd",
            "",
            "wait for Preflight | a CannotBeRemediated, b CannotBeRemediated",
        ),
        ("three, well", 3, "a:ok b:ok c:ok", "", ""),
        ("unhealthy, and no health check says so", 3, "a:ok b:ok c:sick", "", ""),
        ("a member", 3, "a:ok b:ok c:etcd", "", "note c 0, delete c"),
        ("an API server", 3, "a:ok b:api c:ok", "", "note b 0, delete b"),
        ("a node", 3, "a:marked b:ok c:ok", "", "note a 0, delete a"),
        ("a machine that never became a node", 3, "a:ok b:ok c:lost", "", "note c 0, delete c"),
        ("a wish", 3, "a:ok b:ok c:wished", "", "note c 0, delete c"),
        (
            "two API servers of three, one at a time",
            3,
            "a:ok b:api c:api",
            "",
            "note b 0, delete b",
        ),
        (
            "two members of three",
            3,
            "a:ok b:etcd c:etcd",
            "",
            " | b CannotBeRemediated, c CannotBeRemediated",
        ),
        ("another of three is not well", 3, "a:ok b:sick c:etcd", "", " | c CannotBeRemediated"),
        (
            "all three",
            3,
            "a:etcd b:etcd c:etcd",
            "",
            " | a CannotBeRemediated, b CannotBeRemediated, c CannotBeRemediated",
        ),
        (
            "a wish that has to wait for quorum's sake",
            3,
            "a:ok b:wished c:etcd",
            "",
            "note c 0, delete c",
        ),
        ("too many, of which one is unhealthy", 1, "a:ok b:ok c:etcd", "", "note c 0, delete c"),
        ("one member of five", 5, "a:ok b:ok c:ok d:ok e:etcd", "", "note e 0, delete e"),
        (
            "another of five is not well",
            5,
            "a:ok b:ok c:ok d:sick e:etcd",
            "",
            "note e 0, delete e",
        ),
        ("two members of five", 5, "a:ok b:ok c:ok d:etcd e:etcd", "", "note d 0, delete d"),
        (
            "two others of five are not well",
            5,
            "a:ok b:ok c:sick d:sick e:etcd",
            "",
            " | e CannotBeRemediated",
        ),
        (
            "three members of five",
            5,
            "a:ok b:ok c:etcd d:etcd e:etcd",
            "",
            " | c CannotBeRemediated, d CannotBeRemediated, e CannotBeRemediated",
        ),
        (
            "one member of seven",
            7,
            "a:ok b:ok c:ok d:ok e:ok f:ok g:etcd",
            "",
            "note g 0, delete g",
        ),
        (
            "two others of seven are not well",
            7,
            "a:ok b:ok c:ok d:ok e:sick f:sick g:etcd",
            "",
            "note g 0, delete g",
        ),
        (
            "three members of seven",
            7,
            "a:ok b:ok c:ok d:ok e:etcd f:etcd g:etcd",
            "",
            "note e 0, delete e",
        ),
        (
            "three others of seven are not well",
            7,
            "a:ok b:ok c:ok d:sick e:sick f:sick g:etcd",
            "",
            " | g CannotBeRemediated",
        ),
    ]);
}

#[test]
fn one_machine_is_replaced_at_a_time() {
    check(&[
        ("another is made", 3, "a:ok b:new c:etcd", "", " | c RemediationDeferred"),
        (
            "another of five is made",
            5,
            "a:ok b:ok c:etcd d:ok e:new",
            "",
            " | c RemediationDeferred",
        ),
        (
            "another was never made, and goes first",
            5,
            "a:ok b:ok c:etcd d:ok e:lost",
            "",
            "note e 0, delete e",
        ),
        ("another goes", 3, "a:ok b:going c:etcd", "", " | c RemediationDeferred"),
        (
            "another goes for the same reason",
            3,
            "a:ok b:leaving c:api",
            "b",
            " | c RemediationDeferred",
        ),
        (
            "another goes, and nothing says so",
            3,
            "a:ok b:leaving c:api",
            "",
            " | c RemediationDeferred",
        ),
        ("it goes itself", 3, "a:ok b:ok c:leaving", "c", ""),
        ("the leader hands over first", 3, "a:api* b:ok c:ok", "", "note a 0, a hands over"),
        ("and is deleted then", 3, "a:api b:ok* c:ok", "a", "delete a"),
        ("a pass ended before it handed over", 3, "a:api* b:ok c:ok", "a", "a hands over"),
        (
            "a leader on a silent node cannot hand over",
            3,
            "a:silent* b:ok c:ok",
            "",
            "note a 0, delete a",
        ),
        ("a pass ended before it was deleted", 3, "a:ok b:ok c:etcd", "c", "delete c"),
        ("the one that is noted first", 5, "a:ok b:etcd c:api d:ok e:ok", "c", "delete c"),
        ("it is well again", 3, "a:ok b:ok c:ok", "c", "forget the note"),
        ("it is not handed over any more", 3, "a:ok b:ok c:sick", "c", "forget the note"),
        ("it may not go any more", 3, "a:ok b:sick c:etcd", "c", "forget the note"),
        ("a note that nobody can read", 3, "a:ok b:ok c:ok", "garbage", "forget the note"),
    ]);
}

#[test]
fn the_next_machine_replaces_the_one_that_is_gone() {
    check(&[
        ("it joins", 3, "a:ok b:ok", "c", "join for c"),
        ("none is wanted", 1, "a:ok", "c", "forget the note"),
        ("there are enough", 3, "a:ok b:ok d:ok", "c", "forget the note"),
        ("too many, even", 1, "a:ok b:ok", "c", "forget the note"),
        ("another is not well", 3, "a:ok b:sick", "c", "wait for Preflight"),
        (
            "another is to go, and hinders nobody",
            3,
            "a:ok b:marked",
            "c",
            "join for c | b RemediationDeferred",
        ),
        (
            "another is to go before one can join",
            5,
            "a:ok b:ok c:ok d:etcd",
            "e",
            "note d 0, delete d",
        ),
        (
            "two are, of which one does not hinder",
            5,
            "a:ok b:ok c:marked d:api",
            "e",
            "note d 0, delete d | c RemediationDeferred",
        ),
        (
            "another is to go, but may not",
            5,
            "a:ok b:ok c:sick d:etcd f:going",
            "e",
            " | d RemediationDeferred",
        ),
    ]);
    let mut three = kcp(json!({ "replicas": 3 }));
    let text = record("c", 60, 2);
    three.annotations_mut().insert(REMEDIATION_IN_PROGRESS.into(), text.clone());
    let mut observed = situation(&three, "a:ok b:ok d:new");
    observed.machines[2].machine.annotations_mut().insert(REMEDIATION_FOR.into(), text);
    assert_eq!(outcome(&three, &observed), "forget the note", "a pass ended after it was made");
    let other = record("c", 90, 2);
    observed.machines[2].machine.annotations_mut().insert(REMEDIATION_FOR.into(), other);
    observed.machines.remove(1);
    assert_eq!(
        outcome(&three, &observed),
        "wait for Preflight",
        "one of an earlier time is another"
    );
}
