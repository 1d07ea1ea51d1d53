//! Requests to a plane in memory.

use std::sync::OnceLock;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use kube_plane::{Plane, PlaneOptions, PlaneService};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const CLUSTERS: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/fuzz/clusters";
const MAPS: &str = "/api/v1/namespaces/fuzz/configmaps";
const SECRETS: &str = "/api/v1/namespaces/fuzz/secrets";
const EVENTS: &str = "/api/v1/namespaces/fuzz/events";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

struct PlaneFixture {
    runtime: Runtime,
    service: PlaneService,
}

/// A shared plane with a Cluster, a ConfigMap and a Secret named `a`. Requests are dry runs, so
/// that every input meets the same state.
fn fixture() -> Option<&'static PlaneFixture> {
    static WORLD: OnceLock<Option<PlaneFixture>> = OnceLock::new();
    WORLD.get_or_init(open).as_ref()
}

fn open() -> Option<PlaneFixture> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
    let crds = capi_api::crds().into_iter().chain(capn_api::crds()).collect();
    let options = PlaneOptions { crds, ..PlaneOptions::default() };
    let plane = runtime.block_on(Plane::open(options)).ok()?;
    let fixture = PlaneFixture { runtime, service: plane.service() };
    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "a", "labels": { "a": "b" }, "finalizers": ["fuzz.example.com/a"] },
        "spec": { "clusterNetwork": { "apiServerPort": 6443 } },
        "status": { "deprecated": { "a": { "b": [1, 2, { "c": "d" }] } } },
    });
    let map = json!({ "metadata": { "name": "a" }, "data": { "a": "b" } });
    let secret = json!({ "metadata": { "name": "a" }, "stringData": { "a": "b" } });
    let space = json!({ "metadata": { "name": "fuzz" } });
    for (path, object) in
        [("/api/v1/namespaces", &space), (CLUSTERS, &cluster), (MAPS, &map), (SECRETS, &secret)]
    {
        fixture.send("POST", path, "application/json", object.to_string().as_bytes());
    }
    let applied = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "c": "d" } });
    fixture.send(
        "PATCH",
        &format!("{MAPS}/a?fieldManager=first"),
        "application/apply-patch+yaml",
        applied.to_string().as_bytes(),
    );
    let status = json!({ "status": { "deprecated": { "a": { "b": [1, 2, { "c": "d" }] } } } });
    fixture.send(
        "PATCH",
        &format!("{CLUSTERS}/a/status"),
        "application/merge-patch+json",
        status.to_string().as_bytes(),
    );
    Some(fixture)
}

impl PlaneFixture {
    /// Sends a request. Returns the JSON response, or `None` if the request is invalid.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Option<(u16, Value)> {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(Full::new(bytes::Bytes::copy_from_slice(body))).ok()?;
        self.runtime.block_on(async {
            let answer = self.service.clone().oneshot(request).await.ok()?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.ok()?.to_bytes();
            Some((status, serde_json::from_slice(&body).unwrap_or_default()))
        })
    }
}

/// Checks that a response is a Status with a message, or an object.
fn check(answer: Option<(u16, Value)>) {
    let Some((status, body)) = answer else { return };
    match status {
        200..300 => assert!(body["metadata"].is_object(), "answered {status} with {body}"),
        400..500 => assert!(body["message"].is_string(), "answered {status} with {body}"),
        _ => assert_eq!(status, 504, "answered {status} with {body}"),
    }
}

/// The first byte selects among alternatives.
fn split<'a>(bytes: &'a [u8], places: &[&'static str]) -> Option<(&'static str, &'a [u8])> {
    let (first, rest) = bytes.split_first()?;
    Some((*places.get(usize::from(*first) % places.len())?, rest))
}

