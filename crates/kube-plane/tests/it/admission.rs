//! Admission functions.

use kube::api::{Patch, PatchParams, PostParams};
use kube_plane::{Admission, FieldError, Plane, PlaneOptions};
use serde_json::{Value, json};

use crate::support::{api, failure, widget, widgets};

#[tokio::test]
async fn admission_mutates_and_validates() {
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

#[tokio::test]
async fn a_request_that_panics_is_answered_and_others_go_on() {
    let admission = Admission::new("example.org", "Widget").mutate(|new: &mut Value| {
        assert_ne!(new["spec"]["size"], "L", "the work on this one fails");
    });
    let options = PlaneOptions {
        crds: vec![widgets()],
        admission: vec![admission],
        ..PlaneOptions::default()
    };
    let client = Plane::open(options).await.unwrap().client();
    let api = api(&client);
    // Small objects are handled on the receiving thread, large ones on another.
    for note in [String::new(), "x".repeat(20 << 10)] {
        let mut bad = widget("a", json!({"size": "L"}));
        bad.metadata.annotations = Some([("note".to_owned(), note)].into());
        let (code, reason, _) = failure(api.create(&PostParams::default(), &bad).await);
        assert_eq!((code, reason.as_str()), (500, "InternalError"));
    }
    api.create(&PostParams::default(), &widget("a", json!({"size": "S"}))).await.unwrap();
}
