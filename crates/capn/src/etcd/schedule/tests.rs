use std::sync::atomic::Ordering;

use k8s_openapi::api::events::v1::Event as Told;

use super::*;
use crate::etcd::testing::{Etcd, make_authority, make_cluster};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// A plane with one cluster, and its schedule.
async fn world(etcd: &Etcd) -> (tempfile::TempDir, Session, Arc<Schedule>) {
    let held = tempfile::tempdir().unwrap();
    let state = StateDir::at(held.path().join("state").to_str().unwrap());
    let session = Session::open(&state, Need::Objects).await.unwrap();
    let client = session.client().clone();
    make_cluster(&client).await;
    make_authority(&client).await;
    let reporter = Reporter { controller: "capn".to_owned(), instance: None };
    let schedule = Arc::new(Schedule {
        keeper: Keeper::of(&state).with(etcd.workloads(&client)),
        recorder: Recorder::new(client.clone(), reporter),
        client,
    });
    (held, session, schedule)
}

/// Always due.
const ALWAYS: Policy = Policy { every: Duration::from_nanos(1), keep: 2 };

/// One pass, with what it begins.
async fn pass(
    schedule: &Arc<Schedule>,
    policy: Policy,
    failed: &mut HashMap<Key, Timestamp>,
) -> Duration {
    let mut lanes = Lanes::default();
    let pause = schedule.pass(policy, failed, &mut lanes).await;
    if lanes.is_busy("default") {
        note(lanes.ended().await, failed);
    }
    pause
}

async fn events(client: &Client) -> Vec<String> {
    let api: Api<Told> = Api::namespaced(client.clone(), "default");
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.into_iter().filter_map(|event| event.reason).collect()
}

#[tokio::test]
async fn the_schedule_takes_and_deletes_its_own_and_leaves_others_alone() {
    let (_held, session, schedule) = world(&Etcd::default()).await;
    let by_hand =
        Wanted { namespace: "default", cluster: "demo", reason: Reason::Hand, output: None };
    let (hand, _) = schedule.keeper.take(&schedule.client, by_hand).await.unwrap();
    let mut failed = HashMap::new();
    for _ in 0..4 {
        pass(&schedule, ALWAYS, &mut failed).await;
    }
    let never = Policy { every: Duration::from_secs(86_400), ..ALWAYS };
    assert_eq!(pass(&schedule, never, &mut failed).await, Duration::from_secs(600));
    let kept = schedule.keeper.folder("default", "demo").unwrap().list().unwrap();
    let reasons: Vec<_> = kept.iter().map(|kept| kept.record.as_ref().unwrap().reason).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::Schedule).count(), 2);
    assert!(hand.exists() && failed.is_empty());
    assert_eq!(events(&schedule.client).await, [TAKEN]);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_failure_is_an_event_and_is_not_tried_again_at_once() {
    let (_held, session, schedule) = world(&Etcd { is_broken: true, ..Etcd::default() }).await;
    let policy = Policy { every: Duration::from_secs(3_600), keep: 7 };
    let mut failed = HashMap::new();
    failed.insert(("gone".to_owned(), "gone".to_owned()), Timestamp::now());
    pass(&schedule, ALWAYS, &mut failed).await;
    assert_eq!(failed.len(), 1, "of clusters that are there");
    assert!(failed.contains_key(&("default".to_owned(), "demo".to_owned())));
    assert_eq!(events(&schedule.client).await, [FAILED]);
    pass(&schedule, policy, &mut failed).await;
    assert_eq!(events(&schedule.client).await, [FAILED]);
    assert_eq!(schedule.keeper.folder("default", "demo").unwrap().list().unwrap().len(), 0);
    session.close().await.unwrap();
}

#[tokio::test]
async fn an_etcd_that_sends_nothing_delays_only_its_namespace() {
    let etcd = Etcd { is_silent: true, ..Etcd::default() };
    let (_held, session, schedule) = world(&etcd).await;
    let (mut failed, mut lanes) = (HashMap::new(), Lanes::default());
    let limit = Duration::from_secs(10);
    for number in 0..2 {
        let pause = schedule.pass(ALWAYS, &mut failed, &mut lanes);
        let pause = tokio::time::timeout(limit, pause).await.expect("a pass waits for no etcd");
        assert!(lanes.is_busy("default"), "pass {number}");
        tokio::time::timeout(pause.min(limit / 100), lanes.ended()).await.unwrap_err();
    }
    lanes.begin("other".to_owned(), async { Tried::new() });
    assert!(tokio::time::timeout(limit, lanes.ended()).await.expect("the other lane").is_empty());
    assert!(lanes.is_busy("default") && !lanes.is_busy("other"));
    assert_eq!(etcd.snapshots.load(Ordering::Relaxed), 1, "one at a time for a namespace");
    drop(lanes);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_namespace_has_so_much_and_no_more() {
    let (_held, session, schedule) = world(&Etcd::default()).await;
    assert_eq!(schedule.keeper.used("default").unwrap(), 0);
    pass(&schedule, ALWAYS, &mut HashMap::new()).await;
    let used = schedule.keeper.used("default").unwrap();
    assert!(used > 0);
    assert_eq!(schedule.keeper.used("other").unwrap(), 0);
    assert!(schedule.keeper.used("../default").is_err());
    assert!(within(used, "default").is_ok());
    let said = within(MOST_OF_NAMESPACE, "default").unwrap_err().to_string();
    assert!(said.contains("namespace `default` take 8.0 GiB"), "{said}");
    session.close().await.unwrap();
}
