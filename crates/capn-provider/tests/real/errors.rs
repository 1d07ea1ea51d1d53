//! A hundred invalid specs: each is rejected when it is written, or leads to a condition with the
//! problem and is not retried before something changes.

use std::time::Duration;

use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine};
use kube::{Api, api::DynamicObject, api::PostParams, core::ApiResource, core::GroupVersionKind};
use serde_json::{Value, json};

use crate::{
    harness::{TestEnv, on_servers},
    kinds::owner,
};

/// Machine specs, merged into a valid one.
fn machines() -> Vec<(&'static str, Value)> {
    let mut specs = vec![
        ("type", json!({ "instanceType": "vm" })),
        ("type", json!({ "instanceType": "Container" })),
        ("type", json!({ "instanceType": 5 })),
        ("type", json!({ "instanceType": "virtual-machine" })),
        ("type", json!({ "instanceType": "kind" })),
        ("provider id", json!({ "providerID": 5 })),
        ("provider id", json!({ "providerID": "aws:///eu/i-1" })),
        ("provider id", json!({ "providerID": "lxc://a" })),
        ("provider id", json!({ "providerID": "lxc:///" })),
        ("flavor", json!({ "flavor": 2 })),
        ("flavor", json!({ "flavor": ["c2-m4"] })),
        ("flavor", json!({ "flavor": "c2 m4" })),
        ("flavor", json!({ "flavor": "large" })),
        ("flavor", json!({ "flavor": "c-m4" })),
        ("flavor", json!({ "flavor": "c2-mx" })),
        ("flavor", json!({ "flavor": "c2,m4" })),
        ("flavor", json!({ "flavor": "t99.huge" })),
        ("profiles", json!({ "profiles": "default" })),
        ("profiles", json!({ "profiles": [1] })),
        ("profiles", json!({ "profiles": [""] })),
        ("profiles", json!({ "profiles": ["a/b"] })),
        ("profiles", json!({ "profiles": { "default": true } })),
        ("devices", json!({ "devices": "eth0,type=nic" })),
        ("devices", json!({ "devices": { "eth0": { "type": "nic" } } })),
        ("devices", json!({ "devices": [{ "name": "eth0" }] })),
        ("config", json!({ "config": "a=b" })),
        ("config", json!({ "config": ["a=b"] })),
        ("config", json!({ "config": { "limits.cpu": 2 } })),
        ("config", json!({ "config": { "security.nesting": true } })),
        ("config", json!({ "config": { "limits": { "cpu": "2" } } })),
        ("image", json!({ "image": "ubuntu:24.04" })),
        ("image", json!({ "image": { "name": 24 } })),
        ("image", json!({ "image": { "name": "my image" } })),
        ("image", json!({ "image": { "name": "nope:1" } })),
        ("image", json!({ "image": { "name": ":24.04" } })),
        ("image", json!({ "image": { "name": "kind:v1.36.0" } })),
        ("image", json!({ "image": { "name": "x".repeat(513) } })),
        ("image", json!({ "image": { "name": "a", "protocol": "ftp" } })),
        ("image", json!({ "image": { "name": "a", "protocol": 1 } })),
        ("image", json!({ "image": { "name": "a", "server": "images" } })),
        ("image", json!({ "image": { "name": "a", "server": "ftp://images.example" } })),
        ("image", json!({ "image": { "fingerprint": "sha256:00" } })),
        ("image", json!({ "image": { "fingerprint": "0".repeat(65) } })),
        ("image", json!({ "image": { "fingerprint": 12 } })),
        ("target", json!({ "target": 1 })),
        ("target", json!({ "target": "@" })),
        ("target", json!({ "target": "@@gpu" })),
        ("target", json!({ "target": "node 1" })),
        ("target", json!({ "target": "a/b" })),
        ("target", json!({ "target": "-a" })),
    ];
    // Not `name,key=value,…`.
    for device in [
        "",
        ",type=nic",
        "eth0",
        "eth0,",
        "eth0,nic",
        "eth0,=x",
        "type=nic,a=b",
        " ,a=b",
        "eth0,type=nic,,a=b",
    ] {
        specs.push(("device string", json!({ "devices": [device] })));
    }
    // Values that the server rejects.
    for device in [
        "d,a=b",
        "d,type=nosuch",
        "d,type=disk",
        "d,type=disk,path=/x",
        "d,type=disk,path=/x,source=/no/such/path",
        "d,type=disk,path=/x,source=/boot,nosuch=1",
        "d,type=disk,path=/x,source=/boot,readonly=maybe",
        "d,type=nic",
        "d,type=nic,nictype=nosuch",
        "d,type=nic,nictype=bridged",
        "d,type=proxy",
        "d,type=proxy,listen=tcp:127.0.0.1:1,connect=nosuch",
        "d,type=unix-char",
        "d,type=unix-char,path=/dev/x,mode=abc",
        "d,type=usb,vendorid=nothex",
        "d,type=tpm",
        "root,type=disk,path=/,size=large",
    ] {
        specs.push(("device", json!({ "devices": [device] })));
    }
    for (key, value) in [
        ("no.such.key", "1"),
        ("limits.cpu", "many"),
        ("limits.cpu.allowance", "half"),
        ("limits.cpu.priority", "high"),
        ("limits.memory", "much"),
        ("limits.memory.enforce", "maybe"),
        ("limits.memory.swap", "maybe"),
        ("limits.processes", "few"),
        ("security.nesting", "maybe"),
        ("security.privileged", "maybe"),
        ("security.idmap.isolated", "maybe"),
        ("security.idmap.size", "large"),
        ("boot.autostart", "maybe"),
        ("boot.stop.priority", "last"),
        ("raw.lxc", "nonsense"),
        ("raw.idmap", "both 1"),
        ("snapshots.schedule", "sometimes"),
        ("nvidia.runtime", "maybe"),
        ("volatile.no.such", "1"),
    ] {
        specs.push(("config", json!({ "config": { key: value } })));
    }
    specs
}

