//! Creation and deletion of sets, clusters and resources.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_created_later_gets_the_existing_resources() {
    let (env, others) = empty().await;
    map(&env, "m", &made("a", "")).await;
    env.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    wait_reason(&env, "set", "NoClusterSelected").await;
    let resource = env.api::<ConfigMap>().get("m").await.unwrap();
    assert_eq!(resource.owner_references(), [], "nothing is done without a cluster");

    env.workload.down(true);
    env.create(manifests(0)).await;
    let label = json!({ "metadata": { "labels": { "cni": "x" } } });
    env.patch::<Cluster>("c", label).await;
    let message = wait_reason(&env, "set", "WaitingForControlPlaneInitialized").await;
    assert_eq!(message, "* Cluster c: its control plane is not initialized yet");
    assert_eq!(others.writes(), [] as [&str; 0]);
    env.workload.down(false);
    wait_applied(&env, "set").await;
    assert!(found(&others, "a").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_resource_is_reported_and_waited_for() {
    let (env, others) = ready().await;
    map(&env, "m", &made("a", "")).await;
    env.create(vec![set("set", "ApplyOnce", &["Secret s", "ConfigMap m"])]).await;
    assert_eq!(wait_reason(&env, "set", "NotApplied").await, "* Secret s does not exist");
    assert!(found(&others, "a").await.is_some(), "the other one is applied all the same");
    secret(&env, "s", TYPE, &made("b", "")).await;
    wait_applied(&env, "set").await;
    assert!(found(&others, "b").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sets_share_a_binding_and_leave_it_one_by_one() {
    let (env, others) = ready().await;
    for name in ["one", "two"] {
        map(&env, name, &made(name, "")).await;
        env.create(vec![set(name, "ApplyOnce", &[&format!("ConfigMap {name}")])]).await;
    }
    wait_applied(&env, "one").await;
    wait_applied(&env, "two").await;
    let both = binding(&env).await;
    assert_eq!(both.owner_references().len(), 2);
    assert_eq!([entries(&both, "one").len(), entries(&both, "two").len()], [1, 1]);

    env.delete::<ClusterResourceSet>("one").await;
    env.wait_gone::<ClusterResourceSet>("one").await;
    let left = binding(&env).await;
    assert_eq!([entries(&left, "one").len(), entries(&left, "two").len()], [0, 1]);
    let owners: Vec<_> = left.owner_references().iter().map(|owner| owner.name.clone()).collect();
    assert_eq!(owners, ["two"]);
    env.delete::<ClusterResourceSet>("two").await;
    env.wait_gone::<ClusterResourceSet>("two").await;
    env.wait_gone::<ClusterResourceSetBinding>("c").await;
    for name in ["one", "two"] {
        assert!(found(&others, name).await.is_some(), "nothing is deleted in the cluster");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_goes_with_its_cluster() {
    let (env, _others) = ready().await;
    map(&env, "m", &made("a", "")).await;
    env.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    wait_applied(&env, "set").await;
    binding(&env).await;
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Cluster>("c").await;
    env.wait_gone::<ClusterResourceSetBinding>("c").await;
    wait_reason(&env, "set", "NoClusterSelected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_object_is_not_changed_until_it_is_resumed() {
    let (env, others) = ready().await;
    map(&env, "m", &made("a", "")).await;
    let pause = |paused: bool| json!({ "spec": { "paused": paused } });
    let annotate = |value: Value| json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": value } } });
    env.patch::<Cluster>("c", pause(true)).await;
    let mut first = set("set", "Reconcile", &["ConfigMap m"]);
    first["metadata"]["annotations"] = json!({ "cluster.x-k8s.io/paused": "" });
    env.create(vec![first]).await;
    env.wait::<ClusterResourceSet>("set", "is paused", |set| {
        let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::is_true(list, conditions::PAUSED)
    })
    .await;
    let paused: ClusterResourceSet = env.api().get("set").await.unwrap();
    assert_eq!(paused.finalizers(), [] as [&str; 0]);

    env.patch::<ClusterResourceSet>("set", annotate(Value::Null)).await;
    assert_eq!(wait_reason(&env, "set", "Paused").await, "* Cluster c: it is paused");
    assert_eq!(others.writes(), [] as [&str; 0]);
    env.patch::<Cluster>("c", pause(false)).await;
    wait_applied(&env, "set").await;
    assert!(found(&others, "a").await.is_some());

    // A paused set is not deleted either.
    env.patch::<ClusterResourceSet>("set", annotate(json!(""))).await;
    env.delete::<ClusterResourceSet>("set").await;
    wait_idle(&env).await;
    assert_eq!(entries(&binding(&env).await, "set").len(), 1);
    env.patch::<ClusterResourceSet>("set", annotate(Value::Null)).await;
    env.wait_gone::<ClusterResourceSet>("set").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_that_are_stopped_go_on_where_they_were() {
    let (mut env, others) = ready().await;
    map(&env, "m", &(made("a", "") + &made("b", ""))).await;
    env.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    until("one is applied", || async {
        others.writes().first().cloned().ok_or_else(|| "none".to_owned())
    })
    .await;
    env.stop();
    env.start();
    wait_applied(&env, "set").await;
    assert!(found(&others, "a").await.is_some() && found(&others, "b").await.is_some());
}
