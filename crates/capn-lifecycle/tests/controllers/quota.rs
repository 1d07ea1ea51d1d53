//! Namespaces that take no more machines.

use capi_api::{Machine, MachineDeployment, MachineSet, conditions};
use serde_json::json;

use crate::world::{World, manifests};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_namespace_is_told_in_plain_words_and_can_be_emptied() {
    // The control plane has one of them.
    let mut world = World::with_room_for(4).await;
    world.start();
    world.create(manifests(30)).await;
    let is_told = |list: Option<&Vec<_>>| {
        let scaling = conditions::get(list, conditions::SCALING_UP);
        scaling.is_some_and(|told| {
            told.message.contains(
                "the namespace default holds 4 machines of at most 4; delete what is not needed, or \
                 ask for room",
            )
        })
    };
    world
        .wait::<MachineDeployment>("md", "tells that the namespace is full", |md| {
            is_told(md.status.as_ref().and_then(|status| status.conditions.as_ref()))
        })
        .await;
    let sets = world.list::<MachineSet>().await;
    assert!(is_told(sets[0].status.as_ref().and_then(|status| status.conditions.as_ref())));
    assert_eq!(world.list::<Machine>().await.len(), 4);
    let made = world.provider_names("TestMachine").await;
    assert_eq!(made.len(), 4, "nothing is left of the machine that was refused: {made:?}");

    world.patch::<MachineDeployment>("md", json!({ "spec": { "replicas": 3 } })).await;
    world.wait_settled(3).await;
    // The first refusal, and one more for each half minute that this took.
    let refusals = world.refusals();
    assert!((1..10).contains(&refusals), "{refusals} refusals: it is tried again and again");
    world.delete::<MachineDeployment>("md").await;
    world.wait_gone::<MachineDeployment>("md").await;
}
