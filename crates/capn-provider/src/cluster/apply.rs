//! Executes one step on the server. Nothing else writes the instance of a load balancer.

use capn_api::{LXCCluster, keys};
use capn_plan::{balancer::Step, machine::Observed};
use incus_api::Config;
use kube::runtime::events::EventType;

use super::{haproxy, observe::LaunchInputs, report, validate::ValidCluster};
use crate::{
    context::Context, events::publish, failure::Failure, injected_files, instance, remote::Remote,
};

/// Executes one step.
///
/// # Cancellation
///
/// Requests already sent continue on the server. This step and the one before it can be repeated.
pub(crate) async fn step(
    ctx: &Context,
    remote: &Remote,
    cluster: &mut LXCCluster,
    valid: &ValidCluster,
    observed: &Observed,
    step: Step,
    inputs: Option<LaunchInputs>,
) -> Result<(), Failure> {
    let name = &valid.name;
    match step {
        Step::Create(launch) => {
            let image = inputs.map(|inputs| inputs.image.text).unwrap_or_default();
            report::creating(ctx, cluster, name, &image).await?;
            instance::create(ctx, remote, name, &launch, &image).await?;
            let note = format!("created load balancer {name} from image {image}");
            publish(ctx, cluster, EventType::Normal, "LoadBalancerCreated", note).await;
        }
        Step::Adopt(missing) => {
            instance::set_config(remote, name, &missing).await?;
            let note = format!("adopted load balancer {name}");
            publish(ctx, cluster, EventType::Normal, "LoadBalancerAdopted", note).await;
        }
        Step::Start(put_in) => {
            let kind = observed.instance.as_ref().map(|found| found.instance_type.clone());
            injected_files::put(remote, name, &kind.unwrap_or_default(), &put_in).await?;
            let config = observed.instance.as_ref().map(|instance| instance.config.clone());
            instance::start(ctx, remote, name, &config.unwrap_or_default()).await?;
            let note = format!("started load balancer {name}");
            publish(ctx, cluster, EventType::Normal, "LoadBalancerStarted", note).await;
        }
        Step::Configure { text, hash, draining } => {
            haproxy::configure(ctx, remote, valid, &text, &draining).await?;
            let mark = Config::from([(keys::INSTANCE_CONFIG_HASH.to_owned(), hash)]);
            instance::set_config(remote, name, &mark).await?;
            let backends = text.lines().filter(|line| line.starts_with("  server ")).count();
            let note = format!("load balancer {name} forwards to {backends} control planes");
            publish(ctx, cluster, EventType::Normal, "LoadBalancerConfigured", note).await;
        }
        Step::Discard | Step::Delete => {
            if let Some(instance) = &observed.instance {
                instance::remove(ctx, remote, name, instance).await?;
            }
            let note = format!("deleted load balancer {name}");
            publish(ctx, cluster, EventType::Normal, "LoadBalancerDeleted", note).await;
        }
    }
    Ok(())
}
