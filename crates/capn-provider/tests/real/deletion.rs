//! Deletion when all is not well, and not touching what is paused.

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

use crate::world::{World, is_ready, on_servers, provisioning};

async fn one_machine(world: &mut World) -> String {
    world.start();
    let name = format!("{}-md", world.cluster);
    world
        .make_cluster(json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
    world.make_machine(&name, false, json!({})).await;
    world.provision().await;
    world.ready_machine(&name).await;
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
async fn a_deletion_without_server_says_so_and_can_be_given_up() {
    on_servers("a_deletion_without_server_says_so", |mut world| async move {
        let name = one_machine(&mut world).await;
        let nowhere = json!({ "stringData": world.identity("/nowhere/unix.socket") });
        world.patch::<Secret>(&world.secret(), nowhere).await;
        world.delete::<LXCMachine>(&name).await;
        let machine = world
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
        world.patch::<LXCMachine>(&name, orphan).await;
        world.until_gone::<LXCMachine>(&name).await;
        assert_eq!(world.instances().await, [name], "the instance is left behind");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_lets_the_deletion_go_on() {
    on_servers("a_server_that_comes_back", |mut world| async move {
        let name = one_machine(&mut world).await;
        let secret = world.api::<Secret>().get(&world.secret()).await.unwrap();
        let data = json!({ "data": secret.data });
        world.delete::<Secret>(&world.secret()).await;
        world.delete::<LXCMachine>(&name).await;
        world
            .until::<LXCMachine>(&name, "to be blocked", |machine| {
                deleting(machine).contains("there is no such Secret")
            })
            .await;
        let mut again = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": world.secret() },
        });
        again["data"] = data["data"].clone();
        let again: Secret = serde_json::from_value(again).unwrap();
        world.api::<Secret>().create(&Default::default(), &again).await.unwrap();
        world.until_gone::<LXCMachine>(&name).await;
        assert!(world.instances().await.is_empty());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_is_not_touched_even_when_deleted() {
    on_servers("what_is_paused_is_not_touched", |mut world| async move {
        let name = one_machine(&mut world).await;
        let paused = json!({ "spec": { "paused": true } });
        world.patch::<Cluster>(&world.cluster, paused).await;
        world
            .until::<LXCMachine>(&name, "to be paused", |machine| {
                let conditions = machine.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|c| c.type_ == "Paused" && c.status == "True")
            })
            .await;
        world.delete::<LXCMachine>(&name).await;
        // As a move does: finalizers are taken away while everything is paused.
        let free = json!({ "metadata": { "finalizers": null } });
        world.patch::<LXCMachine>(&name, free).await;
        world.until_gone::<LXCMachine>(&name).await;
        assert!(world.instance(&name).await.unwrap().is_running());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_says_why_and_what_to_do() {
    on_servers("what_cannot_be_made_says_why", |mut world| async move {
        let first = one_machine(&mut world).await;
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
                ["virtual-machine is not possible here", "spec.instanceType: container"],
            ),
            (
                "kind",
                json!({ "instanceType": "kind" }),
                "InstanceProvisioningAborted",
                ["kind is not possible here", "Incus does from 6.11 on"],
            ),
        ] {
            let name = format!("{}-{suffix}", world.cluster);
            world.make_machine(&name, false, spec).await;
            let machine = world
                .until::<LXCMachine>(&name, reason, |machine| provisioning(machine).0 == reason)
                .await;
            let message = provisioning(&machine).1;
            for part in parts {
                assert!(message.contains(part), "{suffix}: {part}: {message}");
            }
            assert!(!is_ready(&machine));
            world.delete::<LXCMachine>(&name).await;
            world.until_gone::<LXCMachine>(&name).await;
        }
        assert_eq!(world.instances().await, [first]);
        world
    })
    .await;
}

/// Notes which instances stopped by themselves (`shutdown`) and which were stopped.
fn stops(world: &World) -> Arc<Mutex<Vec<String>>> {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let (mut events, notes) = (world.server.events(&[EventKind::Lifecycle]), noted.clone());
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
    on_servers("an_instance_stops_by_itself", |mut world| async move {
        world.start();
        let stops = stops(&world);
        // Raw settings are for clusters that promise nothing.
        world.make_cluster(json!({ "unprivileged": false })).await;
        let [polite, deaf, last] = ["a", "b", "c"].map(|name| format!("{}-{name}", world.cluster));
        // The first process of a container does not hear a signal that it does not wait for.
        let hears_nothing = json!({ "config": { "raw.lxc": "lxc.signal.halt = SIGUSR2" } });
        world.make_machine(&polite, false, json!({})).await;
        for name in [&deaf, &last] {
            world.make_machine(name, false, hears_nothing.clone()).await;
        }
        world.provision().await;
        for name in [&polite, &deaf, &last] {
            world.ready_machine(name).await;
        }
        let soon = json!({ "metadata": { "annotations": {
            "capn.cluster.x-k8s.io/stop-deadline": "3s",
        } } });
        world.patch::<LXCMachine>(&deaf, soon).await;

        world.delete::<LXCMachine>(&polite).await;
        world.delete::<LXCMachine>(&deaf).await;
        world.until_gone::<LXCMachine>(&polite).await;
        world.until_gone::<LXCMachine>(&deaf).await;
        let events = world.events(&deaf).await;
        assert!(events.iter().any(|event| event == "InstanceStoppedByForce"), "{events:?}");
        let noted = stops.lock().unwrap().clone();
        assert!(noted.contains(&format!("{polite} shutdown")), "{noted:?}");
        assert!(!noted.contains(&format!("{polite} stopped")), "{noted:?}");

        // With the cluster goes everything at once, however long it may take by itself.
        world.delete::<LXCCluster>(&world.cluster).await;
        let began = Instant::now();
        world.delete::<LXCMachine>(&last).await;
        world.until_gone::<LXCMachine>(&last).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let noted = stops.lock().unwrap().clone();
        assert!(!noted.contains(&format!("{last} shutdown")), "{noted:?}");
        world.until_gone::<LXCCluster>(&world.cluster).await;
        assert!(world.instances().await.is_empty());
        world
    })
    .await;
}
