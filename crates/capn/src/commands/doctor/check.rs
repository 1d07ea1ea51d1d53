//! Gathers facts and judges them.

use std::time::Duration;

use camino::Utf8Path;
use capn_doctor::facts::{self, HostFacts, ServerFacts};
use capn_doctor::rules::{self, Wishes};
use capn_doctor::{Finding, Severity};
use capn_plan::launch;
use incus_client::api::Devices;
use serde::Serialize;

use super::DoctorArgs;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::preflight;

/// Where images of nodes come from when the server has none.
const IMAGE_SERVER: (&str, u16) = ("images.linuxcontainers.org", 443);
const SHORT: Duration = Duration::from_secs(3);

/// What was looked at and found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The server, if there is one.
    pub(super) server: Option<String>,
    /// Whether the host of this process was looked at: only if the server is on it.
    pub(super) host_checked: bool,
    /// All findings.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Fails when a cluster cannot be made.
    pub(super) fn verdict(&self, tried_to_fix: bool) -> Result<(), CommandError> {
        let error = CommandError::new(match self.count(Severity::Problem) {
            0 => return Ok(()),
            1 => "1 problem: a cluster here does not come up, or is not safe".to_owned(),
            n => format!("{n} problems: a cluster here does not come up, or is not safe"),
        });
        let can_fix = self.findings.iter().any(|f| f.is_problem() && f.fix.is_some());
        Err(match can_fix && !tried_to_fix {
            true => error.hint("mend what can be mended safely: `capn doctor --fix`"),
            false => error,
        })
    }
}

/// Looks at everything. What cannot be reached becomes a finding too.
pub(super) async fn all(
    identity: &Result<Identity, CommandError>,
    args: &DoctorArgs,
    root: &Utf8Path,
) -> Report {
    let wishes = Wishes { allow_cgroup_v1: args.allow_cgroup_v1 };
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
                findings.extend(rules::together_findings(host, &facts));
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
        .map_err(|error| CommandError::caused(format!("cannot look at {}", identity.server), error))
}

fn unreachable(error: &CommandError) -> Finding {
    Finding {
        id: "server",
        severity: Severity::Problem,
        found: error.chain().join(": "),
        means: "instances are made by an Incus or LXD server".to_owned(),
        mend: error.hint_texts().to_vec(),
        fix: None,
    }
}

/// Whether images could be downloaded. Asked from here; the server may have other ways.
async fn image_server() -> Finding {
    let (host, port) = IMAGE_SERVER;
    let connect = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect((host, port)));
    let is_reached = matches!(connect.await, Ok(Ok(_)));
    let finding = Finding {
        id: "image-server",
        severity: Severity::Ok,
        found: format!("the image server {host} answers"),
        means: String::new(),
        mend: Vec::new(),
        fix: None,
    };
    if is_reached {
        return finding;
    }
    Finding {
        severity: Severity::Warning,
        found: format!("the image server {host} is not reached from here"),
        means: "images that are on the server already can be used, others cannot be downloaded"
            .to_owned(),
        mend: vec![
            "build images here instead: `capn image build kubeadm` and `capn image build haproxy`"
                .to_owned(),
        ],
        ..finding
    }
}
