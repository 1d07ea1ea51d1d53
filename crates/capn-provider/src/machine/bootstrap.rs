//! Probes the bootstrap data of an instance until its result is known.
//!
//! Without a probe inside the instance, a failed `kubeadm` cannot be distinguished from a slow one.

use std::time::Duration;

use capi_api::conditions;
use capn_api::{
    LXCMachine,
    conditions::{self as kinds, reasons},
};
use capn_plan::{
    bootstrap::{
        FAILED, FORGET, MachineFacts, NO_SENTINEL, PROBE, ProbeResult, Progress, progress,
    },
    launch::USER_DATA,
};
use incus_api::Config;
use incus_client::{Client, ExecRequest};

use super::{
    observe::{self, References},
    report::Bootstrap,
    validate::ValidMachine,
};
use crate::{context::Context, failure::Failure, instance};

/// Deadline of a probe. On an emulated machine each `systemctl` takes seconds.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// Kind of kubeadm's bootstrap configuration, whose data writes the sentinel file.
const KUBEADM: &str = "KubeadmConfig";

/// Returns the progress of the bootstrap data. Once it is known to have succeeded, the instance is
/// not probed again.
pub(super) async fn observe(
    ctx: &Context,
    machine: &LXCMachine,
    found: &References,
    valid: &ValidMachine,
) -> Bootstrap {
    let facts = facts(found);
    let progress = probe_instance(ctx, machine, found, valid, facts).await;
    Bootstrap { progress, is_registered: facts.is_registered }
}

async fn probe_instance(
    ctx: &Context,
    machine: &LXCMachine,
    found: &References,
    valid: &ValidMachine,
    facts: MachineFacts,
) -> Option<Progress> {
    let Some(status) = machine.status.as_ref() else { return Some(Progress::Running) };
    let known = conditions::get(Some(&status.conditions), kinds::BOOTSTRAP_SUCCEEDED);
    if known.is_some_and(|known| known.status == "True") {
        return None;
    }
    // It has only just started.
    if !status.ready {
        return Some(Progress::Running);
    }
    let facts = MachineFacts {
        has_failed: known.is_some_and(|known| known.reason == reasons::BOOTSTRAP_FAILED),
        ..facts
    };
    let Ok(remote) = observe::remote(ctx, found).await else { return Some(Progress::Unchanged) };
    let mut request = ExecRequest::new(["sh", "-c", PROBE]);
    request.deadline = LOOK_DEADLINE;
    let answer = probe(&remote.client, valid.name.as_str(), request, facts).await;
    let answer = answer.unwrap_or_else(|error| {
        tracing::debug!(
            instance = valid.name.as_str(),
            error = &error as &dyn std::error::Error,
            "cannot probe the bootstrap data"
        );
        // An agent may still start as long as there is no node.
        if is_final(&error) && facts.is_registered {
            ProbeResult::Unavailable
        } else {
            ProbeResult::NotRun
        }
    });
    Some(progress(answer, facts))
}

/// Removes bootstrap data that nothing needs any longer: first inside the instance, then from its
/// config, where everyone with read access to the project could read it. Returns false if this
/// failed and must be retried.
///
/// Data in the `config` of the manifest belongs to the user and is kept.
pub(super) async fn forget(ctx: &Context, found: &References, valid: &ValidMachine) -> bool {
    if valid.spec.config.contains_key(USER_DATA) {
        return true;
    }
    let name = valid.name.as_str();
    let forgetting = async {
        let remote = observe::remote(ctx, found).await?;
        let mut request = ExecRequest::new(["sh", "-c", FORGET]);
        request.deadline = LOOK_DEADLINE;
        match remote.client.exec_code(name, &request).await {
            Ok(0) => {}
            // Without a shell there is no cloud-init either.
            Ok(126 | 127) => {}
            Ok(code) => {
                let source = format!(
                    "the program that removes it from the instance exited with code {code}"
                );
                return Err(Failure::Invalid { message: source });
            }
            Err(error) if is_final(&error) => {}
            Err(error) => return Err(Failure::server("remove bootstrap data from", name)(error)),
        }
        let nothing = Config::from([(USER_DATA.to_owned(), String::new())]);
        instance::set_config(&remote, &valid.name, &nothing).await
    };
    match forgetting.await {
        Ok(()) => {
            tracing::info!(
                instance = name,
                "removed the bootstrap data, which is no longer needed"
            );
            true
        }
        Err(failure) => {
            let error = failure.message();
            tracing::warn!(instance = name, error, "cannot remove the bootstrap data yet");
            false
        }
    }
}

fn facts(found: &References) -> MachineFacts {
    let owner = found.machine.as_ref();
    MachineFacts {
        is_kubeadm: owner
            .and_then(|owner| owner.spec.bootstrap.config_ref.as_ref())
            .is_some_and(|reference| reference.kind == KUBEADM),
        is_registered: owner.is_some_and(|owner| owner.node_name().is_some()),
        has_failed: false,
    }
}

/// Runs the probe. Unless something failed, the exit code suffices, which costs one request; output
/// costs six.
async fn probe(
    client: &Client,
    instance: &str,
    request: ExecRequest,
    facts: MachineFacts,
) -> Result<ProbeResult, incus_client::Error> {
    match client.exec_code(instance, &request).await? {
        code if code == FAILED || (code == NO_SENTINEL && facts.is_kubeadm) => {
            let output = client.exec(instance, request).await?;
            Ok(ProbeResult::read(output.exit_code, &output.stdout_text()))
        }
        code => Ok(ProbeResult::read(code, "")),
    }
}

/// Returns whether the instance cannot be probed at all: a virtual machine without an agent, or an
/// identity that must not run commands.
fn is_final(error: &incus_client::Error) -> bool {
    // Incus: "VM agent isn't currently running", LXD: "LXD VM agent isn't currently running".
    let no_agent = error.server_text().is_some_and(|text| text.contains("VM agent isn't"));
    error.is_forbidden() || no_agent
}
