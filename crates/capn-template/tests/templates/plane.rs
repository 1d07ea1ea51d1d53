//! An API server that rejects unknown fields.

use kube::Client;
use kube::Resource as _;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery;
use kube_plane::{Plane, PlaneOptions};
use serde_json::Value;

/// Creates sets of objects on an empty plane with every definition of Cluster API and capn, each
/// set in its own namespace.
pub(crate) async fn accepts(sets: &[(&str, Vec<Value>)]) {
    let crds = capi_api::crds().into_iter().chain(capn_api::crds()).collect();
    let options = PlaneOptions { path: None, crds, ..PlaneOptions::default() };
    let plane = Plane::open(options).await.unwrap();
    let client = plane.client();
    for (name, objects) in sets {
        let namespace = &format!("of-{name}");
        let kind = GroupVersionKind::gvk("", "v1", "Namespace");
        let object = serde_json::json!({ "metadata": { "name": namespace } });
        create(&client, &kind, None, &object).await.unwrap();
        for object in objects {
            let [version, kind] =
                ["apiVersion", "kind"].map(|field| object[field].as_str().unwrap());
            let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
            let kind = GroupVersionKind::gvk(group, version, kind);
            if let Err(error) = create(&client, &kind, Some(namespace), object).await {
                panic!("{namespace}: {} {}: {error}", kind.kind, object["metadata"]["name"]);
            }
        }
    }
    plane.close().await;
}

async fn create(
    client: &Client,
    kind: &GroupVersionKind,
    namespace: Option<&str>,
    object: &Value,
) -> Result<Value, kube::Error> {
    let (resource, _) = discovery::pinned_kind(client, kind).await?;
    // The typed client does not support strict validation.
    let url = DynamicObject::url_path(&resource, namespace);
    let request = http::Request::post(format!("{url}?fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object).unwrap())
        .unwrap();
    client.request(request).await
}
