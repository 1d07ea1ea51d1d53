//! Collects data from machines: journals, output of cloud-init and kubeadm, static pods, the
//! console.

use std::time::Duration;

use futures::StreamExt as _;
use incus_client::{Client, ExecRequest};

use super::archive::Archive;
use super::redact::{self, Secrets};
use crate::error::{CommandError, Doing as _};
use crate::machine_exec::MachineInstance;
use crate::manifest::value_to_yaml;

/// Time limit for one file of a machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Number of machines queried concurrently.
const AT_ONCE: usize = 4;
/// Maximum number of machines queried.
const MOST: usize = 100;

/// Files and the commands that print them; each keeps the end of long output.
const FILES: &[(&str, &str)] = &[
    (
        "kubelet.log",
        "journalctl --no-pager --output=short-iso --lines=20000 --unit=kubelet | tail -c 2000000",
    ),
    (
        "containerd.log",
        "journalctl --no-pager --output=short-iso --lines=20000 --unit=containerd | tail -c 2000000",
    ),
    ("cloud-init-output.log", "tail -c 2000000 /var/log/cloud-init-output.log"),
    ("cloud-init.log", "tail -c 2000000 /var/log/cloud-init.log"),
    (
        "static-pods.log",
        "for file in /var/log/pods/kube-system_*/*/*.log; do echo \"== $file\"; tail -n 300 \"$file\"; done | tail -c 2000000",
    ),
    (
        "state.txt",
        "uptime; systemctl --failed --no-pager; df -h; free -m; ip address; ip route; ls -l /etc/kubernetes/manifests; ctr -n k8s.io containers ls | tail -n 200; ctr -n k8s.io tasks ls | tail -n 200",
    ),
];

/// Data collected from one machine.
struct MachineReport {
    machine: String,
    files: Vec<(&'static str, String)>,
    missing: Vec<String>,
}

/// Adds the data of machines. Notes machines that do not respond.
///
/// # Errors
///
/// Returns an error if the archive cannot be written.
pub(super) async fn add(
    archive: &mut Archive,
    secrets: &Secrets,
    machines: Vec<Result<MachineInstance, CommandError>>,
) -> Result<(), CommandError> {
    if machines.len() > MOST {
        archive.note(format!("machines: only {MOST} of {} were queried", machines.len()));
    }
    let mut ways = Vec::new();
    for machine in machines.into_iter().take(MOST) {
        match machine {
            Ok(inside) => ways.push(inside),
            Err(why) => archive.note(secrets.clean(&why.to_string())),
        }
    }
    let asking = ways.iter().map(ask);
    let mut asking = std::pin::pin!(futures::stream::iter(asking).buffered(AT_ONCE));
    while let Some(MachineReport { machine, files, missing }) = asking.next().await {
        for (file, text) in files {
            let path = format!("machines/{machine}/{file}");
            archive.add(&path, &secrets.clean(&text)).doing("cannot write the bundle")?;
        }
        for why in missing {
            archive.note(format!("machine {machine}: {}", secrets.clean(&why)));
        }
    }
    Ok(())
}

async fn ask(inside: &MachineInstance) -> MachineReport {
    let MachineInstance { server, instance, machine, .. } = inside;
    let mut told =
        MachineReport { machine: machine.clone(), files: Vec::new(), missing: Vec::new() };
    match record(server, instance).await {
        Ok(text) => told.files.push(("instance.yaml", text)),
        Err(why) => told.missing.push(format!("instance.yaml: {why}")),
    }
    match tokio::time::timeout(PATIENCE, server.console_log(instance)).await {
        Ok(Ok(text)) => told.files.push(("console.log", lossy(&text))),
        Ok(Err(error)) => told.missing.push(format!("console.log: {error}")),
        Err(_) => told.missing.push("console.log: no response".to_owned()),
    }
    for (file, program) in FILES {
        let request = ExecRequest {
            output_limit_bytes: 2 << 20,
            ..ExecRequest::shell(*program).deadline(PATIENCE)
        };
        match server.exec(instance, request).await {
            Ok(out) if out.stdout.is_empty() => {
                told.missing.push(format!("{file}: {}", out.last_lines(1)));
            }
            Ok(out) => told.files.push((file, lossy(&out.stdout))),
            Err(error) => {
                told.missing.push(format!("{file}: {error}"));
                // Further files would time out too.
                if matches!(error, incus_client::Error::ExecDeadline { .. }) {
                    told.missing.push("skipping its other files".to_owned());
                    break;
                }
            }
        }
    }
    told
}

/// Returns the server's record of the instance.
async fn record(server: &Client, instance: &str) -> Result<String, String> {
    let found = server.instance(instance).await.map_err(|error| error.to_string())?;
    let Some(found) = found else { return Err("it does not exist".to_owned()) };
    let mut value = serde_json::to_value(&found.value).map_err(|error| error.to_string())?;
    redact::object(&mut value);
    value_to_yaml(&value).map_err(|error| error.to_string())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
