//! Admission functions.

use kube::api::{Patch, PatchParams, PostParams};
use kube_plane::{Admission, FieldError, Plane, PlaneOptions};
use serde_json::{Value, json};

use crate::support::{api, failure, widget, widgets};

#[tokio::test]
async fn admission_completes_and_refuses() {
    let admission = Admission::new("example.org", "Widget")
        .mutate(|new: &mut Value| {
            if new["spec"].get("size").is_none() {
                new["spec"]["size"] = json!("S");
            }
        })
        .validate(|new, old| {
            let shrinks = old.is_some_and(|old| {
                new["spec"]["replicas"].as_i64() < old["spec"]["replicas"].as_i64()
            });
            if shrinks {
                return Err(vec![FieldError::invalid(
                    "spec.replicas",
                    new["spec"]["replicas"].clone(),
                    "may not shrink",
                )]);
            }
            Ok(())
        });
    let options = PlaneOptions {
        crds: vec![widgets()],
        admission: vec![admission],
        ..PlaneOptions::default()
    };
    let client = Plane::open(options).await.unwrap().client();
    let api = api(&client);
    let created = api.create(&PostParams::default(), &widget("a", json!({}))).await.unwrap();
    assert_eq!(created.data["spec"]["size"], "S");
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let (code, reason, message) = failure(api.patch("a", &PatchParams::default(), &patch).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert_eq!(
        message,
        "Widget.example.org \"a\" is invalid: spec.replicas: Invalid value: 0: may not shrink"
    );
    let status = Patch::Merge(json!({"status": {"replicas": 3}}));
    api.patch_status("a", &PatchParams::default(), &status).await.unwrap();
}
