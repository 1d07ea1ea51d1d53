//! Hostile content of a resource, and errors of a cluster.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_another_type_is_not_read() {
    let (env, others) = ready().await;
    secret(&env, "s", "Opaque", &made("a", "")).await;
    map(&env, "m", &made("b", "")).await;
    env.create(vec![set("set", "ApplyOnce", &["Secret s", "ConfigMap m"])]).await;
    let message = wait_reason(&env, "set", "WrongSecretType").await;
    assert_eq!(message, "* Secret s must have the type addons.cluster.x-k8s.io/resource-set");
    assert_eq!(found(&others, "a").await, None);
    assert!(found(&others, "b").await.is_some());
    assert_eq!(env.api::<Secret>().get("s").await.unwrap().owner_references(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_document_costs_its_resource_and_nothing_else() {
    let (env, others) = ready().await;
    let bomb = "a: &a [x, x]\nb: [*a, *a]\n";
    secret(&env, "bad", TYPE, "token: hunter2\n---\nhunter2: [").await;
    map(&env, "bomb", bomb).await;
    map(&env, "deep", &format!("a: {}", "[".repeat(5_000))).await;
    map(&env, "good", &made("good", "")).await;
    let all = ["Secret bad", "ConfigMap bomb", "ConfigMap deep", "ConfigMap good"];
    env.create(vec![set("set", "ApplyOnce", &all)]).await;
    let message = wait_reason(&env, "set", "NotApplied").await;
    assert!(message.contains("* Secret bad: key k: line 3: it is not YAML"), "{message}");
    assert!(message.contains("* ConfigMap bomb: key k: "), "{message}");
    assert!(message.contains("* ConfigMap deep: key k: "), "{message}");
    assert!(!message.contains("hunter2") && !message.contains("good"), "{message}");
    assert!(found(&others, "good").await.is_some());
    let noted = entries(&binding(&env).await, "set");
    let applied: Vec<_> = noted.iter().map(|entry| (entry.name.as_str(), entry.applied)).collect();
    assert_eq!(applied, [("bad", false), ("bomb", false), ("deep", false), ("good", true)]);
    // Only a change of the content helps, so it is not retried.
    wait_idle(&env).await;
    let less = json!({ "spec": { "resources": [{ "kind": "ConfigMap", "name": "bomb" }] } });
    env.patch::<ClusterResourceSet>("set", less).await;
    change(&env, "bomb", &made("mended", "")).await;
    wait_applied(&env, "set").await;
    assert!(found(&others, "mended").await.is_some());
    assert_eq!(entries(&binding(&env).await, "set").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_objects_are_reported_without_their_contents_and_retried() {
    let (env, others) = ready().await;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: later}\n\
        data: {v: hunter2}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\n\
        data: {v: [hunter2]}\n---\n";
    secret(&env, "s", TYPE, &(text.to_owned() + &made("good", ""))).await;
    env.create(vec![set("set", "ApplyOnce", &["Secret s"])]).await;
    let message = wait_reason(&env, "set", "NotApplied").await;
    assert!(message.starts_with("* Cluster c: Secret s: ConfigMap later/x: "), "{message}");
    assert!(message.contains("; ConfigMap wrong: the API server responds with 4"), "{message}");
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
    let (env, _others) = ready().await;
    map(&env, "m", "apiVersion: e.io/v1\nkind: Widget\nmetadata: {name: w}\n").await;
    env.create(vec![set("set", "Reconcile", &["ConfigMap m"])]).await;
    assert_eq!(
        wait_reason(&env, "set", "NotApplied").await,
        "* Cluster c: ConfigMap m: Widget w: the cluster does not have this kind in e.io/v1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_keeps_its_selector_and_its_strategy() {
    let (env, _others) = empty().await;
    env.create(vec![set("set", "ApplyOnce", &["ConfigMap m"])]).await;
    let api = env.api::<ClusterResourceSet>();
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
