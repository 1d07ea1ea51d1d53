//! Create, get, list, update, patch, delete.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use crate::support::{api, call, failure, get, plane, widget};

fn merge(value: Value) -> Patch<Value> {
    Patch::Merge(value)
}

#[tokio::test]
async fn a_created_object_has_what_the_server_sets() {
    let client = plane().await.client();
    let api = api(&client);
    let created = api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    assert!(created.uid().is_some());
    assert!(created.creation_timestamp().is_some());
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(created.namespace().as_deref(), Some("default"));
    assert_eq!(created.data["spec"]["replicas"], 1, "defaults are stored");
    assert_eq!(api.get("a").await.unwrap(), created);
    let (code, reason, _) =
        failure(api.create(&PostParams::default(), &widget("a", json!({}))).await);
    assert_eq!((code, reason.as_str()), (409, "AlreadyExists"));
    let (code, reason, message) = failure(api.get("b").await);
    assert_eq!((code, reason.as_str()), (404, "NotFound"));
    assert_eq!(message, "widgets.example.org \"b\" not found");
}

#[tokio::test]
async fn names_are_generated() {
    let client = plane().await.client();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"generateName": "base-"}})).unwrap();
    let a = api.create(&PostParams::default(), &map).await.unwrap().name_any();
    let b = api.create(&PostParams::default(), &map).await.unwrap().name_any();
    assert!(a.starts_with("base-") && a.len() == 10, "{a}");
    assert_ne!(a, b);
}

#[tokio::test]
async fn bad_objects_are_refused_with_the_field() {
    let client = plane().await.client();
    let api = api(&client);
    for (name, spec, expected) in [
        ("a", json!({"replicas": "x"}), "spec.replicas: Invalid value"),
        ("a", json!({"replicas": -1}), "spec.replicas: Invalid value: -1"),
        ("a", json!({"size": "M"}), "spec.size: Unsupported value: \"M\""),
        ("a", json!({"min": 2, "max": 1}), "min may not be above max"),
        ("A", json!({}), "metadata.name: Invalid value: \"A\""),
        ("a", json!({"tags": ["x", "x"]}), "spec.tags[1]: Duplicate value"),
    ] {
        let result = api.create(&PostParams::default(), &widget(name, spec)).await;
        let (code, reason, message) = failure(result);
        assert_eq!((code, reason.as_str()), (422, "Invalid"), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn unknown_and_duplicate_fields_are_refused_when_strict_and_pruned_otherwise() {
    let client = plane().await.client();
    let path = "/apis/example.org/v1/namespaces/default/widgets";
    let body = r#"{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"a","bogus":1},
        "spec":{"replicas":1,"replicas":2,"parts":[{"name":"p","color":"red"}],"free":{"x":1}}}"#;
    let strict = format!("{path}?fieldValidation=Strict");
    let (code, reason, message) =
        failure(call(&client, "POST", &strict, "application/json", body).await);
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    for expected in [
        "duplicate field \"spec.replicas\"",
        "unknown field \"metadata.bogus\"",
        "unknown field \"spec.parts[0].color\"",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let created = call(&client, "POST", path, "application/json", body).await.unwrap();
    assert_eq!(created["spec"]["parts"], json!([{"name": "p"}]));
    assert_eq!(created["spec"]["free"], json!({"x": 1}));
    assert_eq!(created["spec"]["replicas"], 2);
}

#[tokio::test]
async fn an_update_needs_the_newest_revision() {
    let client = plane().await.client();
    let api = api(&client);
    let first = api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let mut changed = first.clone();
    changed.data["spec"]["replicas"] = json!(3);
    let second = api.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(second.metadata.generation, Some(2));
    let (code, reason, message) = failure(api.replace("a", &PostParams::default(), &changed).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("the object has been modified"), "{message}");
    changed.metadata.resource_version = None;
    let (code, _, message) = failure(api.replace("a", &PostParams::default(), &changed).await);
    assert_eq!(code, 422);
    assert!(message.contains("must be specified for an update"), "{message}");
    let mut other = second.clone();
    other.metadata.uid = Some("other".to_owned());
    assert_eq!(failure(api.replace("a", &PostParams::default(), &other).await).0, 409);
}

#[tokio::test]
async fn secrets_may_be_replaced_without_a_revision() {
    let client = plane().await.client();
    let api: Api<Secret> = Api::default_namespaced(client);
    let mut secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "stringData": {"a": "text"}}))
            .unwrap();
    let created = api.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
    assert_eq!(created.data.unwrap()["a"].0, b"text");
    secret.string_data = Some([("a".to_owned(), "other".to_owned())].into());
    let replaced = api.replace("s", &PostParams::default(), &secret).await.unwrap();
    assert_eq!(replaced.data.unwrap()["a"].0, b"other");
}

