//! Objects and requests over the limits are rejected on every path, and other requests continue to
//! work.

use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{api, call, failure, get, plane, widget};

const WIDGETS: &str = "/apis/example.org/v1/namespaces/default/widgets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// `{"a": {"a": … {} … }}`, valid as JSON and as YAML.
fn nested(levels: usize) -> String {
    format!("{}{{}}{}", "{\"a\":".repeat(levels), "}".repeat(levels))
}

fn widget_with(name: &str, free: &str) -> String {
    format!(
        r#"{{"apiVersion":"example.org/v1","kind":"Widget","metadata":{{"name":"{name}"}},"spec":{{"free":{free}}}}}"#
    )
}

#[tokio::test]
async fn deep_objects_are_refused_on_every_path() {
    let plane = plane().await;
    let client = plane.client();
    let one = format!("{WIDGETS}/one");
    let applied = format!("{WIDGETS}/new?fieldManager=m");
    call(&client, "POST", WIDGETS, JSON, &widget_with("one", "{}")).await.unwrap();
    for levels in [98, 119, 123, 127, 200, 100_000] {
        let deep = nested(levels);
        let whole = widget_with("new", &deep);
        let merge = format!(r#"{{"spec":{{"free":{deep}}}}}"#);
        let add = format!(r#"[{{"op":"add","path":"/spec/free","value":{deep}}}]"#);
        for (method, path, kind, body) in [
            ("POST", WIDGETS, JSON, &whole),
            ("POST", WIDGETS, YAML, &whole),
            ("PUT", &*one, JSON, &widget_with("one", &deep)),
            ("PATCH", &*one, MERGE, &merge),
            ("PATCH", &*one, JSON_PATCH, &add),
            ("PATCH", &*applied, APPLY, &whole),
        ] {
            let (code, _, message) = failure(call(&client, method, path, kind, body).await);
            assert!(matches!(code, 400 | 422), "{levels} {method} {kind}: {code} {message}");
            assert!(message.len() < 500, "{levels} {method} {kind}: {message}");
        }
    }
    // An object at the limit can be read, applied to and deleted.
    let good = widget_with("new", &nested(97));
    call(&client, "PATCH", &applied, APPLY, &good).await.unwrap();
    let label = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    call(&client, "PATCH", &format!("{WIDGETS}/new"), MERGE, label).await.unwrap();
    let read = api(&client).get("new").await.unwrap();
    assert!(read.metadata.managed_fields.is_some());
    assert_eq!(read.data["spec"]["free"].to_string().matches("\"a\"").count(), 97);
    call(&client, "DELETE", &format!("{WIDGETS}/new"), JSON, "").await.unwrap();
}

#[tokio::test]
async fn small_patches_cannot_build_large_objects() {
    let plane = plane().await;
    let client = plane.client();
    let one = format!("{WIDGETS}/one");
    call(&client, "POST", WIDGETS, JSON, &widget_with("one", "{\"a\":{}}")).await.unwrap();
    let copy = |from: &str, path: &str| json!({"op": "copy", "from": from, "path": path});
    let deep: Vec<Value> = (0..901).map(|_| copy("/spec", "/spec/free/a")).collect();
    let mut wide =
        vec![json!({"op": "add", "path": "/spec/free", "value": {"x": "x".repeat(300_000)}})];
    wide.extend((0..13).map(|n| copy("/spec", &format!("/spec/free/y{n}"))));
    for (name, patch, expected) in
        [("deep", deep, "nested deeper than 100"), ("wide", wide, "copy more than")]
    {
        let patch = Value::from(patch).to_string();
        let (code, _, message) = failure(call(&client, "PATCH", &one, JSON_PATCH, &patch).await);
        assert_eq!(code, 422, "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
    }
    let many = format!("[{}]", vec!["{\"a\":0}"; 100_000].join(","));
    let merge = format!(r#"{{"spec":{{"free":{{"many":{many}}}}}}}"#);
    let (code, reason, _) = failure(call(&client, "PATCH", &one, MERGE, &merge).await);
    assert_eq!((code, reason.as_str()), (413, "RequestEntityTooLarge"));
    // YAML aliases: a few lines for gigabytes.
    let mut lines = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..'k').zip('a'..) {
        lines += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(", "));
    }
    let laughs = failure(call(&client, "POST", MAPS, YAML, &lines).await);
    assert!(matches!(laughs.0, 400 | 413), "{laughs:?}");
    let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 5000].join(","));
    let copied = failure(call(&client, "POST", MAPS, YAML, &long).await);
    assert!(matches!(copied.0, 400 | 413), "{copied:?}");
}

