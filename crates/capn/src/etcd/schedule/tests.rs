use k8s_openapi::api::events::v1::Event as Told;

use super::*;
use crate::etcd::testing::{Etcd, make_authority, make_cluster};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// A plane with one cluster, and its schedule.
async fn world(etcd: &Etcd) -> (tempfile::TempDir, Session, Schedule) {
    let held = tempfile::tempdir().unwrap();
    let state = StateDir::at(held.path().join("state").to_str().unwrap());
    let session = Session::open(&state, Need::Objects).await.unwrap();
    let client = session.client().clone();
    make_cluster(&client).await;
    make_authority(&client).await;
    let reporter = Reporter { controller: "capn".to_owned(), instance: None };
    let schedule = Schedule {
        keeper: Keeper::of(&state).with(etcd.workloads(&client)),
        recorder: Recorder::new(client.clone(), reporter),
        client,
    };
    (held, session, schedule)
}

/// Always due.
const ALWAYS: Policy = Policy { every: Duration::from_nanos(1), keep: 2 };

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
        schedule.pass(ALWAYS, &mut failed).await;
    }
    let never = Policy { every: Duration::from_secs(86_400), ..ALWAYS };
    assert_eq!(schedule.pass(never, &mut failed).await, Duration::from_secs(600));
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
    assert_eq!(schedule.pass(ALWAYS, &mut failed).await, Duration::from_secs(1));
    assert_eq!(failed.len(), 1, "of clusters that are there");
    assert!(failed.contains_key(&("default".to_owned(), "demo".to_owned())));
    assert_eq!(events(&schedule.client).await, [FAILED]);
    schedule.pass(policy, &mut failed).await;
    assert_eq!(events(&schedule.client).await, [FAILED]);
    assert_eq!(schedule.keeper.folder("default", "demo").unwrap().list().unwrap().len(), 0);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_namespace_has_so_much_and_no_more() {
    let (_held, session, schedule) = world(&Etcd::default()).await;
    assert_eq!(schedule.keeper.used("default").unwrap(), 0);
    schedule.pass(ALWAYS, &mut HashMap::new()).await;
    let used = schedule.keeper.used("default").unwrap();
    assert!(used > 0);
    assert_eq!(schedule.keeper.used("other").unwrap(), 0);
    assert!(schedule.keeper.used("../default").is_err());
    assert!(within(used, "default").is_ok());
    let said = within(MOST_OF_NAMESPACE, "default").unwrap_err().to_string();
    assert!(said.contains("namespace `default` take 8.0 GiB"), "{said}");
    session.close().await.unwrap();
}
