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

use crate::world::{World, in_projects, is_ready, provisioning};

/// A certificate that the server trusts for one project, and how to reach the server with it.
struct Holder {
    root: Client,
    fingerprint: String,
    /// What the Secret holds.
    identity: Value,
    /// The address was set by this test.
    listening: bool,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Holder {
    async fn new(world: &World) -> Self {
        let root = Client::unix(world.socket);
        let server = root.server().await.unwrap();
        let set = server.config.get("core.https_address").and_then(Value::as_str);
        let set = set.filter(|address| !address.is_empty()).map(str::to_owned);
        let listening = set.is_none();
        let address = set.unwrap_or_else(|| format!("127.0.0.1:{}", free_port()));
        if listening {
            listen(&root, &address).await;
        }
        let project = world.server.project().unwrap();
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

/// What makes a project safe to be given to others, and usable for nodes.
fn fence(bridge: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("restricted", "true"),
        ("restricted.containers.privilege", "unprivileged"),
        ("restricted.containers.nesting", "allow"),
        ("restricted.networks.access", bridge),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_identity_gets_unprivileged_machines_and_no_others() {
    in_projects("a_restricted_identity", fence, |mut world| async move {
        let holder = Holder::new(&world).await;
        let result = AssertUnwindSafe(machines(&mut world, &holder)).catch_unwind().await;
        world.kill().await;
        holder.remove().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        world
    })
    .await;
}

async fn machines(world: &mut World, holder: &Holder) {
    let (plain, odd) = (format!("{}-a", world.cluster), format!("{}-b", world.cluster));
    world
        .make_cluster(json!({
            "unprivileged": null, "loadBalancer": { "external": {} },
            "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
    world.patch::<Secret>(&world.secret(), json!({ "stringData": holder.identity })).await;
    world.start();
    world.provision().await;

    // The cluster asks for privileged nodes: said before the server is asked.
    world.make_machine(&plain, false, json!({})).await;
    let refused = refused(world, &plain).await;
    assert!(refused.contains("allows no privileged containers"), "{refused}");
    assert!(refused.contains("spec.unprivileged: true"), "{refused}");
    assert!(world.instances().await.is_empty());

    // The user changes their mind, and the same machine is made.
    world.patch::<LXCCluster>(&world.cluster, json!({ "spec": { "unprivileged": true } })).await;
    world.until::<LXCMachine>(&plain, "to be ready", is_ready).await;
    let instance = world.instance(&plain).await.unwrap();
    assert!(!instance.config.contains_key("linux.kernel_modules"));
    assert!(!instance.devices.contains_key("kubeadm-host-boot"));

    // A machine asks by itself: the server is not asked.
    let privileged = json!({ "config": { "security.privileged": "true" } });
    world.make_machine(&odd, false, privileged).await;
    let refused = self::refused(world, &odd).await;
    assert!(refused.contains("isolation is shared"), "{refused}");
    assert!(refused.contains("config security.privileged=true makes root"), "{refused}");
    let events = world.events(&odd).await;
    assert_eq!(
        events.iter().filter(|reason| *reason == "InstanceProvisioningAborted").count(),
        1,
        "{events:?}"
    );
    assert!(world.instance(&odd).await.is_none());
}

async fn refused(world: &World, name: &str) -> String {
    let refused = world
        .until::<LXCMachine>(name, "to be refused", |machine| {
            provisioning(machine).0 == "InstanceProvisioningAborted"
        })
        .await;
    provisioning(&refused).1
}
