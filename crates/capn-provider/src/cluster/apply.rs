//! Carries out one step on the server: the only writer of a load balancer's instance.

use capn_api::{LXCCluster, keys};
use capn_plan::{balancer::Step, machine::Observed};
use incus_api::Config;
use kube::runtime::events::EventType;

use super::{haproxy, observe::Material, report, validate::Subject};
use crate::{context::Context, failure::Failure, instance, notice::tell, pieces, remote::Remote};

/// Carries out one step.
///
/// # Cancellation
///
/// What the server was asked for goes on there; the same step can be taken again, and so can the
/// one before it.
pub(crate) async fn step(
    ctx: &Context,
    remote: &Remote,
    cluster: &mut LXCCluster,
    subject: &Subject,
    seen: &Observed,
    step: Step,
    material: Option<Material>,
) -> Result<(), Failure> {
    let name = &subject.name;
    match step {
        Step::Create(launch) => {
            let image = material.map(|material| material.image.text).unwrap_or_default();
            report::creating(ctx, cluster, name, &image).await?;
            instance::create(ctx, remote, name, &launch, &image).await?;
            let note = format!("created load balancer {name} from image {image}");
            tell(ctx, cluster, EventType::Normal, "LoadBalancerCreated", note).await;
        }
        Step::Adopt(missing) => {
            instance::set_config(remote, name, &missing).await?;
            let note = format!("adopted load balancer {name}");
            tell(ctx, cluster, EventType::Normal, "LoadBalancerAdopted", note).await;
        }
        Step::Start(put_in) => {
            let kind = seen.instance.as_ref().map(|found| found.instance_type.clone());
            pieces::put(remote, name, &kind.unwrap_or_default(), &put_in).await?;
            let config = seen.instance.as_ref().map(|instance| instance.config.clone());
            instance::start(ctx, remote, name, &config.unwrap_or_default()).await?;
            let note = format!("started load balancer {name}");
            tell(ctx, cluster, EventType::Normal, "LoadBalancerStarted", note).await;
        }
        Step::Configure { text, hash, leaving } => {
            haproxy::configure(ctx, remote, subject, &text, &leaving).await?;
            let mark = Config::from([(keys::INSTANCE_CONFIG_HASH.to_owned(), hash)]);
            instance::set_config(remote, name, &mark).await?;
            let backends = text.lines().filter(|line| line.starts_with("  server ")).count();
            let note = format!("load balancer {name} forwards to {backends} control planes");
            tell(ctx, cluster, EventType::Normal, "LoadBalancerConfigured", note).await;
        }
        Step::Discard | Step::Delete => {
            if let Some(instance) = &seen.instance {
                instance::remove(ctx, remote, name, instance).await?;
            }
            let note = format!("deleted load balancer {name}");
            tell(ctx, cluster, EventType::Normal, "LoadBalancerDeleted", note).await;
        }
    }
    Ok(())
}
