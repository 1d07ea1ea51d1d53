//! Namespaces with an exhausted quota.

use capi_api::{Machine, MachineDeployment, MachineSet, conditions};
use serde_json::json;

use crate::harness::{TestEnv, manifests};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_quota_is_reported_and_allows_deletions() {
    // The control plane uses one of them.
    let mut env = TestEnv::with_room_for(4).await;
    env.start();
    env.create(manifests(30)).await;
    let is_told = |list: Option<&Vec<_>>| {
        let scaling = conditions::get(list, conditions::SCALING_UP);
        scaling.is_some_and(|told| {
            told.message.contains(
                "namespace default has 4 machines, the maximum is 4; delete unused objects, or \
                 ask for room",
            )
        })
    };
    env.wait::<MachineDeployment>("md", "tells that the namespace is full", |md| {
        is_told(md.status.as_ref().and_then(|status| status.conditions.as_ref()))
    })
    .await;
    let sets = env.list::<MachineSet>().await;
    assert!(is_told(sets[0].status.as_ref().and_then(|status| status.conditions.as_ref())));
    assert_eq!(env.list::<Machine>().await.len(), 4);
    let made = env.provider_names("TestMachine").await;
    assert_eq!(made.len(), 4, "nothing is left of the machine that was refused: {made:?}");

    env.patch::<MachineDeployment>("md", json!({ "spec": { "replicas": 3 } })).await;
    env.wait_settled(3).await;
    // The first rejection, and one more for each elapsed half minute.
    let refusals = env.refusals();
    assert!((1..10).contains(&refusals), "{refusals} refusals: it is tried again and again");
    env.delete::<MachineDeployment>("md").await;
    env.wait_gone::<MachineDeployment>("md").await;
}
