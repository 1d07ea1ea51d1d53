//! Hostile input of a tenant leads to a condition for the tenant, and affects nobody else.

use capi_api::{Cluster, conditions};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;

use crate::harness::{TestEnv, manifests};

/// A kubeconfig whose user would run a command that creates a file.
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
async fn a_kubeconfig_with_a_command_is_rejected_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("marker");
    let env = TestEnv::new().await;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some("hostile-kubeconfig".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("value".to_owned(), ByteString(kubeconfig(&marker).into()))].into()),
        ..Secret::default()
    };
    env.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    env.create(vec![
        // Only a node can show that its control plane is reachable.
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
    env.create(manifests(1)).await;
    let hostile = env
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
    env.wait_settled(1).await;
    assert!(!marker.exists());
}
