//! Tests of the order of machines, and of the first machine of a cluster.

use super::super::super::workload::may_have_api_server;
use super::*;

#[test]
fn the_least_useful_machines_are_replaced_first() {
    let last_two = "d:ok e:ok f:ok g:ok";
    for (machines, first) in [
        ("a:marked b:marked c:marked", "a"),
        ("a:marked b:api c:marked", "b"),
        ("a:marked b:api c:etcd", "c"),
        ("a:api b:etcd c:lost", "c"),
        ("a:etcd b:lost c:wished", "c"),
        ("a:wished b:wished c:lost", "a"),
        ("a:lost b:lost c:etcd", "a"),
        ("a:etcd b:etcd c:api", "a"),
    ] {
        let seven = kcp(json!({ "replicas": 7 }));
        let observed = situation(&seven, &format!("{machines} {last_two}"));
        let expected = format!("note {first} 0, delete {first}");
        assert_eq!(outcome(&seven, &observed), expected, "{machines}");
    }
}

#[test]
fn before_the_control_plane_is_initialized_the_first_machine_may_be_replaced() {
    let wait = "wait for Initialization";
    check(&[
        ("nothing is wrong", 1, "a:first", "", wait),
        ("the only one", 1, "a:first!", "", "note a 0, delete a"),
        ("the first of three", 3, "a:first! b:joiner c:joiner", "", "note a 0, delete a"),
        ("all of three", 3, "a:first! b:joiner! c:joiner!", "", "note a 0, delete a"),
        ("the first is the newest", 3, "b:joiner! c:joiner! d:first!", "", "note d 0, delete d"),
        (
            "one that waits for the first",
            3,
            "a:first b:joiner! c:joiner",
            "",
            "wait for Initialization | b RemediationDeferred",
        ),
        ("the first is going", 1, "a:first-", "a", wait),
        (
            "nothing is made in its place before it is gone",
            3,
            "a:first- b:joiner",
            "a",
            "wait for Machines",
        ),
        ("it is gone", 3, "b:joiner c:joiner", "a", "initialize for a"),
        ("the only one is gone", 1, "", "a", "initialize for a"),
        ("it is well again", 1, "a:first", "a", "forget the note"),
        ("a pass ended before it was deleted", 1, "a:first!", "a", "delete a"),
    ]);
}

#[test]
fn a_deleted_first_machine_does_not_initialize_the_control_plane() {
    let three = kcp(json!({ "replicas": 3 }));
    for (machines, is_asked) in [
        ("a:first", true),
        ("a:first b:joiner", true),
        ("a:first-", false),
        ("a:first- b:joiner c:joiner", false),
        ("a:first- b:joiner d:first", true),
    ] {
        assert_eq!(may_have_api_server(&situation(&three, machines)), is_asked, "{machines}");
    }
}
