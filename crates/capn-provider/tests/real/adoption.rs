//! Whose instance it is.

use capn_api::LXCMachine;
use incus_client::api::{Config, InstanceSource, InstancesPost};
use serde_json::json;

use crate::{
    image,
    world::{MINUTE, World, on_servers, provisioning},
};

async fn make_instance(world: &World, name: &str, config: &[(&str, &str)]) {
    let post = InstancesPost {
        name: name.to_owned(),
        source: InstanceSource::alias(image::ALIAS),
        config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Config>(),
        ..InstancesPost::default()
    };
    world.server.create_instance(&post, None).await.unwrap().wait(MINUTE).await.unwrap();
}

async fn external(world: &World) {
    world
        .make_cluster(json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
    world.provision().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_instance_is_refused_and_survives_the_deletion() {
    on_servers("somebody_elses_instance_is_refused", |mut world| async move {
        world.start();
        external(&world).await;
        let name = format!("{}-md", world.cluster);
        make_instance(
            &world,
            &name,
            &[("user.cluster-name", "other"), ("user.cluster-namespace", "x")],
        )
        .await;
        world.make_machine(&name, false, json!({})).await;
        let machine = world
            .until::<LXCMachine>(&name, "to be refused", |machine| {
                provisioning(machine).0 == "InstanceProvisioningAborted"
            })
            .await;
        let message = provisioning(&machine).1;
        assert!(message.contains("cluster x/other"), "{message}");
        assert!(message.contains(&format!("default/{name}")), "{message}");
        assert!(world.instance(&name).await.unwrap().is_stopped(), "it was started");

        world.delete::<LXCMachine>(&name).await;
        world.until_gone::<LXCMachine>(&name).await;
        assert!(world.instance(&name).await.is_some(), "it was deleted");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_the_go_provider_is_adopted() {
    on_servers("an_instance_of_the_go_provider_is_adopted", |mut world| async move {
        world.start();
        external(&world).await;
        let name = format!("{}-md", world.cluster);
        make_instance(
            &world,
            &name,
            &[
                ("user.cluster-name", &world.cluster),
                ("user.cluster-namespace", "default"),
                ("user.machine-name", &name),
                ("user.cluster-role", "worker"),
                ("user.made-by", "hand"),
            ],
        )
        .await;
        world.make_machine(&name, false, json!({ "providerID": format!("lxc:///{name}") })).await;
        let machine = world.ready_machine(&name).await;
        let instance = world.instance(&name).await.unwrap();
        assert_eq!(instance.config["user.made-by"], "hand");
        assert_eq!(Some(&instance.config["user.capn.owner-uid"]), machine.metadata.uid.as_ref());
        world
    })
    .await;
}
