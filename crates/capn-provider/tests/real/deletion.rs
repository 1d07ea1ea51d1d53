//! Deletion when all is not well, and not touching what is paused.

use capi_api::core::Cluster;
use capn_api::LXCMachine;
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
                json!({ "config": { "no.such.key": "1" } }),
                "InstanceProvisioningAborted",
                ["no.such.key", "correct spec.config"],
            ),
            (
                "device",
                json!({ "devices": ["eth0"] }),
                "InstanceProvisioningAborted",
                ["eth0", "type=nic"],
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
                ["virtual-machine", "spec.instanceType: container"],
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