/// Cluster specs, merged into a valid one.
fn clusters() -> Vec<(&'static str, Value)> {
    let lxc = |spec: Value| json!({ "loadBalancer": { "lxc": spec } });
    vec![
        ("load balancer", json!({ "loadBalancer": null })),
        ("load balancer", json!({ "loadBalancer": {} })),
        ("load balancer", json!({ "loadBalancer": "lxc" })),
        ("load balancer", json!({ "loadBalancer": { "lxc": {}, "external": {} } })),
        ("load balancer", json!({ "loadBalancer": { "nginx": {} } })),
        ("no OCI here", json!({ "loadBalancer": { "oci": {} } })),
        ("no endpoint", json!({ "loadBalancer": { "external": {} } })),
        ("no endpoint", json!({ "loadBalancer": { "kubeVIP": {} } })),
        ("no endpoint", json!({ "loadBalancer": { "ovn": { "networkName": "ovn" } } })),
        ("image", lxc(json!({ "instanceSpec": { "image": { "name": "nope:1" } } }))),
        ("image", lxc(json!({ "instanceSpec": { "image": "haproxy" } }))),
        ("flavor", lxc(json!({ "instanceSpec": { "flavor": 1 } }))),
        ("flavor", lxc(json!({ "instanceSpec": { "flavor": "nosuch" } }))),
        ("profiles", lxc(json!({ "instanceSpec": { "profiles": "default" } }))),
        ("template", lxc(json!({ "customHAProxyConfigTemplate": "{{ .NoSuch" }))),
        ("endpoint", json!({ "controlPlaneEndpoint": { "port": -1 } })),
        ("endpoint", json!({ "controlPlaneEndpoint": { "port": 65536 } })),
        ("endpoint", json!({ "controlPlaneEndpoint": { "port": "6443" } })),
        ("endpoint", json!({ "controlPlaneEndpoint": { "host": 5 } })),
        ("endpoint", json!({ "controlPlaneEndpoint": "10.0.0.1:6443" })),
        ("secret", json!({ "secretRef": "incus" })),
        ("secret", json!({ "secretRef": { "name": 5 } })),
        ("isolation", json!({ "unprivileged": "yes" })),
        ("isolation", json!({ "isolation": "none" })),
        ("isolation", json!({ "isolation": "privileged", "unprivileged": true })),
        ("isolation", json!({ "isolation": "shared", "unprivileged": false })),
        ("defaults", json!({ "skipDefaultKubeadmProfile": "no" })),
    ]
}

