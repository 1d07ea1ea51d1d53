//! Custom resource definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PatchParams, PostParams},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::json;

use crate::support::{api, call, eventually, failure, get, plane, widget, widgets, widgets_json};

#[tokio::test]
async fn a_definition_is_served_at_once() {
    let client = Plane::open(PlaneOptions::default()).await.unwrap().client();
    assert_eq!(failure(api(&client).list(&ListParams::default()).await).0, 404);
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let created = crds.create(&PostParams::default(), &widgets()).await.unwrap();
    let status = created.status.unwrap();
    assert_eq!(status.stored_versions, Some(vec!["v1".to_owned()]));
    let conditions: Vec<(String, String)> =
        status.conditions.unwrap().into_iter().map(|c| (c.type_, c.status)).collect();
    assert!(conditions.contains(&("Established".to_owned(), "True".to_owned())));
    assert!(conditions.contains(&("NamesAccepted".to_owned(), "True".to_owned())));
    api(&client).create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let group = get(&client, "/apis/example.org/v1").await.unwrap();
    let names: Vec<&str> = group["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
}

#[tokio::test]
async fn deleting_a_definition_deletes_its_objects() {
    let client = plane().await.client();
    api(&client).create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.delete("widgets.example.org", &DeleteParams::default()).await.unwrap();
    eventually("the definition is gone", || async {
        crds.get_opt("widgets.example.org").await.unwrap().is_none()
    })
    .await;
    assert_eq!(failure(api(&client).list(&ListParams::default()).await).0, 404);
    crds.create(&PostParams::default(), &widgets()).await.unwrap();
    assert!(api(&client).list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn bad_definitions_are_refused() {
    let client = plane().await.client();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldValidation=Strict";
    let mut wrong_name = widgets_json();
    wrong_name["metadata"]["name"] = json!("other.example.org");
    let mut no_storage = widgets_json();
    no_storage["spec"]["versions"][0]["storage"] = json!(false);
    let mut pattern = widgets_json();
    pattern["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["pattern"] =
        json!("(");
    let mut unknown = widgets_json();
    unknown["spec"]["versions"][0]["bogus"] = json!(1);
    for (definition, code, expected) in [
        (wrong_name, 422, "spec.names.plural"),
        (no_storage, 422, "exactly one version"),
        (pattern, 422, "must be a valid regular expression"),
        (unknown, 400, "unknown field \"spec.versions[0].bogus\""),
        (json!({"metadata": {"name": "x"}, "spec": 1}), 400, "cannot be handled"),
    ] {
        let result = call(&client, "POST", path, "application/json", &definition.to_string()).await;
        let (found, _, message) = failure(result);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn new_defaults_apply_to_stored_objects() {
    let client = plane().await.client();
    let created =
        api(&client).create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    assert!(created.data["spec"].get("size").is_none());
    let mut changed = widgets_json();
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["size"]["default"] = json!("L");
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.org";
    let patch = changed.to_string();
    call(&client, "PATCH", path, "application/merge-patch+json", &patch).await.unwrap();
    let read = api(&client).get("a").await.unwrap();
    assert_eq!(read.data["spec"]["size"], "L");
    assert_eq!(read.metadata.resource_version, created.metadata.resource_version);
}

#[tokio::test]
async fn versions_share_their_objects() {
    let mut definition = widgets_json();
    let mut old = definition["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    old["deprecated"] = json!(true);
    definition["spec"]["versions"].as_array_mut().unwrap().push(old);
    let crds = vec![serde_json::from_value(definition).unwrap()];
    let options = PlaneOptions { crds, ..PlaneOptions::default() };
    let client = Plane::open(options).await.unwrap().client();
    let path = "/apis/example.org/v1beta1/namespaces/default/widgets";
    let body = r#"{"metadata": {"name": "a"}, "spec": {"replicas": 2}}"#;
    let created = call(&client, "POST", path, "application/json", body).await.unwrap();
    assert_eq!(created["apiVersion"], "example.org/v1beta1");
    let new = api(&client).get("a").await.unwrap();
    assert_eq!(new.types.unwrap().api_version, "example.org/v1");
    let groups = get(&client, "/apis/example.org").await.unwrap();
    assert_eq!(groups["preferredVersion"]["version"], "v1");
}

#[tokio::test]
async fn old_objects_may_keep_errors_of_a_stricter_schema() {
    let client = plane().await.client();
    let mut object = widget("a", json!({"size": "S"}));
    object.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
    api(&client).create(&PostParams::default(), &object).await.unwrap();
    let mut changed = widgets_json();
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["size"]["enum"] = json!(["L"]);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.org";
    let patch = changed.to_string();
    call(&client, "PATCH", path, "application/merge-patch+json", &patch).await.unwrap();
    let merge = |value| kube::api::Patch::Merge(value);
    let params = PatchParams::default();
    let scaled = api(&client).patch("a", &params, &merge(json!({"spec": {"replicas": 2}}))).await;
    assert_eq!(scaled.unwrap().data["spec"]["size"], "S");
    let worse = api(&client).patch("a", &params, &merge(json!({"spec": {"size": "M"}}))).await;
    assert_eq!(failure(worse).0, 422);
    api(&client).delete("a", &DeleteParams::default()).await.unwrap();
    let free = merge(json!({"metadata": {"finalizers": null}}));
    api(&client).patch("a", &params, &free).await.unwrap();
    assert_eq!(failure(api(&client).get("a").await).0, 404);
}
