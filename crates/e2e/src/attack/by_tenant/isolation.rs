//! Machines that want more than their cluster's isolation gives, on a server that gives everything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::attack::hostile::Simulated;
use crate::attack::scene::{Scene, has_conditions, owner};
use crate::attack::table::{Attack, Class, Done, On, Who};

pub(super) fn all() -> Vec<Attack> {
    Class::new("isolation", Who::Tenant, On::Both)
        .gate("config, devices and the contents of profiles are looked at before an instance is made")
        .add("a machine that makes itself privileged", |s| config(s, "security.privileged", "true"))
        .on(On::Serve)
        .add("a machine with settings of LXC", |s| config(s, "raw.lxc", "lxc.mount.entry = / host none bind"))
        .add("a machine with a map of ids", |s| config(s, "raw.idmap", "both 0 0"))
        .add("a machine that shares the others' ids", |s| config(s, "security.idmap.isolated", "false"))
        .add("a machine that chooses its ids", |s| config(s, "security.idmap.base", "0"))
        .add("a machine with AppArmor rules", |s| config(s, "raw.apparmor", "mount,"))
        .add("a machine with seccomp rules", |s| config(s, "raw.seccomp", "2\ndenylist"))
        .add("a machine that loosens system calls", |s| config(s, "security.syscalls.intercept.mount", "true"))
        .add("a machine without the default of denied system calls", |s| {
            config(s, "security.syscalls.deny_default", "false")
        })
        .add("a machine that asks for kernel modules", |s| config(s, "linux.kernel_modules", "evil"))
        .add("a machine that reaches the server from inside", |s| config(s, "security.guestapi.images", "true"))
        .add("a machine with the root of the host", |s| device(s, "host,type=disk,source=/,path=/host"))
        .add("a machine with a folder of the host", |s| {
            device(s, "host,type=disk,source=/var/lib/incus,path=/host")
        })
        .add("a machine with a disk of the host", |s| {
            device(s, "disk,type=unix-block,source=/dev/sda,path=/dev/sda")
        })
        .add("a machine with the memory of the host", |s| {
            device(s, "mem,type=unix-char,source=/dev/mem,path=/dev/mem")
        })
        .add("a machine with a proxy to the host", |s| {
            device(s, "p,type=proxy,connect=unix:/var/lib/incus/unix.socket,listen=unix:/run/i,bind=instance")
        })
        .add("a machine with a card of the host", |s| {
            device(s, "eth9,type=nic,nictype=physical,parent=eth0")
        })
        .add("a machine with a device whose type is said twice", |s| {
            device(s, "host,type=disk,source=/,path=/host,type=disk")
        })
        .add("a profile that makes machines privileged", |s| {
            profile(s, json!({ "config": { "security.privileged": "true" } }))
        })
        .add("a profile with the root of the host", |s| {
            profile(s, json!({ "devices": { "host": { "type": "disk", "source": "/", "path": "/host" } } }))
        })
        .add("a load balancer with a profile that makes it privileged", balancer)
        .end()
}

async fn config(scene: Arc<Scene>, key: &str, value: &str) -> Done {
    refused(&scene, json!({ "config": { key: value } }), Value::Null).await
}

async fn device(scene: Arc<Scene>, device: &str) -> Done {
    refused(&scene, json!({ "devices": [device] }), Value::Null).await
}

async fn profile(scene: Arc<Scene>, profile: Value) -> Done {
    refused(&scene, json!({ "profiles": ["evil"] }), profile).await
}

/// No instance is made that has what was asked for, and a condition says why.
async fn refused(scene: &Scene, wanted: Value, profile: Value) -> Done {
    let incus = Simulated::start().await?;
    add_profile(&incus, profile).await?;
    scene.secret("identity", incus.identity()?).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "isolation": "isolated",
        "loadBalancer": { "external": {} },
        "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
    });
    scene.lxc_cluster(spec).await?;
    let cluster = format!("{}/attack", scene.clusters());
    let ready = json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": true,
    } } });
    scene.tenant.merge(&format!("{cluster}/status"), &ready).await?.granted()?;
    let data = json!({ "value": "#cloud-config\n", "format": "cloud-config" });
    scene.secret("node-bootstrap", data).await?;
    let labels = json!({ "cluster.x-k8s.io/cluster-name": "attack" });
    let machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": "node", "labels": labels },
        "spec": {
            "clusterName": "attack", "version": "v1.36.0",
            "bootstrap": { "dataSecretName": "node-bootstrap" },
            "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": "node",
            },
        },
    });
    let machine = scene.tenant.post(&scene.machines(), &machine).await?.granted()?.json();
    let mut spec = wanted;
    spec["image"] = json!({ "name": "capn/test" });
    let object = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
        "metadata": {
            "name": "node", "labels": labels, "ownerReferences": [owner("Machine", &machine)],
        },
        "spec": spec,
    });
    let path = scene.infrastructure("lxcmachines");
    let made = scene.tenant.post(&path, &object).await?;
    if !made.status.is_success() {
        return Ok(());
    }
    let has_instance = || !incus.simulator.instances().is_empty();
    // Either an instance, or a condition that refuses it for good.
    let judged = scene
        .until(&format!("{path}/node"), |object| {
            has_instance() || (has_conditions(object) && told(object).is_some())
        })
        .await?;
    ensure!(!has_instance(), "an instance was made with what was asked for");
    told(&judged)
        .with_context(|| format!("no condition refuses it: {}", judged["status"]["conditions"]))?;
    Ok(())
}

/// The reason of a condition that is final.
fn told(object: &Value) -> Option<&str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let final_one = |condition: &&Value| {
        condition["status"] == "False"
            && condition["reason"].as_str().is_some_and(|reason| {
                reason.contains("Aborted")
                    || reason.contains("Invalid")
                    || reason.contains("Isolation")
            })
    };
    conditions.iter().find(final_one)?["reason"].as_str()
}

async fn add_profile(incus: &Simulated, profile: Value) -> Done {
    if profile.is_null() {
        return Ok(());
    }
    let mut profile = profile;
    profile["name"] = json!("evil");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(incus.connect().await?))
            .await?;
    tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::post("/1.0/profiles")
        .header("host", "incus")
        .header("content-type", "application/json")
        .body(Full::<bytes::Bytes>::from(profile.to_string()))?;
    let answer = sender.send_request(request).await?;
    ensure!(answer.status().is_success(), "the profile is not made: {}", answer.status());
    Ok(())
}

/// A load balancer is unprivileged like the machines of its cluster.
async fn balancer(scene: Arc<Scene>) -> Done {
    let incus = Simulated::start().await?;
    add_profile(&incus, json!({ "config": { "security.privileged": "true" } })).await?;
    scene.secret("identity", incus.identity()?).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "isolation": "isolated",
        "loadBalancer": { "lxc": { "instanceSpec": {
            "image": { "name": "capn/test" }, "profiles": ["evil"],
        } } },
    });
    scene.lxc_cluster(spec).await?;
    scene.judged_cluster().await?;
    let told = "a load balancer was made with that profile";
    scene.never(Duration::from_secs(1), told, || !incus.simulator.instances().is_empty()).await
}
