//! Carries out one step on the server: the only writer of a machine's instance.

use capn_api::LXCMachine;
use capn_plan::{
    InstanceName,
    machine::{Observed, Step},
};
use kube::runtime::events::EventType;

use super::{observe::Material, report};
use crate::{
    context::Context,
    failure::Failure,
    instance::{self, Stopped},
    notice::tell,
    pieces,
    remote::Remote,
};

/// Carries out one step.
///
/// # Cancellation
///
/// What the server was asked for goes on there; the same step can be taken again, and so can the
/// one before it.
pub(crate) async fn step(
    ctx: &Context,
    remote: &Remote,
    machine: &mut LXCMachine,
    name: &InstanceName,
    seen: &Observed,
    step: Step,
    material: Option<&Material>,
) -> Result<(), Failure> {
    let config = seen.instance.as_ref().map(|instance| instance.config.clone());
    match step {
        Step::Create(launch) => {
            let image = material.map(|material| material.image.text.clone()).unwrap_or_default();
            report::creating(ctx, machine, name, &image).await?;
            instance::create(ctx, remote, name, &launch, &image).await?;
            let note = format!("created instance {name} from image {image}");
            tell(ctx, machine, EventType::Normal, "InstanceCreated", note).await;
        }
        Step::Adopt(missing) => {
            instance::set_config(remote, name, &missing).await?;
            let note = format!("adopted instance {name}");
            tell(ctx, machine, EventType::Normal, "InstanceAdopted", note).await;
        }
        Step::Discard => {
            if let Some(instance) = &seen.instance {
                instance::remove(ctx, remote, name, instance).await?;
            }
            let note = format!("the making of instance {name} was interrupted; it is made again");
            tell(ctx, machine, EventType::Warning, "InstanceDiscarded", note).await;
        }
        Step::Start(put_in, changes) => {
            if !changes.is_empty() {
                instance::set_config(remote, name, &changes).await?;
            }
            let kind = seen.instance.as_ref().map(|found| found.instance_type.clone());
            pieces::put(remote, name, &kind.unwrap_or_default(), &put_in).await?;
            let config = config.unwrap_or_default();
            let left_out = instance::start(ctx, remote, name, &config).await?;
            if let Some(left_out) = left_out {
                let note = format!("kernel modules of instance {name}: {left_out}");
                tell(ctx, machine, EventType::Normal, "KernelModulesLeftOut", note).await;
            }
            let note = format!("started instance {name}");
            tell(ctx, machine, EventType::Normal, "InstanceStarted", note).await;
        }
        Step::Stop(grace) => {
            let note = match instance::stop(ctx, remote, name, grace).await? {
                Stopped::ByItself => None,
                Stopped::ByForce => Some(format!(
                    "instance {name} did not stop within {} s and was stopped by force",
                    grace.as_secs().max(1)
                )),
            };
            if let Some(note) = note {
                tell(ctx, machine, EventType::Warning, "InstanceStoppedByForce", note).await;
            }
        }
        Step::Delete => {
            if let Some(instance) = &seen.instance {
                instance::remove(ctx, remote, name, instance).await?;
            }
            let note = format!("deleted instance {name}");
            tell(ctx, machine, EventType::Normal, "InstanceDeleted", note).await;
        }
    }
    Ok(())
}