fn write(
    bytes: &[u8],
    method: &str,
    name: &str,
    parameters: &str,
    kind: &str,
    places: &[&'static str],
) {
    let (Some(fixture), Some((place, body))) = (fixture(), split(bytes, places)) else { return };
    check(fixture.send(method, &format!("{place}{name}?dryRun=All{parameters}"), kind, body));
}

pub(crate) fn json_body(bytes: &[u8]) {
    write(bytes, "POST", "", "", "application/json", &[CLUSTERS, MAPS, SECRETS, EVENTS]);
    write(bytes, "PUT", "/a", "", "application/json", &[CLUSTERS, MAPS, SECRETS]);
}

pub(crate) fn yaml_body(bytes: &[u8]) {
    write(bytes, "POST", "", "", "application/yaml", &[CLUSTERS, MAPS, SECRETS, EVENTS]);
}

pub(crate) fn protobuf_body(bytes: &[u8]) {
    let kind = "application/vnd.kubernetes.protobuf";
    write(bytes, "POST", "", "", kind, &[MAPS, SECRETS, EVENTS]);
}

pub(crate) fn json_patch(bytes: &[u8]) {
    let places =
        &["/apis/cluster.x-k8s.io/v1beta2/namespaces/fuzz/clusters/a/status", CLUSTER, MAP, SECRET];
    write(bytes, "PATCH", "", "", "application/json-patch+json", places);
}

const CLUSTER: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/fuzz/clusters/a";
const MAP: &str = "/api/v1/namespaces/fuzz/configmaps/a";
const SECRET: &str = "/api/v1/namespaces/fuzz/secrets/a";

pub(crate) fn merge_patch(bytes: &[u8]) {
    write(bytes, "PATCH", "", "", "application/merge-patch+json", &[CLUSTER, MAP, SECRET]);
}

pub(crate) fn strategic_patch(bytes: &[u8]) {
    let kind = "application/strategic-merge-patch+json";
    write(bytes, "PATCH", "", "", kind, &[MAP, SECRET]);
}

pub(crate) fn apply(bytes: &[u8]) {
    let parameters = "&fieldManager=fuzz&force=true";
    write(bytes, "PATCH", "", parameters, "application/apply-patch+yaml", &[CLUSTER, MAP, SECRET]);
}

/// An object with arbitrary managedFields, followed by an apply.
pub(crate) fn managed_fields(bytes: &[u8]) {
    let Some(fixture) = fixture() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"forged","managedFields":{text}}}}}"#
    );
    let one = format!("{MAPS}/forged");
    let made = fixture.send("POST", MAPS, "application/json", body.as_bytes());
    let stored = made.as_ref().is_some_and(|(status, _)| *status == 201);
    check(made);
    if stored {
        let change = br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}"#;
        let path = format!("{one}?fieldManager=fuzz&force=true");
        check(fixture.send("PATCH", &path, "application/apply-patch+yaml", change));
        check(fixture.send("GET", &one, "", b""));
        fixture.send("DELETE", &one, "", b"");
    }
}

/// Text encoded for a URL.
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) fn selectors(bytes: &[u8]) {
    let (Some(fixture), Some((first, rest))) = (fixture(), bytes.split_first()) else { return };
    let kind = if first % 2 == 0 { "labelSelector" } else { "fieldSelector" };
    check(fixture.send("GET", &format!("{CLUSTERS}?{kind}={}", encoded(rest)), "", b""));
}

pub(crate) fn paths(bytes: &[u8]) {
    let (Some(fixture), Some((first, rest))) = (fixture(), bytes.split_first()) else { return };
    let rest = match first % 2 {
        0 => encoded(rest),
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    // Not a watch, which would not end.
    if rest.contains("watch") || rest.contains("%77") {
        return;
    }
    fixture.send("GET", &format!("{MAPS}/{rest}"), "", b"");
    fixture.send("GET", &format!("/{rest}"), "", b"");
}

fn definition_with(schema: Value, columns: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "things.fuzz.example.com" },
        "spec": {
            "group": "fuzz.example.com", "scope": "Namespaced",
            "names": { "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": schema },
                } },
                "additionalPrinterColumns": columns,
            }],
        },
    })
}

fn define(definition: &Value) {
    let Some(fixture) = fixture() else { return };
    let body = definition.to_string();
    let made = fixture.send("POST", DEFINITIONS, "application/json", body.as_bytes());
    let stored = made.as_ref().is_some_and(|(status, _)| *status == 201);
    check(made);
    if stored {
        let object = json!({
            "apiVersion": "fuzz.example.com/v1", "kind": "Thing", "metadata": { "name": "a" },
            "spec": { "a": "text", "b": [1, 2, 3], "c": { "d": true } },
        });
        let things = "/apis/fuzz.example.com/v1/namespaces/fuzz/things";
        let text = object.to_string();
        fixture.send("POST", &format!("{things}?dryRun=All"), "application/json", text.as_bytes());
        let one = format!("{DEFINITIONS}/things.fuzz.example.com");
        fixture.send("DELETE", &one, "", b"");
    }
}

/// A CEL rule, a pattern or a column path.
pub(crate) fn cel_rule(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let open = |more: Value| {
        let mut spec = json!({
            "type": "object",
            "properties": {
                "a": { "type": "string" },
                "b": { "type": "array", "items": { "type": "integer" } },
                "c": { "type": "object", "properties": { "d": { "type": "boolean" } } },
            },
        });
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        spec
    };
    let none = json!([]);
    define(&match first % 3 {
        0 => {
            let rules = json!([{ "rule": text, "message": "no" }]);
            definition_with(open(json!({ "x-kubernetes-validations": rules })), none)
        }
        1 => {
            let mut spec = open(json!({}));
            spec["properties"]["a"]["pattern"] = json!(text);
            definition_with(spec, none)
        }
        _ => {
            let columns = json!([{ "name": "A", "type": "string", "jsonPath": text }]);
            definition_with(open(json!({})), columns)
        }
    });
}

/// A whole schema.
pub(crate) fn definition(bytes: &[u8]) {
    if let Ok(schema) = serde_json::from_slice(bytes) {
        define(&definition_with(schema, json!([])));
    }
}
