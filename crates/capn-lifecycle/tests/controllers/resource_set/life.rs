//! Sets, their clusters and their resources come and go.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_comes_later_gets_what_is_there() {
    let (world, others) = empty().await;
    map(&world, "m", &made("a", "")).await;
    world.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    wait_reason(&world, "set", "NoClusterSelected").await;
    let resource = world.api::<ConfigMap>().get("m").await.unwrap();
    assert_eq!(resource.owner_references(), [], "nothing is done without a cluster");

    world.workload.down(true);
    world.create(manifests(0)).await;
    let label = json!({ "metadata": { "labels": { "cni": "x" } } });
    world.patch::<Cluster>("c", label).await;
    let message = wait_reason(&world, "set", "WaitingForControlPlaneInitialized").await;
    assert_eq!(message, "* Cluster c: its control plane is not initialized yet");
    assert_eq!(others.writes(), [] as [&str; 0]);
    world.workload.down(false);
    wait_applied(&world, "set").await;
    assert!(found(&others, "a").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_missing_is_named_and_waited_for() {
    let (world, others) = ready().await;
    map(&world, "m", &made("a", "")).await;
    world.create(vec![set("set", "ApplyOnce", &["Secret s", "ConfigMap m"])]).await;
    assert_eq!(wait_reason(&world, "set", "NotApplied").await, "* Secret s does not exist");
    assert!(found(&others, "a").await.is_some(), "the other one is applied all the same");
    secret(&world, "s", TYPE, &made("b", "")).await;
    wait_applied(&world, "set").await;
    assert!(found(&others, "b").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sets_share_a_binding_and_leave_it_one_by_one() {
    let (world, others) = ready().await;
    for name in ["one", "two"] {
        map(&world, name, &made(name, "")).await;
        world.create(vec![set(name, "ApplyOnce", &[&format!("ConfigMap {name}")])]).await;
    }
    wait_applied(&world, "one").await;
    wait_applied(&world, "two").await;
    let both = binding(&world).await;
    assert_eq!(both.owner_references().len(), 2);
    assert_eq!([entries(&both, "one").len(), entries(&both, "two").len()], [1, 1]);

    world.delete::<ClusterResourceSet>("one").await;
    world.wait_gone::<ClusterResourceSet>("one").await;
    let left = binding(&world).await;
    assert_eq!([entries(&left, "one").len(), entries(&left, "two").len()], [0, 1]);
    let owners: Vec<_> = left.owner_references().iter().map(|owner| owner.name.clone()).collect();
    assert_eq!(owners, ["two"]);
    world.delete::<ClusterResourceSet>("two").await;
    world.wait_gone::<ClusterResourceSet>("two").await;
    world.wait_gone::<ClusterResourceSetBinding>("c").await;
    for name in ["one", "two"] {
        assert!(found(&others, name).await.is_some(), "nothing is deleted in the cluster");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_goes_with_its_cluster() {
    let (world, _others) = ready().await;
    map(&world, "m", &made("a", "")).await;
    world.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    wait_applied(&world, "set").await;
    binding(&world).await;
    world.delete::<Cluster>("c").await;
    world.wait_gone::<Cluster>("c").await;
    world.wait_gone::<ClusterResourceSetBinding>("c").await;
    wait_reason(&world, "set", "NoClusterSelected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_paused_is_left_alone_until_it_goes_on() {
    let (world, others) = ready().await;
    map(&world, "m", &made("a", "")).await;
    let pause = |paused: bool| json!({ "spec": { "paused": paused } });
    let annotate = |value: Value| json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": value } } });
    world.patch::<Cluster>("c", pause(true)).await;
    let mut first = set("set", "Reconcile", &["ConfigMap m"]);
    first["metadata"]["annotations"] = json!({ "cluster.x-k8s.io/paused": "" });
    world.create(vec![first]).await;
    world
        .wait::<ClusterResourceSet>("set", "is paused", |set| {
            let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::is_true(list, conditions::PAUSED)
        })
        .await;
    let paused: ClusterResourceSet = world.api().get("set").await.unwrap();
    assert_eq!(paused.finalizers(), [] as [&str; 0]);

    world.patch::<ClusterResourceSet>("set", annotate(Value::Null)).await;
    assert_eq!(wait_reason(&world, "set", "Paused").await, "* Cluster c: it is paused");
    assert_eq!(others.writes(), [] as [&str; 0]);
    world.patch::<Cluster>("c", pause(false)).await;
    wait_applied(&world, "set").await;
    assert!(found(&others, "a").await.is_some());

    // A set that is paused is not deleted either.
    world.patch::<ClusterResourceSet>("set", annotate(json!(""))).await;
    world.delete::<ClusterResourceSet>("set").await;
    wait_idle(&world).await;
    assert_eq!(entries(&binding(&world).await, "set").len(), 1);
    world.patch::<ClusterResourceSet>("set", annotate(Value::Null)).await;
    world.wait_gone::<ClusterResourceSet>("set").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_that_are_stopped_go_on_where_they_were() {
    let (mut world, others) = ready().await;
    map(&world, "m", &(made("a", "") + &made("b", ""))).await;
    world.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    until("one is applied", || async {
        others.writes().first().cloned().ok_or_else(|| "none".to_owned())
    })
    .await;
    world.stop();
    world.start();
    wait_applied(&world, "set").await;
    assert!(found(&others, "a").await.is_some() && found(&others, "b").await.is_some());
}
