//! Deletion with problems, and paused objects.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use capi_api::core::Cluster;
use capn_api::{LXCCluster, LXCMachine};
use futures::StreamExt as _;
use incus_client::{EventItem, api::EventKind};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::{TestEnv, is_ready, on_servers, provisioning};

async fn one_machine(env: &mut TestEnv) -> String {
    env.start();
    let name = format!("{}-md", env.cluster);
    env.make_cluster(json!({
        "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
    }))
    .await;
    env.make_machine(&name, false, json!({})).await;
    env.provision().await;
    env.ready_machine(&name).await;
    name
}

fn deleting(machine: &LXCMachine) -> String {
    let conditions = machine.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == "Deleting")
        .map(|condition| format!("{}: {}", condition.reason, condition.message))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_without_a_server_is_reported_and_can_be_orphaned() {
    on_servers("a_deletion_without_server_says_so", |mut env| async move {
        let name = one_machine(&mut env).await;
        let nowhere = json!({ "stringData": env.identity("/nowhere/unix.socket") });
        env.patch::<Secret>(&env.secret(), nowhere).await;
        env.delete::<LXCMachine>(&name).await;
        let machine = env
            .until::<LXCMachine>(&name, "to be blocked", |machine| {
                deleting(machine).starts_with("DeletionBlocked")
            })
            .await;
        let message = deleting(&machine);
        for part in ["/nowhere/unix.socket", "orphan-instances=true"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let orphan = json!({ "metadata": { "annotations": {
            "capn.cluster.x-k8s.io/orphan-instances": "true",
        } } });
        env.patch::<LXCMachine>(&name, orphan).await;
        env.until_gone::<LXCMachine>(&name).await;
        assert_eq!(env.instances().await, [name], "the instance is left behind");
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_continues_when_the_server_is_reachable_again() {
    on_servers("a_server_that_comes_back", |mut env| async move {
        let name = one_machine(&mut env).await;
        let secret = env.api::<Secret>().get(&env.secret()).await.unwrap();
        let data = json!({ "data": secret.data });
        env.delete::<Secret>(&env.secret()).await;
        env.delete::<LXCMachine>(&name).await;
        env.until::<LXCMachine>(&name, "to be blocked", |machine| {
            deleting(machine).contains("the Secret does not exist")
        })
        .await;
        let mut again = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": env.secret() },
        });
        again["data"] = data["data"].clone();
        let again: Secret = serde_json::from_value(again).unwrap();
        env.api::<Secret>().create(&Default::default(), &again).await.unwrap();
        env.until_gone::<LXCMachine>(&name).await;
        assert!(env.instances().await.is_empty());
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_object_is_not_changed_even_when_deleted() {
    on_servers("what_is_paused_is_not_touched", |mut env| async move {
        let name = one_machine(&mut env).await;
        let paused = json!({ "spec": { "paused": true } });
        env.patch::<Cluster>(&env.cluster, paused).await;
        env.until::<LXCMachine>(&name, "to be paused", |machine| {
            let conditions = machine.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.type_ == "Paused" && c.status == "True")
        })
        .await;
        env.delete::<LXCMachine>(&name).await;
        // Like a move, which removes finalizers while everything is paused.
        let free = json!({ "metadata": { "finalizers": null } });
        env.patch::<LXCMachine>(&name, free).await;
        env.until_gone::<LXCMachine>(&name).await;
        assert!(env.instance(&name).await.unwrap().is_running());
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_machine_is_reported_with_a_fix() {
    on_servers("what_cannot_be_made_says_why", |mut env| async move {
        let first = one_machine(&mut env).await;
        for (suffix, spec, reason, parts) in [
            (
                "image",
                json!({ "image": { "name": "no-such-image" } }),
                "InstanceProvisioningFailed",
                ["no-such-image", "incus image list"],
            ),
            (
                "profile",
                json!({ "profiles": ["no-such-profile"] }),
                "InstanceProvisioningFailed",
                ["no-such-profile", "create the profile"],
            ),
            (
                "config",
                json!({ "config": { "limits.cpu": "many" } }),
                "InstanceProvisioningAborted",
                ["Invalid CPU limit syntax", "correct spec.config"],
            ),
            (
                "prefix",
                json!({ "image": { "name": "nope:1" } }),
                "InstanceProvisioningAborted",
                ["unknown prefix", "spec.image"],
            ),
            (
                "vm",
                json!({ "instanceType": "virtual-machine" }),
                "InstanceProvisioningAborted",
                ["virtual-machine is not supported here", "spec.instanceType: container"],
            ),
            (
                "kind",
                json!({ "instanceType": "kind" }),
                "InstanceProvisioningAborted",
                ["kind is not supported here", "need Incus 6.11 or later"],
            ),
        ] {
            let name = format!("{}-{suffix}", env.cluster);
            env.make_machine(&name, false, spec).await;
            let machine = env
                .until::<LXCMachine>(&name, reason, |machine| provisioning(machine).0 == reason)
                .await;
            let message = provisioning(&machine).1;
            for part in parts {
                assert!(message.contains(part), "{suffix}: {part}: {message}");
            }
            assert!(!is_ready(&machine));
            env.delete::<LXCMachine>(&name).await;
            env.until_gone::<LXCMachine>(&name).await;
        }
        assert_eq!(env.instances().await, [first]);
        env
    })
    .await;
}

/// Records which instances shut down by themselves (`shutdown`) and which were stopped.
fn stops(env: &TestEnv) -> Arc<Mutex<Vec<String>>> {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let (mut events, notes) = (env.server.events(&[EventKind::Lifecycle]), noted.clone());
    tokio::spawn(async move {
        while let Some(item) = events.next().await {
            let EventItem::Event(event) = item else { continue };
            let Some(told) = event.lifecycle() else { continue };
            let source = told.source.split('?').next().unwrap_or_default();
            let name = source.rsplit('/').next().unwrap_or_default().to_owned();
            if let Some(how) = told.action.strip_prefix("instance-") {
                notes.lock().unwrap().push(format!("{name} {how}"));
            }
        }
    });
    noted
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_stops_by_itself_if_it_does_so_in_time_and_its_cluster_stays() {
    on_servers("an_instance_stops_by_itself", |mut env| async move {
        env.start();
        let stops = stops(&env);
        // Raw settings are only allowed in clusters without isolation.
        env.make_cluster(json!({ "unprivileged": false })).await;
        let [polite, deaf, last] = ["a", "b", "c"].map(|name| format!("{}-{name}", env.cluster));
        // The first process of a container ignores signals that it does not handle.
        let hears_nothing = json!({ "config": { "raw.lxc": "lxc.signal.halt = SIGUSR2" } });
        env.make_machine(&polite, false, json!({})).await;
        for name in [&deaf, &last] {
            env.make_machine(name, false, hears_nothing.clone()).await;
        }
        env.provision().await;
        for name in [&polite, &deaf, &last] {
            env.ready_machine(name).await;
        }
        let soon = json!({ "metadata": { "annotations": {
            "capn.cluster.x-k8s.io/stop-deadline": "3s",
        } } });
        env.patch::<LXCMachine>(&deaf, soon).await;

        env.delete::<LXCMachine>(&polite).await;
        env.delete::<LXCMachine>(&deaf).await;
        env.until_gone::<LXCMachine>(&polite).await;
        env.until_gone::<LXCMachine>(&deaf).await;
        let events = env.events(&deaf).await;
        assert!(events.iter().any(|event| event == "InstanceStoppedByForce"), "{events:?}");
        let noted = stops.lock().unwrap().clone();
        assert!(noted.contains(&format!("{polite} shutdown")), "{noted:?}");
        assert!(!noted.contains(&format!("{polite} stopped")), "{noted:?}");

        // When the cluster is deleted, everything is stopped at once, whatever its deadline.
        env.delete::<LXCCluster>(&env.cluster).await;
        let began = Instant::now();
        env.delete::<LXCMachine>(&last).await;
        env.until_gone::<LXCMachine>(&last).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let noted = stops.lock().unwrap().clone();
        assert!(!noted.contains(&format!("{last} shutdown")), "{noted:?}");
        env.until_gone::<LXCCluster>(&env.cluster).await;
        assert!(env.instances().await.is_empty());
        env
    })
    .await;
}
