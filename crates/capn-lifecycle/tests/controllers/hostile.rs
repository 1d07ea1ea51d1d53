//! What a tenant writes costs the tenant a condition, and nobody else anything.

use capi_api::{Cluster, conditions};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;

use crate::world::{World, manifests};

/// A kubeconfig whose user would run a command that makes a file.
fn kubeconfig(marker: &std::path::Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters:\n- name: a\n  cluster: {{server: \"https://192.0.2.1:6443\"}}\n\
         contexts:\n- name: c\n  context: {{cluster: a, user: u}}\n\
         users:\n- name: u\n  user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, \
         command: touch, args: [{}], interactiveMode: Never}}}}\n",
        marker.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_that_runs_a_command_runs_none_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let world = World::new().await;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("hostile-kubeconfig".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("value".to_owned(), ByteString(kubeconfig(&marker).into()))].into()),
        ..Secret::default()
    };
    world.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    world
        .create(vec![
            // Nobody but a node can tell that its control plane answers.
            json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": { "name": "hostile" },
                "spec": {
                    "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
                    "infrastructureRef": {
                        "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "TestCluster",
                        "name": "hostile",
                    },
                },
            }),
        ])
        .await;
    world.create(manifests(1)).await;
    let hostile = world
        .wait::<Cluster>("hostile", "says what is wrong with its kubeconfig", |cluster| {
            let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::REMOTE_CONNECTION_PROBE)
                .is_some_and(|condition| condition.reason == "KubeconfigRefused")
        })
        .await;
    let list = hostile.status.unwrap().conditions;
    let probe = conditions::get(list.as_ref(), conditions::REMOTE_CONNECTION_PROBE).unwrap();
    assert!(probe.message.contains("users[0].user.exec"), "{}", probe.message);
    assert!(!probe.message.contains("touch"), "{}", probe.message);
    world.wait_settled(1).await;
    assert!(!marker.exists());
}
