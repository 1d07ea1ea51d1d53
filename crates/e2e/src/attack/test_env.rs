//! Environment of attacks: a plane, its controllers, and its users.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::canary::Canary;
use super::client::ApiClient;
use super::fixture::Fixture;
use super::process::{CapnProcess, free_address, peak_mib};
use super::table::Target;
use super::tls::{Authority, CertifiedKey};

pub(crate) const CLUSTERS: &str = "/apis/cluster.x-k8s.io/v1beta2";
pub(crate) const INFRASTRUCTURE: &str = "/apis/infrastructure.cluster.x-k8s.io/v1alpha2";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const DEFINER: &str = "definer";
/// From how many MiB on the next attack waits until the objects of the previous one are gone, and for how long.
const MUCH: u64 = 180;
/// By how many MiB the attack must have raised it.
const ROSE: u64 = 20;
const LEAVING: Duration = Duration::from_secs(15);

/// Processes with a separate state directory.
pub(crate) struct TestEnv {
    dir: tempfile::TempDir,
    capn: PathBuf,
    pub(crate) processes: Vec<CapnProcess>,
    authority: Arc<Authority>,
    admin: CertifiedKey,
    plane: SocketAddr,
    scenes: usize,
    slower: u32,
}

impl TestEnv {
    /// Starts `capn serve`, optionally with a `capn manager`, and creates the namespace of the
    /// tenant who must not be affected.
    pub(crate) async fn open(on: Target, capn: &Path, slower: u32) -> anyhow::Result<Self> {
        let dir = dir()?;
        let state = dir.path().join("state");
        let plane = free_address()?;
        let mut arguments = vec!["--state-dir".to_owned(), text(&state), "-v".to_owned()];
        arguments.extend(["serve".to_owned(), "--listen".to_owned(), plane.to_string()]);
        if on == Target::Manager {
            arguments.push("--without-provider".to_owned());
        }
        let mut processes = vec![CapnProcess::start("serve", capn, &arguments, dir.path(), plane)?];
        let kubeconfig = state.join("plane.kubeconfig");
        processes[0].ready(Some(&kubeconfig)).await?;
        if on == Target::Manager {
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
            let mut manager = CapnProcess::start("manager", capn, &arguments, dir.path(), health)?;
            manager.ready(None).await?;
            processes.push(manager);
        }
        let authority = Arc::new(Authority::read(&state.join("pki"))?);
        let admin = authority.client("stage", &["system:masters"])?;
        let capn = capn.to_owned();
        let env = Self { dir, capn, processes, authority, admin, plane, scenes: 0, slower };
        env.prepare().await?;
        Canary::hatch(env.caller("canary", &[])?).await?;
        Ok(env)
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

    /// A namespace and a user who may do anything in it.
    async fn tenancy(&self, admin: &ApiClient, namespace: &str, name: &str) -> anyhow::Result<()> {
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

    /// Client for a user with these groups.
    pub(crate) fn caller(&self, user: &str, groups: &[&str]) -> anyhow::Result<ApiClient> {
        self.holder(Some(&self.authority.client(user, groups)?))
    }

    pub(crate) fn admin(&self) -> anyhow::Result<ApiClient> {
        self.holder(Some(&self.admin))
    }

    pub(crate) fn anonymous(&self) -> anyhow::Result<ApiClient> {
        self.holder(None)
    }

    fn holder(&self, pair: Option<&CertifiedKey>) -> anyhow::Result<ApiClient> {
        Ok(ApiClient::new(self.plane, self.authority.trusting(pair)?).slower(self.slower))
    }

    /// A new namespace with a tenant, for one attack.
    pub(crate) async fn fixture(&mut self) -> anyhow::Result<Fixture> {
        self.scenes += 1;
        let namespace = format!("tenant-{}", self.scenes);
        let name = format!("mallory-{}", self.scenes);
        let admin = self.admin()?;
        self.tenancy(&admin, &namespace, &name).await.context("cannot create a tenant")?;
        Ok(Fixture {
            tenant: self.caller(&name, &[])?,
            definer: self.caller(DEFINER, &[])?,
            anonymous: self.anonymous()?,
            admin,
            user: name,
            namespace,
            plane: self.plane,
            probes: self.processes.iter().map(|process| process.address).collect(),
            authority: Arc::clone(&self.authority),
            capn: self.capn.clone(),
            state: self.dir.path().join("state"),
            dir: self.dir.path().join(format!("scene-{}", self.scenes)),
            secret: format!("s3cret{}{}", self.scenes, uuid()),
            slower: self.slower,
            kept: Default::default(),
        })
    }

    /// Peak memory of the largest process since [`forget_peak`](super::process::forget_peak), in MiB.
    pub(crate) fn memory(&self) -> u64 {
        let peaks = self.processes.iter().filter_map(|process| peak_mib(process.pid()));
        peaks.max().unwrap_or_default()
    }

    /// Deletes what an attack left, best effort: the next attack uses another namespace. After an attack that
    /// took much memory, waits until the namespace is gone, so that the next one is measured alone.
    pub(crate) async fn clear(&self, fixture: &Fixture, before: u64, memory: u64) {
        // What earlier attacks left does not go away by waiting.
        let is_large = memory > MUCH && memory >= before + ROSE;
        let path = format!("/api/v1/namespaces/{}", fixture.namespace);
        let clearing = async {
            let admin = self.admin()?;
            admin.delete(&path).await?;
            while is_large && admin.get(&path).await?.status != StatusCode::NOT_FOUND {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            anyhow::Ok(())
        };
        let longest = if is_large { LEAVING } else { Duration::from_secs(5) };
        drop(tokio::time::timeout(longest * self.slower, clearing).await);
    }

    pub(crate) fn logs(&self) -> String {
        self.processes.iter().map(CapnProcess::log).collect()
    }
}

/// A directory in memory if possible, since disk speed is not measured here.
fn dir() -> anyhow::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("capn-attacks-");
    let memory = Path::new("/dev/shm");
    Ok(match memory.is_dir() {
        true => builder.tempdir_in(memory)?,
        false => builder.tempdir()?,
    })
}

/// A unique word.
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
