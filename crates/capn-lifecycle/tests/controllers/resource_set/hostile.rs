//! What a tenant writes into a resource, and what a cluster answers.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_not_for_sets_is_not_read() {
    let (world, others) = ready().await;
    secret(&world, "s", "Opaque", &made("a", "")).await;
    map(&world, "m", &made("b", "")).await;
    world.create(vec![set("set", "ApplyOnce", &["Secret s", "ConfigMap m"])]).await;
    let message = wait_reason(&world, "set", "WrongSecretType").await;
    assert_eq!(message, "* Secret s has to be of the type addons.cluster.x-k8s.io/resource-set");
    assert_eq!(found(&others, "a").await, None);
    assert!(found(&others, "b").await.is_some());
    assert_eq!(world.api::<Secret>().get("s").await.unwrap().owner_references(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_document_costs_its_resource_and_nothing_else() {
    let (world, others) = ready().await;
    let bomb = "a: &a [x, x]\nb: [*a, *a]\n";
    secret(&world, "bad", TYPE, "token: hunter2\n---\nhunter2: [").await;
    map(&world, "bomb", bomb).await;
    map(&world, "deep", &format!("a: {}", "[".repeat(5_000))).await;
    map(&world, "good", &made("good", "")).await;
    let all = ["Secret bad", "ConfigMap bomb", "ConfigMap deep", "ConfigMap good"];
    world.create(vec![set("set", "ApplyOnce", &all)]).await;
    let message = wait_reason(&world, "set", "NotApplied").await;
    assert!(message.contains("* Secret bad: key k: line 3: it is no YAML"), "{message}");
    assert!(message.contains("* ConfigMap bomb: key k: "), "{message}");
    assert!(message.contains("* ConfigMap deep: key k: "), "{message}");
    assert!(!message.contains("hunter2") && !message.contains("good"), "{message}");
    assert!(found(&others, "good").await.is_some());
    let noted = entries(&binding(&world).await, "set");
    let applied: Vec<_> = noted.iter().map(|entry| (entry.name.as_str(), entry.applied)).collect();
    assert_eq!(applied, [("bad", false), ("bomb", false), ("deep", false), ("good", true)]);
    // Only another text helps, so that it is not tried again and again.
    wait_idle(&world).await;
    let less = json!({ "spec": { "resources": [{ "kind": "ConfigMap", "name": "bomb" }] } });
    world.patch::<ClusterResourceSet>("set", less).await;
    change(&world, "bomb", &made("mended", "")).await;
    wait_applied(&world, "set").await;
    assert!(found(&others, "mended").await.is_some());
    assert_eq!(entries(&binding(&world).await, "set").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_refuses_is_named_without_its_contents_and_tried_again() {
    let (world, others) = ready().await;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: later}\n\
        data: {v: hunter2}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\n\
        data: {v: [hunter2]}\n---\n";
    secret(&world, "s", TYPE, &(text.to_owned() + &made("good", ""))).await;
    world.create(vec![set("set", "ApplyOnce", &["Secret s"])]).await;
    let message = wait_reason(&world, "set", "NotApplied").await;
    assert!(message.starts_with("* Cluster c: Secret s: ConfigMap later/x: "), "{message}");
    assert!(message.contains("; ConfigMap wrong: the API server answers 4"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    assert!(found(&others, "good").await.is_some(), "what comes after it is applied");
    namespace(&others, "later").await;
    until("it is tried again", || async {
        let api: Api<ConfigMap> = Api::namespaced(others.client(), "later");
        api.get_opt("x").await.unwrap().ok_or_else(|| "it is not there".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_the_cluster_does_not_have_is_named() {
    let (world, _others) = ready().await;
    map(&world, "m", "apiVersion: e.io/v1\nkind: Widget\nmetadata: {name: w}\n").await;
    world.create(vec![set("set", "Reconcile", &["ConfigMap m"])]).await;
    assert_eq!(
        wait_reason(&world, "set", "NotApplied").await,
        "* Cluster c: ConfigMap m: Widget w: the cluster has no such kind in e.io/v1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_keeps_its_selector_and_its_strategy() {
    let (world, _others) = empty().await;
    world.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    let api = world.api::<ClusterResourceSet>();
    for (change, field) in [
        (json!({ "strategy": "Reconcile" }), "spec.strategy"),
        (json!({ "clusterSelector": { "matchLabels": { "cni": "y" } } }), "spec.clusterSelector"),
    ] {
        let patch = Patch::Merge(json!({ "spec": change }));
        let error = api.patch("set", &PatchParams::default(), &patch).await.unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
    let mut empty = set("empty", "ApplyOnce", &["ConfigMap m"]);
    empty["spec"]["clusterSelector"] = json!({});
    let object: ClusterResourceSet = serde_json::from_value(empty).unwrap();
    let error = api.create(&PostParams::default(), &object).await.unwrap_err();
    assert!(error.to_string().contains("spec.clusterSelector"), "{error}");
}
