//! A plane with a definition, and requests to it.

use std::time::Duration;

use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Error,
    api::{ApiResource, DynamicObject},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::{Value, json};

/// The definition of `Widget`, namespaced, with status and scale.
pub(crate) fn widgets() -> CustomResourceDefinition {
    serde_json::from_value(widgets_json()).unwrap()
}

pub(crate) fn widgets_json() -> Value {
    serde_saphyr::from_str(include_str!("widgets.yaml")).unwrap()
}

/// A plane in memory with the widgets.
pub(crate) async fn plane() -> Plane {
    let options = PlaneOptions { crds: vec![widgets()], ..PlaneOptions::default() };
    Plane::open(options).await.unwrap()
}

pub(crate) fn resource() -> ApiResource {
    ApiResource {
        group: "example.org".into(),
        version: "v1".into(),
        api_version: "example.org/v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
    }
}

pub(crate) fn api(client: &Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client.clone(), &resource())
}

/// A widget with a spec.
pub(crate) fn widget(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

/// The code and reason of a failed request.
pub(crate) fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String, String) {
    match result.unwrap_err() {
        Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not a status: {other}"),
    }
}

/// Any request, with JSON bodies.
pub(crate) async fn call(
    client: &Client,
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
) -> Result<Value, Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(body.as_bytes().to_vec())
        .unwrap();
    client.request(request).await
}

pub(crate) async fn get(client: &Client, path: &str) -> Result<Value, Error> {
    call(client, "GET", path, "application/json", "").await
}

/// Waits until the condition holds; fails with its description after one minute.
pub(crate) async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