#[tokio::test]
async fn builtin_kinds_have_the_same_limits() {
    let plane = plane().await;
    let client = plane.client();
    call(&client, "POST", MAPS, JSON, r#"{"metadata":{"name":"m"}}"#).await.unwrap();
    let large = |bytes: usize| json!({"data": {"a": "x".repeat(bytes)}}).to_string();
    let path = format!("{MAPS}/m");
    call(&client, "PATCH", &path, STRATEGIC, &large(1_500_000)).await.unwrap();
    for (kind, bytes) in [(STRATEGIC, 1_600_000), (MERGE, 1_600_000), (MERGE, 4_000_000)] {
        let (code, ..) = failure(call(&client, "PATCH", &path, kind, &large(bytes)).await);
        assert_eq!(code, 413, "{kind} {bytes}");
    }
    call(&client, "DELETE", &path, JSON, "").await.unwrap();
}

#[tokio::test]
async fn managed_fields_of_a_client_are_read_before_they_are_stored() {
    let plane = plane().await;
    let client = plane.client();
    let new = widget("one", json!({"size": "S"}));
    let applied = api(&client).patch("one", &PatchParams::apply("m"), &Patch::Apply(&new)).await;
    let mut object = serde_json::to_value(applied.unwrap()).unwrap();
    object["metadata"]["managedFields"][0]["fieldsV1"]["nothing"] = json!({"x": ["hello"]});
    object["metadata"]["managedFields"][0]["more"] = json!(1);
    let path = format!("{WIDGETS}/one");
    call(&client, "PUT", &path, JSON, &object.to_string()).await.unwrap();
    let read = get(&client, &path).await.unwrap();
    let managed = &read["metadata"]["managedFields"][0];
    assert_eq!(managed["fieldsV1"], json!({"f:spec": {"f:size": {}}}));
    assert!(managed.get("more").is_none(), "{managed}");
}

#[tokio::test]
async fn a_secret_is_not_quoted_in_answers() {
    let plane = plane().await;
    let client = plane.client();
    let path = "/api/v1/namespaces/default/secrets";
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::default_namespaced(client.clone());
    let good = json!({"metadata": {"name": "s"}});
    let good = serde_json::from_value(good).unwrap();
    secrets.create(&PostParams::default(), &good).await.unwrap();
    let one = format!("{path}/s");
    let new = |field: Value| {
        let mut body = json!({"metadata": {"name": "t"}});
        body.as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
        body.to_string()
    };
    for (method, path, kind, body) in [
        ("POST", path, JSON, new(json!({"data": {"password": "hunter2"}}))),
        ("POST", path, JSON, new(json!({"data": "hunter2"}))),
        ("POST", path, JSON, new(json!({"data": {"password": ["hunter2"]}}))),
        ("POST", path, JSON, new(json!({"stringData": ["hunter2"]}))),
        ("POST", path, JSON, new(json!({"immutable": "hunter2"}))),
        ("POST", path, JSON, new(json!({"type": ["hunter2"]}))),
        ("POST", path, JSON, "{\"data\": hunter2}".to_owned()),
        ("POST", path, YAML, "data: {password: [hunter2}".to_owned()),
        ("POST", path, YAML, "metadata: {name: t}\ndata: {password: hunter2}".to_owned()),
        ("POST", path, YAML, "data: &hunter2\n- *hunter3\nhunter2: !!binary hunter2".to_owned()),
        ("PATCH", &one, MERGE, json!({"data": {"password": "hunter2"}}).to_string()),
        ("PATCH", &one, STRATEGIC, json!({"data": {"password": "hunter2"}}).to_string()),
        ("PATCH", &one, MERGE, json!({"type": "hunter2"}).to_string()),
        (
            "PATCH",
            &one,
            JSON_PATCH,
            json!([{"op": "add", "path": "/data", "value": {"password": "hunter2"}}]).to_string(),
        ),
        ("PATCH", &one, JSON_PATCH, json!(["hunter2"]).to_string()),
        (
            "PATCH",
            &one,
            JSON_PATCH,
            json!([{"op": "add", "path": 1, "value": "hunter2"}]).to_string(),
        ),
    ] {
        let (code, _, message) = failure(call(&client, method, path, kind, &body).await);
        assert!(matches!(code, 400 | 422), "{code} {body}");
        assert!(!message.contains("hunter"), "{body}: {message}");
    }
}

/// An object of the maximum size whose deletion waits for two finalizers.
#[tokio::test]
async fn an_object_at_the_limit_can_be_deleted_and_finalized() {
    let client = plane().await.client();
    let map = |filler: usize| {
        json!({
            "metadata": { "name": "a", "finalizers": ["example.org/a", "example.org/b"] },
            "data": { "a": "x".repeat(filler) },
        })
        .to_string()
    };
    // The largest one that is accepted.
    let (mut good, mut bad) = (0, 1_572_864);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        let dry = format!("{MAPS}?dryRun=All");
        match call(&client, "POST", &dry, JSON, &map(middle)).await {
            Ok(_) => good = middle,
            Err(_) => bad = middle,
        }
    }
    call(&client, "POST", MAPS, JSON, &map(good)).await.unwrap();
    let one = format!("{MAPS}/a");
    call(&client, "DELETE", &one, JSON, "").await.unwrap();
    for left in [json!(["example.org/b"]), json!([])] {
        let change = json!({ "metadata": { "finalizers": left } }).to_string();
        let path = format!("{one}?fieldManager=another-manager");
        call(&client, "PATCH", &path, MERGE, &change).await.unwrap();
    }
    let (code, _, _) = failure(get(&client, &one).await);
    assert_eq!(code, 404);
}
