//! What a tenant writes costs the tenant a condition, and nobody else anything.

use capi_api::core::Cluster;
use capn_api::LXCCluster;
use capn_provider::LocalSockets;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    kinds,
    objects::{CLUSTER, IMAGE},
    world::{World, options, plane},
};

impl World {
    /// Waits until a condition of an LXCCluster has a status; gives reason and message.
    async fn verdict(&self, cluster: &str, kind: &str, status: &str) -> (String, String) {
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
async fn a_kubeconfig_that_runs_a_command_runs_none() {
    let mut world = World::new(&plane().await, "kubeconfigs").await;
    let marker = world.folder().join("marker");
    let exec = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: [{}], interactiveMode: Never}}}}",
        marker.display()
    );
    world.create::<Secret>(kubeconfig(&exec)).await;
    world.start();
    world.make_cluster().await;
    let bridge = json!({ "metadata": { "labels": { "capn.cluster.x-k8s.io/cni": "bridge" } } });
    world.patch::<Cluster>(CLUSTER, bridge).await;
    let (reason, message) = world.verdict(CLUSTER, "KubeconfigAccepted", "False").await;
    assert_eq!(reason, "KubeconfigRefused");
    assert!(message.contains("users[0].user.exec"), "{message}");
    assert!(!message.contains("touch"), "{message}");

    world.patch::<Secret>("demo-kubeconfig", kubeconfig("{tokenFile: /etc/hostname}")).await;
    world
        .until::<LXCCluster>(CLUSTER, "to name the next field", |cluster| {
            let conditions = cluster.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|it| it.message.contains("users[0].user.tokenFile"))
        })
        .await;
    // Everything else about the cluster goes on.
    world.verdict(CLUSTER, "LoadBalancerAvailable", "True").await;

    world.patch::<Secret>("demo-kubeconfig", kubeconfig("{token: t0ken}")).await;
    world.verdict(CLUSTER, "KubeconfigAccepted", "True").await;
    assert!(!marker.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_would_end_the_process_is_its_owners_alone() {
    let mut world = World::new(&plane().await, "templates").await;
    world.start();
    let deep = format!("{{{{ {}.{} }}}}", "(".repeat(1000), ")".repeat(1000));
    world.make_cluster_with_template("hostile", &deep).await;
    world.make_cluster().await;
    let (reason, message) = world.verdict("hostile", "LoadBalancerAvailable", "False").await;
    assert_eq!(reason, "LoadBalancerProvisioningAborted");
    assert!(message.contains("more than 32 parentheses"), "{message}");
    world.verdict(CLUSTER, "LoadBalancerAvailable", "True").await;
    world.delete::<LXCCluster>("hostile").await;
    world.until_gone::<LXCCluster>("hostile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_not_for_every_namespace() {
    let mut world = World::new(&plane().await, "sockets").await;
    let mut others = options(&world.namespace);
    others.local_sockets = LocalSockets::default();
    world.start_with(others);
    world.make_cluster().await;
    let (reason, message) = world.verdict(CLUSTER, "LoadBalancerAvailable", "False").await;
    assert_eq!(reason, "IdentityUnavailable");
    assert!(message.contains("--local-socket-namespaces"), "{message}");
    assert!(world.simulator.requests().is_empty());
}
