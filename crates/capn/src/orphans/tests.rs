//! Which resources count as orphans, and what is deleted from a simulated server.

use std::time::Duration;

use camino::Utf8PathBuf;
use capn_api::keys;
use incus_client::api::{
    Config, InstanceAction, InstanceSource, InstancesPost, NetworkAcl, NetworkPut, NetworksPost,
};
use incus_sim::{Listening, Simulator};

use super::inventory::{Kind, ServerResource};
use super::state_dirs::{Owners, StateDirOwners};
use super::{ClusterKey, DeleteRequest, Plan, clear, of_project, plan};
use crate::identity::Identity;
use crate::state::StateDir;
use crate::ui::testing::{Captured, captured};
use crate::{Context, Environment};

const LONG: Duration = Duration::from_secs(20);

fn marks(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn of_demo(uid: Option<&str>, owner: Option<&str>) -> Config {
    let mut config = marks(&[
        (keys::INSTANCE_CLUSTER_NAME, "demo"),
        (keys::INSTANCE_CLUSTER_NAMESPACE, "default"),
    ]);
    config.extend(uid.map(|uid| (keys::INSTANCE_OWNER_UID.to_owned(), uid.to_owned())));
    config.extend(owner.map(|owner| (keys::INSTANCE_OWNER.to_owned(), owner.to_owned())));
    config
}

fn cluster_key() -> ClusterKey {
    ClusterKey { namespace: "default".into(), name: "demo".into() }
}

#[test]
fn only_resources_without_an_owner_are_orphans() {
    let held = [StateDirOwners {
        dir: Utf8PathBuf::from("/state"),
        owners: Owners {
            uids: ["known".to_owned()].into(),
            names: ["default/moved".to_owned()].into(),
        },
    }];
    let elsewhere = marks(&[
        (keys::INSTANCE_CLUSTER_NAME, "demo"),
        (keys::INSTANCE_CLUSTER_NAMESPACE, "team"),
        (keys::INSTANCE_OWNER_UID, "x"),
    ]);
    for (keys, expected) in [
        (of_demo(Some("lost"), Some("default/a")), Ok("lost")),
        (of_demo(Some("lost"), None), Ok("lost")),
        (of_demo(None, None), Err("it was not created by capn")),
        (of_demo(Some(""), None), Err("it was not created by capn")),
        (of_demo(Some("lost"), Some("team/a")), Err("it belongs to team/a in another namespace")),
        (of_demo(Some("known"), Some("default/a")), Err("its owner is in state directory /state")),
        // It was moved from another management cluster, which changed its UID.
        (
            of_demo(Some("before"), Some("default/moved")),
            Err("its owner is in state directory /state"),
        ),
    ] {
        let resource = ServerResource {
            kind: Kind::Worker,
            name: "a".into(),
            project: None,
            keys: keys.clone(),
            status: String::new(),
            created_at: String::new(),
        };
        let other = ServerResource { keys: elsewhere.clone(), ..resource.clone() };
        let Plan { orphans, kept } = plan(vec![resource, other], &held, Some(&cluster_key()));
        let found = match (orphans.as_slice(), kept.as_slice()) {
            ([orphan], []) => Ok(orphan.owner_uid.as_str()),
            ([], [(_, why)]) => Err(why.as_str()),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{keys:?}");
    }
}

/// A server with a lost cluster `demo` and foreign resources, and a home directory without state.
struct TestServer {
    server: incus_client::Client,
    context: Context,
    err: Captured,
    remote: String,
    dir: tempfile::TempDir,
    _held: (Simulator, Listening),
}

impl TestServer {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let simulator = Simulator::new();
        simulator.add_image("default", "node", &[]);
        let socket = dir.path().join("socket");
        let listening = simulator.listen(&socket).unwrap();
        let remote = format!("unix://{}", socket.display());
        let server = Identity::unix(camino::Utf8Path::from_path(&socket).unwrap(), None);
        let server = server.client().unwrap();
        let (_, err, ui) = captured();
        let home = dir.path().to_str().unwrap();
        let environment = Environment::with([("HOME", home)]);
        let context = Context { environment, ..Context::testing(ui) };
        let env = Self { server, context, err, remote, dir, _held: (simulator, listening) };
        env.launch("cp", of_demo(Some("1"), Some("default/cp"))).await;
        env.launch("go", of_demo(None, None)).await;
        env.launch("mine", Config::new()).await;
        let network = NetworksPost {
            name: "capn-1".into(),
            put: NetworkPut {
                config: of_demo(Some("2"), Some("default/demo")),
                ..Default::default()
            },
            ..NetworksPost::default()
        };
        env.server.create_network(&network).await.unwrap();
        let config = of_demo(Some("2"), Some("default/demo"));
        let acl = NetworkAcl { name: "capn-1".into(), config, ..NetworkAcl::default() };
        env.server.create_network_acl(&acl).await.unwrap();
        env
    }

    async fn launch(&self, name: &str, config: Config) {
        let post = InstancesPost {
            name: name.into(),
            source: InstanceSource::alias("node"),
            config,
            ..InstancesPost::default()
        };
        self.server.create_instance(&post, None).await.unwrap().wait(LONG).await.unwrap();
        let started = self.server.set_state(name, InstanceAction::Start, false, Some(LONG)).await;
        started.unwrap().wait(LONG).await.unwrap();
    }

    async fn clear(&self, yes: bool) -> Result<(), crate::error::CommandError> {
        let state = StateDir::of(&self.context).unwrap();
        let asked = DeleteRequest {
            cluster_key: &cluster_key(),
            remote: Some(&self.remote),
            project: None,
            yes,
        };
        clear(&self.context, &state, &asked).await
    }

    async fn names(&self) -> Vec<String> {
        let resources = of_project(&self.server, None).await.unwrap();
        let mut names: Vec<String> = resources
            .into_iter()
            .map(|resource| format!("{} {}", resource.kind.as_str(), resource.name))
            .collect();
        if self.server.instance("mine").await.unwrap().is_some() {
            names.push("mine".into());
        }
        names
    }
}

#[tokio::test]
async fn nothing_is_deleted_without_confirmation() {
    let env = TestServer::new().await;
    let before = env.names().await;
    let error = env.clear(false).await.unwrap_err();
    let text = error.render(|_, text| text.to_owned());
    assert_eq!(error.exit(), crate::Exit::Usage, "{text}");
    let command = format!("capn delete cluster demo --from-server --remote {} --yes", env.remote);
    assert!(text.contains(&command), "{text}");
    assert!(env.err.text().contains("instance `cp`"), "{}", env.err.text());
    assert_eq!(env.names().await, before);
}

#[tokio::test]
async fn a_lost_cluster_is_deleted_and_foreign_resources_are_kept() {
    let env = TestServer::new().await;
    env.clear(true).await.unwrap();
    assert_eq!(env.names().await, ["instance go", "mine"]);
    let said = env.err.text();
    assert!(said.contains("instance `go` stays: it was not created by capn"), "{said}");
    assert!(said.contains("1 instance, 1 network, 1 network ACL"), "{said}");
    // Nothing is left that could be deleted.
    let error = env.clear(true).await.unwrap_err();
    assert!(error.to_string().contains("no orphaned resources"), "{error}");
    assert!(!env.dir.path().join(".local").exists(), "no state is created");
}
