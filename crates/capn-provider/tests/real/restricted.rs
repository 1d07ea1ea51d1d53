//! Identities that are limited to a restricted project, over HTTPS.

use std::panic::AssertUnwindSafe;

use base64::Engine as _;
use capn_api::{LXCCluster, LXCMachine};
use futures::FutureExt as _;
use incus_client::{
    Client,
    api::{CertificatesPost, Config},
    certificate_fingerprint,
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::harness::{TestEnv, in_projects, is_ready, provisioning};

/// A certificate that the server trusts for one project, and how to connect with it.
struct Holder {
    root: Client,
    fingerprint: String,
    /// Data of the Secret.
    identity: Value,
    /// Whether this test has set the address of the server.
    listening: bool,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Holder {
    async fn new(env: &TestEnv) -> Self {
        let root = Client::unix(env.socket);
        let server = root.server().await.unwrap();
        let set = server.config.get("core.https_address").and_then(Value::as_str);
        let set = set.filter(|address| !address.is_empty()).map(str::to_owned);
        let listening = set.is_none();
        let address = set.unwrap_or_else(|| format!("127.0.0.1:{}", free_port()));
        if listening {
            listen(&root, &address).await;
        }
        let project = env.server.project().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["capn-t".into()]).unwrap();
        let made = made.self_signed(&key).unwrap();
        let post = CertificatesPost {
            name: project.to_owned(),
            kind: "client".into(),
            certificate: base64::engine::general_purpose::STANDARD.encode(made.der()),
            restricted: true,
            projects: vec![project.to_owned()],
            ..CertificatesPost::default()
        };
        root.add_certificate(&post).await.unwrap();
        let identity = json!({
            "server": format!("https://{}", address.replace("[::]", "127.0.0.1")),
            "server-crt": server.environment.certificate,
            "client-crt": made.pem(),
            "client-key": key.serialize_pem(),
            "project": project,
        });
        let fingerprint = certificate_fingerprint(&made.pem()).unwrap();
        Self { root, fingerprint, identity, listening }
    }

    async fn remove(self) {
        self.root.delete_certificate(&self.fingerprint).await.unwrap();
        if self.listening {
            listen(&self.root, "").await;
        }
    }
}

async fn listen(root: &Client, address: &str) {
    let config = Config::from([("core.https_address".to_owned(), address.to_owned())]);
    root.patch_server_config(&config).await.unwrap();
}

/// Restrictions that make a project safe for tenants but usable for nodes.
fn restrictions(bridge: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("restricted", "true"),
        ("restricted.containers.privilege", "unprivileged"),
        ("restricted.containers.nesting", "allow"),
        ("restricted.networks.access", bridge),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_identity_can_create_only_unprivileged_machines() {
    in_projects("a_restricted_identity", restrictions, |mut env| async move {
        let holder = Holder::new(&env).await;
        let result = AssertUnwindSafe(machines(&mut env, &holder)).catch_unwind().await;
        env.kill().await;
        holder.remove().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        env
    })
    .await;
}

async fn machines(env: &mut TestEnv, holder: &Holder) {
    let (plain, odd) = (format!("{}-a", env.cluster), format!("{}-b", env.cluster));
    env.make_cluster(json!({
        "unprivileged": null, "loadBalancer": { "external": {} },
        "controlPlaneEndpoint": { "host": "192.0.2.1" },
    }))
    .await;
    env.patch::<Secret>(&env.secret(), json!({ "stringData": holder.identity })).await;
    env.start();
    env.provision().await;

    // The cluster asks for privileged nodes: this is rejected before the server is contacted.
    env.make_machine(&plain, false, json!({})).await;
    let refused = refused(env, &plain).await;
    assert!(refused.contains("does not allow privileged containers"), "{refused}");
    assert!(refused.contains("spec.unprivileged: true"), "{refused}");
    assert!(env.instances().await.is_empty());

    // The user changes the spec, and the same machine is created.
    env.patch::<LXCCluster>(&env.cluster, json!({ "spec": { "unprivileged": true } })).await;
    env.until::<LXCMachine>(&plain, "to be ready", is_ready).await;
    let instance = env.instance(&plain).await.unwrap();
    assert!(!instance.config.contains_key("linux.kernel_modules"));
    assert!(!instance.devices.contains_key("kubeadm-host-boot"));

    // A machine asks for it itself: the server is not contacted.
    let privileged = json!({ "config": { "security.privileged": "true" } });
    env.make_machine(&odd, false, privileged).await;
    let refused = self::refused(env, &odd).await;
    assert!(refused.contains("isolation is shared"), "{refused}");
    assert!(refused.contains("config security.privileged=true makes root"), "{refused}");
    let events = env.events(&odd).await;
    assert_eq!(
        events.iter().filter(|reason| *reason == "InstanceProvisioningAborted").count(),
        1,
        "{events:?}"
    );
    assert!(env.instance(&odd).await.is_none());
}

async fn refused(env: &TestEnv, name: &str) -> String {
    let refused = env
        .until::<LXCMachine>(name, "to be refused", |machine| {
            provisioning(machine).0 == "InstanceProvisioningAborted"
        })
        .await;
    provisioning(&refused).1
}
