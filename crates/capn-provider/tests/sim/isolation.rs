//! Violations of a cluster's isolation are rejected, whatever their source.

use capi_api::core::Machine;
use capn_api::{Isolation, LXCMachine};
use incus_client::api::{Config, ProfilePut, ProfilesPost};
use serde_json::{Value, json};

use crate::{
    harness::{PROJECT, TestEnv, plane},
    kinds,
    objects::{CLUSTER, IMAGE},
};

impl TestEnv {
    /// Creates a worker whose LXCMachine has this spec besides its image.
    async fn make_machine_of(&self, name: &str, mut spec: Value) {
        let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
        self.create::<k8s_openapi::api::core::v1::Secret>(kinds::bootstrap(
            name,
            "#cloud-config\n",
        ))
        .await;
        let machine: Machine = self.create(kinds::machine(CLUSTER, name, &labels)).await;
        spec["image"] = json!({ "name": IMAGE });
        self.create::<LXCMachine>(kinds::lxc_machine(&machine, &spec)).await;
    }

    async fn refused(&self, name: &str, part: &str) {
        self.until::<LXCMachine>(name, part, |machine| {
            let conditions = machine.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
            conditions
                .into_iter()
                .flatten()
                .any(|it| it.reason == "InstanceProvisioningAborted" && it.message.contains(part))
        })
        .await;
        let instances = self.simulator.instances();
        assert!(!instances.iter().any(|(_, instance)| instance.name == name), "{name} was made");
    }

    async fn profile(&self, name: &str, key: &str) {
        let config = Config::from([(key.to_owned(), "true".to_owned())]);
        let put = ProfilePut { config, ..ProfilePut::default() };
        let post = ProfilesPost { name: name.into(), put };
        self.server.create_profile(&post).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn config_devices_and_profiles_that_break_the_isolation_make_no_instance() {
    let mut env = TestEnv::new(&plane().await, "isolation").await;
    env.start();
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until_ready("demo-cp").await;
    env.profile("open", "security.privileged").await;
    env.profile("closed", "security.nesting").await;

    env.make_machine_of("demo-a", json!({ "config": { "security.privileged": "true" } })).await;
    env.make_machine_of("demo-b", json!({ "devices": ["h,type=disk,source=/,path=/h"] })).await;
    env.make_machine_of("demo-c", json!({ "profiles": ["default", "open"] })).await;
    env.make_machine_of("demo-d", json!({ "profiles": ["default", "closed"] })).await;
    env.refused("demo-a", "config security.privileged=true makes root in the node").await;
    env.refused("demo-b", "device h (type=disk,source=/,path=/h) attaches").await;
    env.refused("demo-c", "(profile open)").await;
    env.until_ready("demo-d").await;
    let found: LXCMachine = env.get("demo-d").await.unwrap();
    assert_eq!(found.status.unwrap().isolation, Some(Isolation::Shared));

    // The profile of a running instance is changed, and the reported isolation follows.
    let (profile, tag) = {
        let found = env.server.profile("closed").await.unwrap().unwrap();
        (found.value, found.etag)
    };
    let mut put = ProfilePut { config: profile.config, ..ProfilePut::default() };
    put.config.insert("raw.lxc".into(), "lxc.cap.drop=".into());
    env.server.put_profile("closed", &put, tag.as_deref()).await.unwrap();
    env.until::<LXCMachine>("demo-d", "to be shown as what it is", |machine| {
        let status = machine.and_then(|it| it.status.as_ref());
        status.is_some_and(|status| {
            let broken = status.conditions.iter().any(|it| {
                it.type_ == "IsolationKept"
                    && it.reason == "IsolationBroken"
                    && it.message.contains("raw.lxc=lxc.cap.drop=")
            });
            broken && status.isolation == Some(Isolation::Privileged)
        })
    })
    .await;
    assert_eq!(env.simulator.instances().iter().filter(|(it, _)| it == PROJECT).count(), 4);
}
