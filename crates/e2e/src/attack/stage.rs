//! Where attacks happen: a plane, its controllers, and those who use it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::canary::Canary;
use super::client::Caller;
use super::scene::Scene;
use super::table::On;
use super::tls::{Authority, Pair};
use super::victim::{Victim, free_address};

pub(crate) const CLUSTERS: &str = "/apis/cluster.x-k8s.io/v1beta2";
pub(crate) const INFRASTRUCTURE: &str = "/apis/infrastructure.cluster.x-k8s.io/v1alpha2";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const DEFINER: &str = "definer";

/// Processes with a state folder of their own.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    capn: PathBuf,
    pub(crate) victims: Vec<Victim>,
    authority: Arc<Authority>,
    admin: Pair,
    plane: SocketAddr,
    scenes: usize,
    slower: u32,
}

impl Stage {
    /// Starts `capn serve`, or a `capn manager` beside one, and makes the namespace of the tenant who
    /// must not notice anything.
    pub(crate) async fn open(on: On, capn: &Path, slower: u32) -> anyhow::Result<Self> {
        let folder = folder()?;
        let state = folder.path().join("state");
        let plane = free_address()?;
        let mut arguments = vec!["--state-dir".to_owned(), text(&state), "-v".to_owned()];
        arguments.extend(["serve".to_owned(), "--listen".to_owned(), plane.to_string()]);
        if on == On::Manager {
            arguments.push("--without-provider".to_owned());
        }
        let mut victims = vec![Victim::start("serve", capn, &arguments, folder.path(), plane)?];
        let kubeconfig = state.join("plane.kubeconfig");
        victims[0].ready(Some(&kubeconfig)).await?;
        if on == On::Manager {
            let health = free_address()?;
            let metrics = free_address()?;
            let arguments = [
                "manager".to_owned(),
                "--kubeconfig".to_owned(),
                text(&kubeconfig),
                format!("--health-addr={health}"),
                format!("--diagnostics-address={metrics}"),
                "--insecure-diagnostics".to_owned(),
                "--v=4".to_owned(),
            ];
            let mut manager = Victim::start("manager", capn, &arguments, folder.path(), health)?;
            manager.ready(None).await?;
            victims.push(manager);
        }
        let authority = Arc::new(Authority::read(&state.join("pki"))?);
        let admin = authority.client("stage", &["system:masters"])?;
        let capn = capn.to_owned();
        let stage = Self { folder, capn, victims, authority, admin, plane, scenes: 0, slower };
        stage.prepare().await?;
        Canary::hatch(stage.caller("canary", &[])?).await?;
        Ok(stage)
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        let admin = self.admin()?;
        self.tenancy(&admin, "canary", "canary").await?;
        let definer = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": DEFINER },
            "rules": [{
                "apiGroups": ["apiextensions.k8s.io", "attack.example.com"],
                "resources": ["*"], "verbs": ["*"],
            }],
        });
        admin.post(&format!("{RBAC}/clusterroles"), &definer).await?.granted()?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": DEFINER },
            "roleRef": role("ClusterRole", DEFINER), "subjects": [user(DEFINER)],
        });
        admin.post(&format!("{RBAC}/clusterrolebindings"), &binding).await?.granted()?;
        Ok(())
    }

    /// A namespace, and a user who may do in it what he likes.
    async fn tenancy(&self, admin: &Caller, namespace: &str, name: &str) -> anyhow::Result<()> {
        let of = |kind: &str| json!({ "name": kind, "namespace": namespace });
        let space = json!({ "metadata": { "name": namespace } });
        admin.post("/api/v1/namespaces", &space).await?.granted()?;
        let path = format!("{RBAC}/namespaces/{namespace}");
        let rules = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": of("tenant"), "rules": TENANT_MAY.map(rule),
        });
        admin.post(&format!("{path}/roles"), &rules).await?.granted()?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": of("tenant"), "roleRef": role("Role", "tenant"),
            "subjects": [user(name)],
        });
        admin.post(&format!("{path}/rolebindings"), &binding).await?.granted()?;
        Ok(())
    }

    /// Somebody with these names.
    pub(crate) fn caller(&self, user: &str, groups: &[&str]) -> anyhow::Result<Caller> {
        self.holder(Some(&self.authority.client(user, groups)?))
    }

    pub(crate) fn admin(&self) -> anyhow::Result<Caller> {
        self.holder(Some(&self.admin))
    }

    pub(crate) fn anonymous(&self) -> anyhow::Result<Caller> {
        self.holder(None)
    }

    fn holder(&self, pair: Option<&Pair>) -> anyhow::Result<Caller> {
        Ok(Caller::new(self.plane, self.authority.trusting(pair)?).slower(self.slower))
    }

    /// A new namespace with its tenant, for one attack.
    pub(crate) async fn scene(&mut self) -> anyhow::Result<Scene> {
        self.scenes += 1;
        let namespace = format!("tenant-{}", self.scenes);
        let name = format!("mallory-{}", self.scenes);
        let admin = self.admin()?;
        self.tenancy(&admin, &namespace, &name).await.context("cannot make a tenant")?;
        Ok(Scene {
            tenant: self.caller(&name, &[])?,
            definer: self.caller(DEFINER, &[])?,
            anonymous: self.anonymous()?,
            admin,
            user: name,
            namespace,
            plane: self.plane,
            probes: self.victims.iter().map(|victim| victim.address).collect(),
            authority: Arc::clone(&self.authority),
            capn: self.capn.clone(),
            state: self.folder.path().join("state"),
            folder: self.folder.path().join(format!("scene-{}", self.scenes)),
            secret: format!("s3cret{}{}", self.scenes, uuid()),
            slower: self.slower,
            kept: Default::default(),
        })
    }

    /// Takes away what a scene left, as far as it can be: the next one has a namespace of its own.
    pub(crate) async fn clear(&self, scene: &Scene) {
        let clearing = async {
            let admin = self.admin()?;
            admin.delete(&format!("/api/v1/namespaces/{}", scene.namespace)).await
        };
        drop(tokio::time::timeout(Duration::from_secs(5), clearing).await);
    }

    pub(crate) fn logs(&self) -> String {
        self.victims.iter().map(Victim::log).collect()
    }
}

/// In memory, where there is such a place: how fast the disk is, is not asked here.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("capn-attacks-");
    let memory = Path::new("/dev/shm");
    Ok(match memory.is_dir() {
        true => builder.tempdir_in(memory)?,
        false => builder.tempdir()?,
    })
}

/// A word that is nowhere else.
fn uuid() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("x{:x}", now.map(|since| since.as_nanos()).unwrap_or_default())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

const TENANT_MAY: [(&str, &[&str]); 8] = [
    ("", &["secrets", "configmaps", "configmaps/finalizers", "events", "serviceaccounts"]),
    ("coordination.k8s.io", &["leases"]),
    ("events.k8s.io", &["events"]),
    ("cluster.x-k8s.io", &["*"]),
    ("bootstrap.cluster.x-k8s.io", &["*"]),
    ("controlplane.cluster.x-k8s.io", &["*"]),
    ("infrastructure.cluster.x-k8s.io", &["*"]),
    ("rbac.authorization.k8s.io", &["roles", "rolebindings"]),
];

fn rule((group, resources): (&str, &[&str])) -> Value {
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

fn role(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}

fn user(name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name })
}
