//! Executes one step on the server. Nothing else writes the instance of a machine.

use capn_api::LXCMachine;
use capn_plan::{
    InstanceName,
    machine::{Observed, Step},
};
use kube::runtime::events::EventType;

use super::{observe::LaunchInputs, report};
use crate::{
    context::Context,
    events::publish,
    failure::Failure,
    injected_files,
    instance::{self, Stopped},
    remote::Remote,
};

/// Executes one step.
///
/// # Cancellation
///
/// Requests already sent continue on the server. This step and the one before it can be repeated.
pub(crate) async fn step(
    ctx: &Context,
    remote: &Remote,
    machine: &mut LXCMachine,
    name: &InstanceName,
    observed: &Observed,
    step: Step,
    inputs: Option<&LaunchInputs>,
) -> Result<(), Failure> {
    let config = observed.instance.as_ref().map(|instance| instance.config.clone());
    match step {
        Step::Create(launch) => {
            let image = inputs.map(|inputs| inputs.image.text.clone()).unwrap_or_default();
            report::creating(ctx, machine, name, &image).await?;
            instance::create(ctx, remote, name, &launch, &image).await?;
            let note = format!("created instance {name} from image {image}");
            publish(ctx, machine, EventType::Normal, "InstanceCreated", note).await;
        }
        Step::Adopt(missing) => {
            instance::set_config(remote, name, &missing).await?;
            let note = format!("adopted instance {name}");
            publish(ctx, machine, EventType::Normal, "InstanceAdopted", note).await;
        }
        Step::Discard => {
            if let Some(instance) = &observed.instance {
                instance::remove(ctx, remote, name, instance).await?;
            }
            let note =
                format!("the creation of instance {name} was interrupted; creating it again");
            publish(ctx, machine, EventType::Warning, "InstanceDiscarded", note).await;
        }
        Step::Start(put_in, changes) => {
            if !changes.is_empty() {
                instance::set_config(remote, name, &changes).await?;
            }
            let kind = observed.instance.as_ref().map(|found| found.instance_type.clone());
            injected_files::put(remote, name, &kind.unwrap_or_default(), &put_in).await?;
            let config = config.unwrap_or_default();
            let left_out = instance::start(ctx, remote, name, &config).await?;
            if let Some(left_out) = left_out {
                let note = format!("kernel modules of instance {name}: {left_out}");
                publish(ctx, machine, EventType::Normal, "KernelModulesLeftOut", note).await;
            }
            let note = format!("started instance {name}");
            publish(ctx, machine, EventType::Normal, "InstanceStarted", note).await;
        }
        Step::Stop(grace) => {
            let note = match instance::stop(ctx, remote, name, grace).await? {
                Stopped::ByItself => None,
                Stopped::ByForce => Some(format!(
                    "instance {name} did not shut down within {} s and was stopped by force",
                    grace.as_secs().max(1)
                )),
            };
            if let Some(note) = note {
                publish(ctx, machine, EventType::Warning, "InstanceStoppedByForce", note).await;
            }
        }
        Step::Delete => {
            if let Some(instance) = &observed.instance {
                instance::remove(ctx, remote, name, instance).await?;
            }
            let note = format!("deleted instance {name}");
            publish(ctx, machine, EventType::Normal, "InstanceDeleted", note).await;
        }
    }
    Ok(())
}
