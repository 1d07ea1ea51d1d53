//! Hostile input of a tenant leads to a condition for the tenant, and affects nobody else.

use capi_api::core::Cluster;
use capn_api::LXCCluster;
use capn_provider::LocalSockets;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    harness::{TestEnv, options, plane},
    kinds,
    objects::{CLUSTER, IMAGE},
};

impl TestEnv {
    /// Waits until a condition of an LXCCluster has a status, and returns reason and message.
    async fn condition(&self, cluster: &str, kind: &str, status: &str) -> (String, String) {
        let found = |cluster: Option<&LXCCluster>| {
            let conditions = &cluster?.status.as_ref()?.conditions;
            let found = conditions.iter().find(|it| it.type_ == kind)?;
            (found.status == status).then(|| (found.reason.clone(), found.message.clone()))
        };
        let what = format!("to have {kind}={status}");
        self.until::<LXCCluster>(cluster, &what, |cluster| found(cluster).is_some()).await;
        found(self.get::<LXCCluster>(cluster).await.as_ref()).unwrap()
    }

    async fn make_cluster_with_template(&self, name: &str, template: &str) {
        let cluster: Cluster = self.create(kinds::cluster(name)).await;
        let spec = json!({
            "secretRef": { "name": "demo-incus" }, "unprivileged": true,
            "loadBalancer": { "lxc": {
                "instanceSpec": { "image": { "name": IMAGE } },
                "customHAProxyConfigTemplate": template,
            } },
        });
        self.create::<LXCCluster>(kinds::lxc_cluster(&cluster, &spec)).await;
    }
}

fn kubeconfig(user: &str) -> Value {
    let ca = rcgen::generate_simple_self_signed(vec!["capn".into()]).unwrap().cert.pem();
    let ca = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters:\n- name: a\n  cluster: {{server: \"https://192.0.2.1:6443\", certificate-authority-data: {ca}}}\n\
         contexts:\n- name: c\n  context: {{cluster: a, user: u}}\n\
         users:\n- name: u\n  user: {user}\n",
    );
    json!({ "metadata": { "name": "demo-kubeconfig" }, "stringData": { "value": text } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_with_a_command_is_rejected() {
    let mut env = TestEnv::new(&plane().await, "kubeconfigs").await;
    let marker = env.directory().join("marker");
    let exec = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: [{}], interactiveMode: Never}}}}",
        marker.display()
    );
    env.create::<Secret>(kubeconfig(&exec)).await;
    env.start();
    env.make_cluster().await;
    let bridge = json!({ "metadata": { "labels": { "capn.cluster.x-k8s.io/cni": "bridge" } } });
    env.patch::<Cluster>(CLUSTER, bridge).await;
    let (reason, message) = env.condition(CLUSTER, "KubeconfigAccepted", "False").await;
    assert_eq!(reason, "KubeconfigRefused");
    assert!(message.contains("users[0].user.exec"), "{message}");
    assert!(!message.contains("touch"), "{message}");

    env.patch::<Secret>("demo-kubeconfig", kubeconfig("{tokenFile: /etc/hostname}")).await;
    env.until::<LXCCluster>(CLUSTER, "to name the next field", |cluster| {
        let conditions = cluster.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|it| it.message.contains("users[0].user.tokenFile"))
    })
    .await;
    // Everything else about the cluster continues.
    env.condition(CLUSTER, "LoadBalancerAvailable", "True").await;

    env.patch::<Secret>("demo-kubeconfig", kubeconfig("{token: t0ken}")).await;
    env.condition(CLUSTER, "KubeconfigAccepted", "True").await;
    assert!(!marker.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malicious_template_affects_only_its_owner() {
    let mut env = TestEnv::new(&plane().await, "templates").await;
    env.start();
    let deep = format!("{{{{ {}.{} }}}}", "(".repeat(1000), ")".repeat(1000));
    env.make_cluster_with_template("hostile", &deep).await;
    env.make_cluster().await;
    let (reason, message) = env.condition("hostile", "LoadBalancerAvailable", "False").await;
    assert_eq!(reason, "LoadBalancerProvisioningAborted");
    assert!(message.contains("parentheses are nested deeper than 32"), "{message}");
    env.condition(CLUSTER, "LoadBalancerAvailable", "True").await;
    env.delete::<LXCCluster>("hostile").await;
    env.until_gone::<LXCCluster>("hostile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_limited_to_allowed_namespaces() {
    let mut env = TestEnv::new(&plane().await, "sockets").await;
    let mut others = options(&env.namespace);
    others.local_sockets = LocalSockets::default();
    env.start_with(others);
    env.make_cluster().await;
    let (reason, message) = env.condition(CLUSTER, "LoadBalancerAvailable", "False").await;
    assert_eq!(reason, "IdentityUnavailable");
    assert!(message.contains("--local-socket-namespaces"), "{message}");
    assert!(env.simulator.requests().is_empty());
}
