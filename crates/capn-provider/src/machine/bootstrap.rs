//! Asks an instance how its bootstrap data fares, until that is known.
//!
//! Without this a failed `kubeadm` looks like one that takes long, and only a look into the
//! instance tells.

use std::time::Duration;

use capi_api::conditions;
use capn_api::{
    LXCMachine,
    conditions::{self as kinds, reasons},
};
use capn_plan::{
    bootstrap::{Answer, FAILED, FORGET, Facts, LOOK, Progress, QUIET, progress},
    launch::USER_DATA,
};
use incus_api::Config;
use incus_client::{Client, ExecRequest};

use super::{
    observe::{self, References},
    report::Bootstrap,
    validate::Subject,
};
use crate::{context::Context, failure::Failure, instance};

/// How long the instance may take to answer. On an emulated machine each `systemctl` takes seconds.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// The kind of kubeadm's bootstrap configuration, whose data writes the sentinel file.
const KUBEADM: &str = "KubeadmConfig";

/// How the bootstrap data fares. An instance whose data is known to have ended well is not asked.
pub(super) async fn observe(
    ctx: &Context,
    machine: &LXCMachine,
    found: &References,
    subject: &Subject,
) -> Bootstrap {
    let facts = facts(found);
    let progress = ask(ctx, machine, found, subject, facts).await;
    Bootstrap { progress, is_registered: facts.is_registered }
}

async fn ask(
    ctx: &Context,
    machine: &LXCMachine,
    found: &References,
    subject: &Subject,
    facts: Facts,
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
    let facts = Facts {
        has_failed: known.is_some_and(|known| known.reason == reasons::BOOTSTRAP_FAILED),
        ..facts
    };
    let Ok(remote) = observe::remote(ctx, found).await else { return Some(Progress::Untold) };
    let mut request = ExecRequest::new(["sh", "-c", LOOK]);
    request.deadline = LOOK_DEADLINE;
    let answer = look(&remote.client, subject.name.as_str(), request, facts).await;
    let answer = answer.unwrap_or_else(|error| {
        tracing::debug!(
            instance = subject.name.as_str(),
            error = &error as &dyn std::error::Error,
            "cannot ask how the bootstrap data fares"
        );
        // An agent may come yet, as long as there is no node.
        if is_final(&error) && facts.is_registered { Answer::Mute } else { Answer::Unasked }
    });
    Some(progress(answer, facts))
}

/// Lets an instance forget bootstrap data that nothing needs any more: in the instance itself, then in
/// its config, where everybody could read it who may look at the project. False when that failed, and is
/// to be tried again.
///
/// Data of the manifest's own `config` is the user's and stays.
pub(super) async fn forget(ctx: &Context, found: &References, subject: &Subject) -> bool {
    if subject.spec.config.contains_key(USER_DATA) {
        return true;
    }
    let name = subject.name.as_str();
    let forgetting = async {
        let remote = observe::remote(ctx, found).await?;
        let mut request = ExecRequest::new(["sh", "-c", FORGET]);
        request.deadline = LOOK_DEADLINE;
        match remote.client.exec_code(name, &request).await {
            Ok(0) => {}
            // What has no shell has no cloud-init either.
            Ok(126 | 127) => {}
            Ok(code) => {
                let source =
                    format!("the program that removes it from the instance ended with {code}");
                return Err(Failure::Invalid { message: source });
            }
            Err(error) if is_final(&error) => {}
            Err(error) => return Err(Failure::server("remove bootstrap data from", name)(error)),
        }
        let nothing = Config::from([(USER_DATA.to_owned(), String::new())]);
        instance::set_config(&remote, &subject.name, &nothing).await
    };
    match forgetting.await {
        Ok(()) => {
            tracing::info!(instance = name, "removed the bootstrap data, which is used up");
            true
        }
        Err(failure) => {
            let error = failure.message();
            tracing::warn!(instance = name, error, "cannot remove the bootstrap data yet");
            false
        }
    }
}

fn facts(found: &References) -> Facts {
    let owner = found.machine.as_ref();
    Facts {
        is_kubeadm: owner
            .and_then(|owner| owner.spec.bootstrap.config_ref.as_ref())
            .is_some_and(|reference| reference.kind == KUBEADM),
        is_registered: owner.is_some_and(|owner| owner.node_name().is_some()),
        has_failed: false,
    }
}

/// The exit code says it all unless something failed, and costs one request; output costs six.
async fn look(
    client: &Client,
    instance: &str,
    request: ExecRequest,
    facts: Facts,
) -> Result<Answer, incus_client::Error> {
    match client.exec_code(instance, &request).await? {
        code if code == FAILED || (code == QUIET && facts.is_kubeadm) => {
            let output = client.exec(instance, request).await?;
            Ok(Answer::read(output.exit_code, &output.stdout_text()))
        }
        code => Ok(Answer::read(code, "")),
    }
}

/// Whether the instance does not let itself be asked at all: a virtual machine without an agent,
/// or an identity that may run no commands.
fn is_final(error: &incus_client::Error) -> bool {
    // Incus: "VM agent isn't currently running", LXD: "LXD VM agent isn't currently running".
    let no_agent = error.server_text().is_some_and(|text| text.contains("VM agent isn't"));
    error.is_forbidden() || no_agent
}
