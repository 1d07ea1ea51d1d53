//! Asks an instance how its bootstrap data fares, while there is no node yet.
//!
//! Without this a failed `kubeadm` looks like one that takes long, and only a look into the
//! instance tells.

use std::time::Duration;

use capi_api::conditions;
use capn_api::{LXCMachine, conditions as kinds};
use capn_plan::bootstrap::{FAILED, LOOK, Progress};
use incus_client::{Client, ExecRequest};

use super::{
    observe::{self, References},
    validate::Subject,
};
use crate::context::Context;

/// How long the instance may take to answer.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// How the bootstrap data fares. `None` where nothing is to be said: the instance has only just
/// started, is known to have ended, or does not let itself be asked.
pub(super) async fn observe(
    ctx: &Context,
    machine: &LXCMachine,
    found: &References,
    subject: &Subject,
) -> Option<Progress> {
    if found.machine.as_ref().is_some_and(|owner| owner.node_name().is_some()) {
        return Some(Progress::Ended);
    }
    let status = machine.status.as_ref()?;
    let known = conditions::get(Some(&status.conditions), kinds::BOOTSTRAP_SUCCEEDED);
    if known.is_some_and(|known| known.status == "True") {
        return None;
    }
    if !status.ready {
        return Some(Progress::Running);
    }
    let remote = observe::remote(ctx, found).await.ok()?;
    let mut request = ExecRequest::new(["sh", "-c", LOOK]);
    request.deadline = LOOK_DEADLINE;
    match look(&remote.client, subject.name.as_str(), request).await {
        Ok(progress) => Some(progress),
        Err(error) => {
            tracing::debug!(
                instance = subject.name.as_str(),
                error = &error as &dyn std::error::Error,
                "cannot ask how the bootstrap data fares"
            );
            None
        }
    }
}

/// The exit code says it all unless something failed, and costs one request; output costs six.
async fn look(
    client: &Client,
    instance: &str,
    request: ExecRequest,
) -> Result<Progress, incus_client::Error> {
    match client.exec_code(instance, &request).await? {
        FAILED => {
            let output = client.exec(instance, request).await?;
            Ok(Progress::read(output.exit_code, &output.stdout_text()))
        }
        code => Ok(Progress::read(code, "")),
    }
}
