//! Machines that request more than their cluster's isolation allows, on a server that allows
//! everything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::attack::fixture::{Fixture, has_conditions};
use crate::attack::hostile::Simulated;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("isolation", Attacker::Tenant, Target::Both)
        .gate("config, devices and profiles are validated before an instance is created")
        .add("a machine that makes itself privileged", |s| config(s, "security.privileged", "true"))
        .on(Target::Serve)
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
        .add("a machine with a directory of the host", |s| {
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
        .add("a machine with a NIC of the host", |s| {
            device(s, "eth9,type=nic,nictype=physical,parent=eth0")
        })
        .add("a machine that takes addresses by a route", |s| {
            device(s, "eth0,type=nic,network=incusbr0,name=eth0,ipv4.routes=192.0.2.7/32")
        })
        .add("a machine that takes addresses of the host's network", |s| {
            device(s, "eth1,type=nic,nictype=routed,parent=eth0,ipv4.address=192.0.2.7")
        })
        .add("a machine that has packets of others rewritten", |s| {
            device(s, "p,type=proxy,nat=true,listen=tcp:192.0.2.7:6443,connect=tcp:10.0.0.2:6443")
        })
        .add("a machine with a device whose type is said twice", |s| {
            device(s, "host,type=disk,source=/,path=/host,type=disk")
        })
        .add("a machine whose kernel parameter has a line for LXC", |s| {
            config(s, "linux.sysctl.net.ipv4.ip_forward", "1\nlxc.hook.pre-start = /bin/true")
        })
        .add("a machine whose variable has a name with a line for LXC", |s| {
            config(s, "environment.A=1\nlxc.hook.pre-start = /bin/true\nlxc.environment = B", "1")
        })
        .add("a machine whose limit has a name with a line for LXC", |s| {
            config(s, "limits.kernel.nofile = 1\nlxc.hook.pre-start = /bin/true\nlxc.prlimit.core", "1")
        })
        .add("a profile with a line for LXC", |s| {
            let value = "1\nlxc.hook.pre-start = /bin/true";
            profile(s, json!({ "config": { "linux.sysctl.net.ipv4.ip_forward": value } }))
        })
        .add("a machine that takes over a NIC of the host", |s| {
            device(s, "eth1,type=nic,nictype=macvlan,parent=eth0,mode=passthru")
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

async fn config(fixture: Arc<Fixture>, key: &str, value: &str) -> AttackResult {
    refused(&fixture, json!({ "config": { key: value } }), Value::Null).await
}

async fn device(fixture: Arc<Fixture>, device: &str) -> AttackResult {
    refused(&fixture, json!({ "devices": [device] }), Value::Null).await
}

async fn profile(fixture: Arc<Fixture>, profile: Value) -> AttackResult {
    refused(&fixture, json!({ "profiles": ["evil"] }), profile).await
}

/// No such instance is created, and a condition states the reason.
async fn refused(fixture: &Fixture, wanted: Value, profile: Value) -> AttackResult {
    let incus = Simulated::start().await?;
    add_profile(&incus, profile).await?;
    fixture.secret("identity", incus.identity()?).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "isolation": "isolated",
        "loadBalancer": { "external": {} },
        "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
    });
    fixture.lxc_cluster(spec).await?;
    let cluster = format!("{}/attack", fixture.clusters());
    let ready = json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": true,
    } } });
    fixture.tenant.merge(&format!("{cluster}/status"), &ready).await?.granted()?;
    let path = fixture.infrastructure("lxcmachines");
    let made = fixture.machine("attack", "node", wanted).await?;
    if !made.status.is_success() {
        return Ok(());
    }
    let has_instance = || !incus.simulator.instances().is_empty();
    // Either an instance, or a condition with a final refusal.
    let judged = fixture
        .until(&format!("{path}/node"), |object| {
            has_instance() || (has_conditions(object) && told(object).is_some())
        })
        .await?;
    ensure!(!has_instance(), "an instance was created as requested");
    told(&judged)
        .with_context(|| format!("no condition refuses it: {}", judged["status"]["conditions"]))?;
    Ok(())
}

/// Reason of a final condition.
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

async fn add_profile(incus: &Simulated, profile: Value) -> AttackResult {
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
    ensure!(answer.status().is_success(), "the profile was not created: {}", answer.status());
    Ok(())
}

/// A load balancer has the same isolation as the machines of its cluster.
async fn balancer(fixture: Arc<Fixture>) -> AttackResult {
    let incus = Simulated::start().await?;
    add_profile(&incus, json!({ "config": { "security.privileged": "true" } })).await?;
    fixture.secret("identity", incus.identity()?).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "isolation": "isolated",
        "loadBalancer": { "lxc": { "instanceSpec": {
            "image": { "name": "capn/test" }, "profiles": ["evil"],
        } } },
    });
    fixture.lxc_cluster(spec).await?;
    fixture.judged_cluster().await?;
    let told = "a load balancer was created with that profile";
    fixture.never(Duration::from_secs(1), told, || !incus.simulator.instances().is_empty()).await
}
