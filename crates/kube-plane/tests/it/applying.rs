//! Server-side apply.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{api, failure, plane, widget};

async fn apply(
    api: &Api<DynamicObject>,
    manager: &str,
    force: bool,
    spec: Value,
) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams { force, ..PatchParams::apply(manager) };
    api.patch("a", &params, &Patch::Apply(widget("a", spec))).await
}

#[tokio::test]
async fn apply_creates_and_removes_fields_it_no_longer_sets() {
    let client = plane().await.client();
    let api = api(&client);
    let created = apply(&api, "m", false, json!({"size": "S", "tags": ["x", "y"]})).await.unwrap();
    let managed = created.metadata.managed_fields.as_ref().unwrap();
    assert_eq!(managed[0].manager.as_deref(), Some("m"));
    assert_eq!(managed[0].operation.as_deref(), Some("Apply"));
    let again = apply(&api, "m", false, json!({"size": "S", "tags": ["x", "y"]})).await.unwrap();
    assert_eq!(again.metadata.resource_version, created.metadata.resource_version);
    let less = apply(&api, "m", false, json!({"tags": ["y"]})).await.unwrap();
    assert!(less.data["spec"].get("size").is_none());
    assert_eq!(less.data["spec"]["tags"], json!(["y"]));
    assert_eq!(less.data["spec"]["replicas"], 1, "nobody owns a default");
}

#[tokio::test]
async fn an_object_of_another_name_is_refused() {
    let client = plane().await.client();
    let api = api(&client);
    apply(&api, "m", false, json!({"size": "S"})).await.unwrap();
    // Neither as an existing object nor as a new one.
    for (path, name) in [("missing", "a"), ("missing", "other"), ("a", "other")] {
        let params = PatchParams::apply("m");
        let object = widget(name, json!({"size": "L"}));
        let refused = failure(api.patch(path, &params, &Patch::Apply(object)).await);
        assert_eq!(refused.0, 400, "{refused:?}");
        assert!(refused.2.contains("does not match the name on the URL"), "{refused:?}");
    }
    assert!(api.get_opt("other").await.unwrap().is_none());
}

#[tokio::test]
async fn managers_share_and_conflict() {
    let client = plane().await.client();
    let api = api(&client);
    apply(&api, "one", false, json!({"size": "S", "parts": [{"name": "p"}]})).await.unwrap();
    let both =
        apply(&api, "two", false, json!({"min": 1, "parts": [{"name": "q"}]})).await.unwrap();
    assert_eq!(both.data["spec"]["size"], "S");
    assert_eq!(both.data["spec"]["parts"], json!([{"name": "p"}, {"name": "q"}]));
    let (code, reason, message) = failure(apply(&api, "two", false, json!({"size": "L"})).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("conflict with \"one\": .spec.size"), "{message}");
    let forced = apply(&api, "two", true, json!({"size": "L"})).await.unwrap();
    assert_eq!(forced.data["spec"]["size"], "L");
    // `one` has lost the size, so its next apply without it leaves it.
    let rest = apply(&api, "one", false, json!({"parts": [{"name": "p"}]})).await.unwrap();
    assert_eq!(rest.data["spec"]["size"], "L");
    assert_eq!(rest.data["spec"]["parts"], json!([{"name": "p"}]));
}

#[tokio::test]
async fn updates_take_field_ownership() {
    let client = plane().await.client();
    let api = api(&client);
    api.create(&PostParams::default(), &widget("a", json!({"size": "S"}))).await.unwrap();
    let (code, _, message) = failure(apply(&api, "m", false, json!({"size": "L"})).await);
    assert_eq!(code, 409);
    assert!(message.contains("before-first-apply"), "{message}");
    apply(&api, "m", true, json!({"size": "L"})).await.unwrap();
    let params = PatchParams { field_manager: Some("editor".to_owned()), ..Default::default() };
    let patch = Patch::Merge(json!({"spec": {"size": "S"}}));
    api.patch("a", &params, &patch).await.unwrap();
    let (_, _, message) = failure(apply(&api, "m", false, json!({"size": "L"})).await);
    assert!(message.contains("conflict with \"editor\" using example.org/v1"), "{message}");
    let reset = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    let reset = api.patch("a", &PatchParams::default(), &reset).await.unwrap();
    assert!(reset.metadata.managed_fields.is_none());
}

#[tokio::test]
async fn status_is_applied_separately() {
    let client = plane().await.client();
    let api = api(&client);
    apply(&api, "m", false, json!({"size": "S"})).await.unwrap();
    let mut status = widget("a", json!({"size": "L"}));
    status.data["status"] = json!({"replicas": 2});
    let params = PatchParams::apply("m");
    let applied = api.patch_status("a", &params, &Patch::Apply(&status)).await.unwrap();
    assert_eq!(applied.data["status"]["replicas"], 2);
    assert_eq!(applied.data["spec"]["size"], "S");
    let managed = applied.metadata.managed_fields.unwrap();
    assert!(managed.iter().any(|entry| entry.subresource.as_deref() == Some("status")));
    let missing = Patch::Apply(widget("b", json!({"size": "L"})));
    assert_eq!(failure(api.patch_status("b", &params, &missing).await).0, 404);
}

#[tokio::test]
async fn bad_applies_are_refused() {
    let client = plane().await.client();
    let api = api(&client);
    let nobody = PatchParams { field_manager: None, ..PatchParams::default() };
    let body = widget("a", json!({}));
    // kube itself rejects an apply without a manager, so the request is made directly.
    let text = serde_json::to_string(&body).unwrap();
    let path = "/apis/example.org/v1/namespaces/default/widgets/a";
    let kind = "application/apply-patch+yaml";
    let result = crate::support::call(&client, "PATCH", path, kind, &text).await;
    assert_eq!(failure(result).0, 422, "{nobody:?}");
    let mut with_uid = body.clone();
    with_uid.metadata.uid = Some("gone".to_owned());
    let result = api.patch("a", &PatchParams::apply("m"), &Patch::Apply(with_uid)).await;
    assert_eq!(failure(result).0, 409);
    let strict = format!("{path}?fieldManager=m&fieldValidation=Strict");
    let unknown = "apiVersion: example.org/v1\nkind: Widget\nspec:\n  bogus: 1\n";
    let result = crate::support::call(&client, "PATCH", &strict, kind, unknown).await;
    let (code, _, message) = failure(result);
    assert_eq!(code, 400);
    assert!(message.contains("unknown field \"spec.bogus\""), "{message}");
}