#[tokio::test]
async fn a_write_that_changes_nothing_has_no_revision() {
    let client = plane().await.client();
    let api = api(&client);
    let created = api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let same = api.replace("a", &PostParams::default(), &created).await.unwrap();
    assert_eq!(same.resource_version(), created.resource_version());
    let patch = merge(json!({"spec": {"replicas": 1}}));
    let same = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(same.resource_version(), created.resource_version());
}

#[tokio::test]
async fn status_and_spec_are_written_separately() {
    let client = plane().await.client();
    let api = api(&client);
    let mut widget = widget("a", json!({}));
    widget.data["status"] = json!({"replicas": 9});
    let created = api.create(&PostParams::default(), &widget).await.unwrap();
    assert!(created.data.get("status").is_none(), "dropped on create");
    let patch = merge(json!({"spec": {"replicas": 5}, "status": {"replicas": 5}}));
    let status = api.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(status.data["status"]["replicas"], 5);
    assert_eq!(status.data["spec"]["replicas"], 1);
    assert_eq!(status.metadata.generation, Some(1));
    let patch = merge(json!({"spec": {"replicas": 2}, "status": {"replicas": 7}}));
    let main = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(main.data["status"]["replicas"], 5);
    assert_eq!(main.metadata.generation, Some(2));
}

