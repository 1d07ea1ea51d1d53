//! An unreadable object does not affect others.

use capi_api::Cluster;
use capn_controller::watch;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::harness::{NAMESPACE, TestEnv, manifests, until};

/// Lets the plane store an object that capn's types cannot represent, like an older or foreign CRD
/// would.
async fn loosen(env: &TestEnv) {
    let crds: Api<CustomResourceDefinition> = Api::all(env.client.clone());
    let name = format!("{}.{}", Cluster::plural(&()), Cluster::group(&()));
    let crd = crds.get(&name).await.unwrap();
    let versions = crd.spec.versions.iter();
    let version = versions.clone().position(|v| v.name == Cluster::version(&())).unwrap();
    let status = "schema/openAPIV3Schema/properties/status";
    let path = format!("/spec/versions/{version}/{status}/properties/observedGeneration");
    let anything = json!({"x-kubernetes-preserve-unknown-fields": true});
    let patch = json!([{"op": "replace", "path": path, "value": anything}]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch).unwrap());
    crds.patch(&name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn an_unreadable_cluster_gets_an_event_and_does_not_affect_others() {
    let mut env = TestEnv::without_controllers().await;
    loosen(&env).await;
    let cluster: DynamicObject = serde_json::from_value(json!({
        "apiVersion": Cluster::api_version(&()), "kind": "Cluster",
        "metadata": { "name": "broken" }, "spec": {},
    }))
    .unwrap();
    let clusters: Api<DynamicObject> =
        Api::namespaced_with(env.client.clone(), NAMESPACE, &ApiResource::erase::<Cluster>(&()));
    clusters.create(&PostParams::default(), &cluster).await.unwrap();
    let no_number = format!("no\u{1b}[31m{}", "x".repeat(5000));
    let params = PatchParams::default();
    let status = Patch::Merge(json!({"status": {"observedGeneration": no_number}}));
    clusters.patch_status("broken", &params, &status).await.unwrap();
    let typed: Api<Cluster> = Api::namespaced(env.client.clone(), NAMESPACE);
    assert!(typed.get("broken").await.is_err(), "it was to be unreadable");

    env.start();
    env.create(manifests(1)).await;
    env.wait::<Cluster>("c", "is provisioned", |cluster| {
        cluster
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_some_and(|phase| phase.as_str() == "Provisioned"))
    })
    .await;
    let events: Api<Event> = Api::namespaced(env.client.clone(), NAMESPACE);
    let event = until("the broken one has an event", || async {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let told = all.into_iter().find(|event| event.reason.as_deref() == Some(watch::REASON));
        told.ok_or_else(|| "no such event".to_owned())
    })
    .await;
    assert_eq!(event.regarding.unwrap().name.as_deref(), Some("broken"));
    let note = event.note.unwrap();
    assert!(note.len() < 700 && !note.contains('\u{1b}'), "{note}");
    let (good, bad) = watch::list(typed.clone(), &ListParams::default()).await.unwrap();
    assert_eq!((good.len(), bad.len()), (1, 1));
    assert_eq!((bad[0].kind.as_str(), bad[0].name.as_str()), ("Cluster", "broken"));
    // It is corrected and then reconciled.
    let correct = Patch::Merge(json!({"status": {"observedGeneration": null}}));
    clusters.patch_status("broken", &params, &correct).await.unwrap();
    env.wait::<Cluster>("broken", "is reconciled", |cluster| !cluster.finalizers().is_empty())
        .await;
}
