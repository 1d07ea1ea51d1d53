//! Gathers facts and evaluates them.

use std::time::Duration;

use camino::Utf8Path;
use capn_doctor::facts::{self, HostFacts, ServerFacts};
use capn_doctor::rules::{self, CheckOptions};
use capn_doctor::{Finding, Severity};
use capn_plan::launch;
use incus_client::api::Devices;
use serde::Serialize;

use super::DoctorArgs;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::preflight;

/// Source of node images that the server does not have.
const IMAGE_SERVER: (&str, u16) = ("images.linuxcontainers.org", 443);
const SHORT: Duration = Duration::from_secs(3);

/// What was checked, and the findings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The server, if there is one.
    pub(super) server: Option<String>,
    /// Whether the host was checked. Only if the server runs on this host.
    pub(super) host_checked: bool,
    /// All findings.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Returns an error if a cluster cannot be created.
    pub(super) fn verdict(&self, tried_to_fix: bool) -> Result<(), CommandError> {
        let error = CommandError::new(match self.count(Severity::Problem) {
            0 => return Ok(()),
            1 => "1 problem: a cluster on this server would not start or would not be secure"
                .to_owned(),
            n => format!(
                "{n} problems: a cluster on this server would not start or would not be secure"
            ),
        });
        let can_fix = self.findings.iter().any(|f| f.is_problem() && f.fix.is_some());
        Err(match can_fix && !tried_to_fix {
            true => error.hint("apply the safe fixes: `capn doctor --fix`"),
            false => error,
        })
    }
}

/// Runs all checks. What cannot be reached becomes a finding.
pub(super) async fn all(
    identity: &Result<Identity, CommandError>,
    args: &DoctorArgs,
    root: &Utf8Path,
) -> Report {
    let wishes = CheckOptions { allow_cgroup_v1: args.allow_cgroup_v1 };
    let (server, host_checked) = match identity {
        Ok(identity) => (Some(identity.server.clone()), identity.socket().is_some()),
        Err(_) => (None, args.server.remote.is_none()),
    };
    let mut findings = Vec::new();
    let mut host = match host_checked {
        false => None,
        true => {
            let read = HostFacts::read(root);
            let host = HostFacts { forwarding: facts::forwarding().await, ..read };
            findings.extend(rules::host_findings(&host, wishes));
            Some(host)
        }
    };
    match server_facts(identity, args).await {
        Ok(facts) => {
            findings.extend(rules::server_findings(&facts));
            if let Some(host) = &mut host {
                let bridge = facts.instances.network.as_ref().filter(|found| found.gives_ipv4());
                if let Some(bridge) = bridge {
                    host.offer = Some(facts::offer(&bridge.name).await);
                }
                findings.extend(rules::combined_findings(host, &facts));
            }
        }
        Err(error) => findings.push(unreachable(&error)),
    }
    findings.push(image_server().await);
    Report { server, host_checked, findings }
}

async fn server_facts(
    identity: &Result<Identity, CommandError>,
    args: &DoctorArgs,
) -> Result<ServerFacts, CommandError> {
    let identity = match identity {
        Ok(identity) => identity,
        Err(error) => return Err(error.repeated()),
    };
    let client = identity.client()?;
    preflight::contact(identity, &client).await?;
    let mut devices = Devices::new();
    if let Some(pool) = &args.storage_pool {
        devices.insert(launch::ROOT_DEVICE.to_owned(), launch::root_disk(pool));
    }
    ServerFacts::read(&client, &args.profiles, &devices)
        .await
        .map_err(|error| CommandError::caused(format!("cannot check {}", identity.server), error))
}

fn unreachable(error: &CommandError) -> Finding {
    Finding {
        id: "server",
        severity: Severity::Problem,
        found: error.chain().join(": "),
        means: "capn needs an Incus or LXD server to create instances".to_owned(),
        remedies: error.hint_texts().to_vec(),
        fix: None,
    }
}

/// Checks whether images can be downloaded from this machine. The server may have other network
/// access.
async fn image_server() -> Finding {
    let (host, port) = IMAGE_SERVER;
    let connect = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect((host, port)));
    let is_reached = matches!(connect.await, Ok(Ok(_)));
    let finding = Finding {
        id: "image-server",
        severity: Severity::Ok,
        found: format!("image server {host} responds"),
        means: String::new(),
        remedies: Vec::new(),
        fix: None,
    };
    if is_reached {
        return finding;
    }
    Finding {
        severity: Severity::Warning,
        found: format!("cannot reach image server {host} from this machine"),
        means: "images on the server can be used, but others may not be downloadable".to_owned(),
        remedies: vec![
            "build images here instead: `capn image build kubeadm` and `capn image build haproxy`"
                .to_owned(),
        ],
        ..finding
    }
}