#[tokio::test]
async fn every_patch_type_is_applied() {
    let client = plane().await.client();
    let api = api(&client);
    api.create(&PostParams::default(), &widget("a", json!({"size": "S"}))).await.unwrap();
    let json: json_patch::Patch = serde_json::from_value(json!([
        {"op": "test", "path": "/spec/size", "value": "S"},
        {"op": "replace", "path": "/spec/size", "value": "L"}]))
    .unwrap();
    let patched =
        api.patch("a", &PatchParams::default(), &Patch::Json::<()>(json.clone())).await.unwrap();
    assert_eq!(patched.data["spec"]["size"], "L");
    let result = api.patch("a", &PatchParams::default(), &Patch::Json::<()>(json)).await;
    assert_eq!(failure(result).0, 422, "the test no longer holds");
    let patch = merge(json!({"spec": {"size": null}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert!(patched.data["spec"].get("size").is_none());
    let patch = Patch::Strategic(json!({"spec": {}}));
    let (code, reason, _) = failure(api.patch("a", &PatchParams::default(), &patch).await);
    assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"));
    let old = merge(json!({"metadata": {"resourceVersion": "1"}, "spec": {"size": "S"}}));
    assert_eq!(failure(api.patch("a", &PatchParams::default(), &old).await).0, 409);
}

#[tokio::test]
async fn parallel_patches_are_all_applied() {
    let client = plane().await.client();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    api.create(&PostParams::default(), &map).await.unwrap();
    let patches = (0..20).map(|n| {
        let api = api.clone();
        async move {
            let patch = merge(json!({"data": {format!("k{n}"): "v"}}));
            api.patch("m", &PatchParams::default(), &patch).await
        }
    });
    futures::future::try_join_all(patches).await.unwrap();
    assert_eq!(api.get("m").await.unwrap().data.unwrap().len(), 20);
}

#[tokio::test]
async fn finalizers_delay_deletion() {
    let client = plane().await.client();
    let api = api(&client);
    let mut object = widget("a", json!({}));
    object.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
    api.create(&PostParams::default(), &object).await.unwrap();
    let deleted = api.delete("a", &DeleteParams::default()).await.unwrap();
    let held = deleted.left().expect("the object, not a status");
    assert!(held.metadata.deletion_timestamp.is_some());
    assert_eq!(held.metadata.generation, Some(2));
    let add = merge(json!({"metadata": {"finalizers": ["example.org/hold", "example.org/new"]}}));
    let (code, _, message) = failure(api.patch("a", &PatchParams::default(), &add).await);
    assert_eq!(code, 422);
    assert!(message.contains("no new finalizers can be added"), "{message}");
    let remove = merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &remove).await.unwrap();
    assert_eq!(failure(api.get("a").await).0, 404);
}

#[tokio::test]
async fn delete_preconditions_are_checked() {
    let client = plane().await.client();
    let api = api(&client);
    let created = api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let wrong = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some("other".to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(failure(api.delete("a", &wrong).await).0, 409);
    let right = DeleteParams {
        preconditions: Some(Preconditions {
            uid: created.uid(),
            resource_version: created.resource_version(),
        }),
        ..DeleteParams::default()
    };
    let status = api.delete("a", &right).await.unwrap().right().expect("a status");
    assert!(status.is_success());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let client = plane().await.client();
    let api = api(&client);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let shown = api.create(&dry, &widget("a", json!({}))).await.unwrap();
    assert_eq!(shown.data["spec"]["replicas"], 1);
    assert_eq!(failure(api.get("a").await).0, 404);
    let created = api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    assert_eq!(failure(api.create(&dry, &widget("a", json!({}))).await).0, 409);
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let shown = api.patch("a", &params, &merge(json!({"spec": {"replicas": 4}}))).await.unwrap();
    assert_eq!(shown.data["spec"]["replicas"], 4);
    api.delete("a", &DeleteParams { dry_run: true, ..DeleteParams::default() }).await.unwrap();
    assert_eq!(api.get("a").await.unwrap(), created);
}

#[tokio::test]
async fn lists_are_paged_at_one_revision() {
    let client = plane().await.client();
    let api = api(&client);
    for name in ["a", "b", "c", "d", "e"] {
        api.create(&PostParams::default(), &widget(name, json!({}))).await.unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.items.len(), 2);
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    // Changes between the pages are not visible.
    api.delete("c", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &widget("bb", json!({}))).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().limit(10).continue_token(&token)).await.unwrap();
    let names: Vec<String> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["c", "d", "e"]);
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(failure(api.list(&ListParams::default().continue_token("x")).await).0, 400);
}

#[tokio::test]
async fn lists_are_filtered_by_selectors() {
    let client = plane().await.client();
    let api: Api<Secret> = Api::default_namespaced(client);
    for (name, label, kind) in [("a", "x", "Opaque"), ("b", "y", "example.org/t")] {
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"l": label}}, "type": kind}),
        )
        .unwrap();
        api.create(&PostParams::default(), &secret).await.unwrap();
    }
    let count = async |params: ListParams| api.list(&params).await.unwrap().items.len();
    assert_eq!(count(ListParams::default().labels("l=x")).await, 1);
    assert_eq!(count(ListParams::default().labels("l in (x,y)")).await, 2);
    assert_eq!(count(ListParams::default().fields("type=example.org/t")).await, 1);
    assert_eq!(count(ListParams::default().fields("metadata.name=c")).await, 0);
    let deleted =
        api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("l=x")).await;
    assert_eq!(deleted.unwrap().left().unwrap().items.len(), 1);
    assert_eq!(count(ListParams::default()).await, 1);
}

