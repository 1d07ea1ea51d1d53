//! Capacity of templates.

use capn_api::LXCMachineTemplate;
use incus_client::api::{Config, ProfilePut, ProfilesPost};
use kube::{ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::harness::{TestEnv, in_projects};

async fn make(env: &TestEnv, name: &str, labelled: bool, spec: Value) {
    let labels = match labelled {
        true => json!({ "cluster.x-k8s.io/cluster-name": env.cluster }),
        false => json!({}),
    };
    let template: LXCMachineTemplate = serde_json::from_value(json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCMachineTemplate",
        "metadata": { "name": name, "labels": labels },
        "spec": { "template": { "spec": spec } },
    }))
    .unwrap();
    env.api().create(&PostParams::default(), &template).await.unwrap();
}

/// Waits for a capacity, and returns the status.
async fn status(env: &TestEnv, name: &str) -> Value {
    let is_known = |template: &LXCMachineTemplate| {
        template.status.as_ref().is_some_and(|status| status.node_info.is_some())
    };
    let template = env.until::<LXCMachineTemplate>(name, "to say its size", is_known).await;
    assert_eq!(template.name_any(), name);
    serde_json::to_value(template.status).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_reports_its_capacity_before_a_machine_exists() {
    let own_profiles = |_: &'static str| vec![("features.profiles", "true")];
    let test = "a_template_says_how_large_its_machines_are";
    in_projects(test, own_profiles, |mut env| async move {
        env.start();
        let small = ProfilePut {
            config: Config::from([
                ("limits.cpu".to_owned(), "1".to_owned()),
                ("limits.memory".to_owned(), "512MiB".to_owned()),
            ]),
            ..ProfilePut::default()
        };
        let profile = ProfilesPost { name: "small".into(), put: small };
        env.server.create_profile(&profile).await.unwrap();
        // Before the cluster, as in a manifest.
        make(&env, "flavored", true, json!({ "flavor": "c2-m4" })).await;
        make(&env, "profiled", true, json!({ "profiles": ["default", "small"] })).await;
        make(&env, "unlimited", false, json!({})).await;
        make(&env, "of-a-class", false, json!({ "flavor": "c1-m1" })).await;
        env.make_cluster(json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        env.make_deployment("unlimited").await;

        let node = json!({ "architecture": "amd64", "operatingSystem": "linux" });
        let memory = if env.is_lxd() { "4000000Ki" } else { "4Gi" };
        let flavored = status(&env, "flavored").await;
        assert_eq!(flavored["capacity"], json!({ "cpu": "2", "memory": memory }));
        assert_eq!(flavored["nodeInfo"], node);
        let profiled = status(&env, "profiled").await;
        assert_eq!(profiled["capacity"], json!({ "cpu": "1", "memory": "512Mi" }));
        // Found through the deployment that uses it.
        let unlimited = status(&env, "unlimited").await;
        let host = env.server.resources().await.unwrap();
        assert_eq!(unlimited["capacity"]["cpu"], host["cpu"]["total"].to_string());
        // Without a server, only the values in the spec are known.
        let alone = env
            .until::<LXCMachineTemplate>("of-a-class", "to say its size", |template| {
                template.status.is_some()
            })
            .await;
        let alone = serde_json::to_value(alone.status).unwrap();
        assert_eq!(alone, json!({ "capacity": { "cpu": "1", "memory": "1Gi" } }));
        env.server.delete_profile("small").await.unwrap();
        env
    })
    .await;
}