/// Creates an object as a user would. Returns false if it is rejected.
async fn is_taken(env: &TestEnv, kind: &str, object: &Value) -> bool {
    let kind = GroupVersionKind::gvk(capn_api::GROUP, capn_api::VERSION, kind);
    let api: Api<DynamicObject> = Api::namespaced_with(
        env.kube.clone(),
        crate::harness::NAMESPACE,
        &ApiResource::from_gvk(&kind),
    );
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Returns the reason of a condition that is not true.
fn refusal(status: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = status["conditions"].as_array()?;
    let found =
        conditions.iter().find(|found| found["type"] == kind && found["status"] != "True")?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("message")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_invalid_specs_are_rejected_or_reported_in_a_condition() {
    on_servers("a_hundred_wrong_specs", |mut env| async move {
        env.start();
        env.make_cluster(json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        env.provision().await;
        let good: Machine = env.bare_machine("good").await;
        // Empty values that the Go provider writes are valid, also in templates, which Cluster API
        // creates as a dry run first.
        let zero = json!({
            "providerID": "", "instanceType": "", "flavor": "", "profiles": [], "devices": [],
            "config": {}, "target": "",
            "image": { "name": "", "fingerprint": "", "server": "", "protocol": "" },
        });
        let template = json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCMachineTemplate",
            "metadata": { "name": "zero" }, "spec": { "template": { "spec": zero } },
        });
        assert!(is_taken(&env, "LXCMachineTemplate", &template).await);
        let (mut refused, mut waiting) = (0, Vec::new());
        for (index, (what, spec)) in machines().into_iter().enumerate() {
            let name = format!("{}-m{index}", env.cluster);
            let mut wanted = json!({ "image": { "name": crate::image::ALIAS } });
            for (key, value) in spec.as_object().unwrap() {
                wanted[key] = value.clone();
            }
            let object = json!({
                "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
                "metadata": {
                    "name": name, "ownerReferences": [owner("Machine", &good)],
                    "labels": { "cluster.x-k8s.io/cluster-name": env.cluster },
                },
                "spec": wanted,
            });
            match is_taken(&env, "LXCMachine", &object).await {
                true => waiting.push(("LXCMachine", name, what, spec)),
                false => refused += 1,
            }
        }
        for (index, (what, spec)) in clusters().into_iter().enumerate() {
            let name = format!("{}-c{index}", env.cluster);
            let cluster: Cluster = env.bare_cluster(&name).await;
            let mut wanted = json!({
                "secretRef": { "name": env.secret() }, "loadBalancer": { "lxc": {
                    "instanceSpec": { "image": { "name": crate::image::ALIAS } },
                } },
            });
            for (key, value) in spec.as_object().unwrap() {
                wanted[key] = value.clone();
            }
            let object = json!({
                "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
                "metadata": {
                    "name": name, "ownerReferences": [owner("Cluster", &cluster)],
                    "labels": { "cluster.x-k8s.io/cluster-name": name },
                },
                "spec": wanted,
            });
            match is_taken(&env, "LXCCluster", &object).await {
                true => waiting.push(("LXCCluster", name, what, spec)),
                false => refused += 1,
            }
        }
        let total = machines().len() + clusters().len();
        assert!(total >= 100, "{total}");
        println!("{refused} of {total} are refused when they are written");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        let mut wrong = Vec::new();
        for (kind, name, what, spec) in waiting {
            loop {
                let (condition, status) = match kind {
                    "LXCMachine" => (
                        "InstanceProvisioned",
                        json!(env.api::<LXCMachine>().get(&name).await.unwrap().status),
                    ),
                    _ => (
                        "LoadBalancerAvailable",
                        json!(env.api::<LXCCluster>().get(&name).await.unwrap().status),
                    ),
                };
                let found = refusal(&status, condition);
                if found.as_ref().is_some_and(|(reason, message)| {
                    reason.ends_with("Aborted") && !message.is_empty()
                }) {
                    break;
                }
                if tokio::time::Instant::now() > deadline {
                    wrong.push(format!("{what} {spec}: {found:?}"));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        env
    })
    .await;
}