#[tokio::test]
async fn default_namespaces_exist_and_others_are_required() {
    let client = plane().await.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names: Vec<String> = namespaces
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["default", "kube-public", "kube-system"]);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "absent");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    let (code, _, message) = failure(maps.create(&PostParams::default(), &map).await);
    assert_eq!(code, 404);
    assert_eq!(message, "namespaces \"absent\" not found");
    let (code, _, _) = failure(namespaces.delete("default", &DeleteParams::default()).await);
    assert_eq!(code, 403);
}

#[tokio::test]
async fn pods_are_an_empty_list_and_read_only() {
    let client = plane().await.client();
    let pods: Api<Pod> = Api::default_namespaced(client);
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert_eq!(failure(pods.get("a").await).0, 404);
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    assert_eq!(failure(pods.create(&PostParams::default(), &pod).await).0, 405);
}

#[tokio::test]
async fn both_event_api_groups_share_objects() {
    let client = plane().await.client();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "regarding": {"kind": "Widget", "name": "a", "namespace": "default"}, "reason": "Made",
        "note": "it was made", "type": "Normal", "action": "Make",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c",
        "reportingInstance": "i",
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    call(&client, "POST", path, "application/json", &event.to_string()).await.unwrap();
    let core = get(&client, "/api/v1/namespaces/default/events/e").await.unwrap();
    assert_eq!(core["involvedObject"]["name"], "a");
    assert_eq!(core["message"], "it was made");
    assert_eq!(core["reportingComponent"], "c");
    let found = get(
        &client,
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Da,reason%3DMade",
    )
    .await
    .unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    let other = get(&client, &format!("{path}/e")).await.unwrap();
    assert_eq!(other["regarding"]["name"], "a");
    assert_eq!(other["apiVersion"], "events.k8s.io/v1");
}

#[tokio::test]
async fn the_scale_subresource_scales() {
    let client = plane().await.client();
    let api = api(&client);
    api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let patch = merge(json!({"spec": {"replicas": 3}}));
    let scale = api.patch_scale("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    assert_eq!(api.get("a").await.unwrap().data["spec"]["replicas"], 3);
    let bad = merge(json!({"spec": {"replicas": -3}}));
    assert_eq!(failure(api.patch_scale("a", &PatchParams::default(), &bad).await).0, 422);
}

#[tokio::test]
async fn unsupported_content_types_are_rejected() {
    let client = plane().await.client();
    let path = "/api/v1/namespaces/default/configmaps";
    let result = call(&client, "POST", path, "application/vnd.kubernetes.protobuf", "k8s").await;
    assert_eq!(failure(result).0, 400);
    let pod = "k8s\0\n\t\n\u{2}v1\u{12}\u{3}Pod";
    let result = call(&client, "POST", path, "application/vnd.kubernetes.protobuf", pod).await;
    assert_eq!(failure(result).0, 415);
    let result = call(&client, "POST", path, "application/cbor", "k8s").await;
    assert_eq!(failure(result).0, 415);
    let result = call(&client, "POST", path, "application/json", "{").await;
    assert_eq!(failure(result).0, 400);
    let result = call(&client, "POST", path, "application/json", r#"{"kind":"Secret"}"#).await;
    assert_eq!(failure(result).0, 400);
    let large = json!({"metadata": {"name": "l"}, "data": {"a": "x".repeat(1_600_000)}});
    let result = call(&client, "POST", path, "application/json", &large.to_string()).await;
    assert_eq!(failure(result).0, 413);
    let yaml = "metadata:\n  name: y\ndata:\n  a: b\n";
    let created = call(&client, "POST", path, "application/yaml", yaml).await.unwrap();
    assert_eq!(created["data"]["a"], "b");
    assert_eq!(failure(get(&client, "/apis/none.org/v1/things").await).0, 404);
}
