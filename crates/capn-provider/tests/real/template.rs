//! What templates say about the size of their machines.

use capn_api::LXCMachineTemplate;
use incus_client::api::{Config, ProfilePut, ProfilesPost};
use kube::{ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::world::{World, in_projects};

async fn make(world: &World, name: &str, labelled: bool, spec: Value) {
    let labels = match labelled {
        true => json!({ "cluster.x-k8s.io/cluster-name": world.cluster }),
        false => json!({}),
    };
    let template: LXCMachineTemplate = serde_json::from_value(json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCMachineTemplate",
        "metadata": { "name": name, "labels": labels },
        "spec": { "template": { "spec": spec } },
    }))
    .unwrap();
    world.api().create(&PostParams::default(), &template).await.unwrap();
}

/// Waits for a capacity, and gives all of the status.
async fn status(world: &World, name: &str) -> Value {
    let is_known = |template: &LXCMachineTemplate| {
        template.status.as_ref().is_some_and(|status| status.node_info.is_some())
    };
    let template = world.until::<LXCMachineTemplate>(name, "to say its size", is_known).await;
    assert_eq!(template.name_any(), name);
    serde_json::to_value(template.status).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_says_how_large_its_machines_are_before_there_is_one() {
    let own_profiles = |_: &'static str| vec![("features.profiles", "true")];
    let test = "a_template_says_how_large_its_machines_are";
    in_projects(test, own_profiles, |mut world| async move {
        world.start();
        let small = ProfilePut {
            config: Config::from([
                ("limits.cpu".to_owned(), "1".to_owned()),
                ("limits.memory".to_owned(), "512MiB".to_owned()),
            ]),
            ..ProfilePut::default()
        };
        let profile = ProfilesPost { name: "small".into(), put: small };
        world.server.create_profile(&profile).await.unwrap();
        // Before the cluster, as a manifest may have it.
        make(&world, "flavored", true, json!({ "flavor": "c2-m4" })).await;
        make(&world, "profiled", true, json!({ "profiles": ["default", "small"] })).await;
        make(&world, "unlimited", false, json!({})).await;
        make(&world, "of-a-class", false, json!({ "flavor": "c1-m1" })).await;
        world
            .make_cluster(json!({
                "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
            }))
            .await;
        world.make_deployment("unlimited").await;

        let node = json!({ "architecture": "amd64", "operatingSystem": "linux" });
        let memory = if world.is_lxd() { "4000000Ki" } else { "4Gi" };
        let flavored = status(&world, "flavored").await;
        assert_eq!(flavored["capacity"], json!({ "cpu": "2", "memory": memory }));
        assert_eq!(flavored["nodeInfo"], node);
        let profiled = status(&world, "profiled").await;
        assert_eq!(profiled["capacity"], json!({ "cpu": "1", "memory": "512Mi" }));
        // Found by the deployment that uses it.
        let unlimited = status(&world, "unlimited").await;
        let host = world.server.resources().await.unwrap();
        assert_eq!(unlimited["capacity"]["cpu"], host["cpu"]["total"].to_string());
        // Nobody says which server: what the spec says by itself is said.
        let alone = world
            .until::<LXCMachineTemplate>("of-a-class", "to say its size", |template| {
                template.status.is_some()
            })
            .await;
        let alone = serde_json::to_value(alone.status).unwrap();
        assert_eq!(alone, json!({ "capacity": { "cpu": "1", "memory": "1Gi" } }));
        world.server.delete_profile("small").await.unwrap();
        world
    })
    .await;
}
