//! The packaged roles of the manager are sufficient and necessary.

use capn_api::LXCMachineTemplate;
use http::Request;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use kube::{Api, Client, api::ListParams, api::PostParams};
use serde_json::{Value, json};

use crate::{
    harness::{TestEnv, options, plane},
    objects::CLUSTER,
    scenario,
};

/// The released components.
const COMPONENTS: &str =
    include_str!("../../../capn-package/golden/infrastructure-components.yaml");
pub(crate) const ACCOUNT: &str = "system:serviceaccount:capn-system:capn-manager";

/// Creates the roles and bindings of the components.
pub(crate) async fn install_rights(client: &Client) {
    let name = serde_json::from_value(json!({"metadata": {"name": "capn-system"}})).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &name).await.unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(COMPONENTS).unwrap();
    let mut installed = 0;
    for object in objects {
        let kind = object["kind"].as_str().unwrap();
        if object["apiVersion"] != "rbac.authorization.k8s.io/v1" {
            continue;
        }
        let namespace = object["metadata"]["namespace"].as_str();
        let namespace = namespace.map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        let plural = format!("{}s", kind.to_lowercase());
        let path = format!("/apis/rbac.authorization.k8s.io/v1{namespace}/{plural}");
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        client.request::<Value>(request).await.unwrap();
        installed += 1;
    }
    assert_eq!(installed, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packaged_rbac_rules_suffice_for_the_lifecycle_of_a_cluster() {
    let plane = plane().await;
    install_rights(&plane.client()).await;
    let mut env = TestEnv::new(&plane, "rights").await;
    env.provider_kube = plane.client_as(ACCOUNT, &[]);
    let mut options = options(&env.namespace);
    // Like the Deployment: one manager for all namespaces.
    options.namespace = None;
    env.start_with(options);
    let template = json!({
        "metadata": {"name": "sized", "labels": {"cluster.x-k8s.io/cluster-name": CLUSTER}},
        "spec": {"template": {"spec": {"instanceType": "container", "flavor": "c2-m4"}}},
    });
    env.create::<LXCMachineTemplate>(template).await;
    scenario::play(&env, None).await;
    env.until::<LXCMachineTemplate>("sized", "to have a capacity", |template| {
        let status = template.and_then(|template| template.status.as_ref());
        serde_json::to_value(status).unwrap()["capacity"]["cpu"] == "2"
    })
    .await;
    let events: Api<Event> = Api::namespaced(env.kube.clone(), &env.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(!events.is_empty(), "the provider published no event");

    let refused =
        |error: kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    let secrets: Api<Secret> = Api::namespaced(env.provider_kube.clone(), &env.namespace);
    let secret = serde_json::from_value(json!({"metadata": {"name": "new"}})).unwrap();
    assert!(refused(secrets.create(&PostParams::default(), &secret).await.unwrap_err()));
    let machines: Api<capn_api::LXCMachine> =
        Api::namespaced(env.provider_kube.clone(), &env.namespace);
    let gone = machines.delete("demo-cp", &Default::default()).await;
    assert!(refused(gone.unwrap_err()));
}
