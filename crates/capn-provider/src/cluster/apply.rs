//! Carries out one step on the server: the only writer of a load balancer's instance.

use std::time::Duration;

use capn_api::{LXCCluster, keys};
use capn_plan::{InstanceName, balancer::Step, machine::Observed};
use incus_api::Config;
use incus_client::ExecRequest;
use kube::runtime::events::EventType;

use super::{observe::Material, report};
use crate::{context::Context, failure::Failure, instance, notice::tell, remote::Remote};

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
    name: &InstanceName,
    seen: &Observed,
    step: Step,
    material: Option<Material>,
) -> Result<(), Failure> {
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
        Step::Start => {
            let config = seen.instance.as_ref().map(|instance| instance.config.clone());
            instance::start(ctx, remote, name, &config.unwrap_or_default()).await?;
            let note = format!("started load balancer {name}");
            tell(ctx, cluster, EventType::Normal, "LoadBalancerStarted", note).await;
        }
        Step::Configure { text, hash } => {
            configure(remote, name, &text).await?;
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

/// Takes a configuration from standard input, checks it, puts it in place in one move, and lets
/// haproxy take it over without dropping connections. A service that is not up yet starts with
/// it.
const CONFIGURE: &str = r#"set -eu
umask 077
new=/etc/haproxy/.haproxy.cfg.capn
cat > "$new"
haproxy -c -q -f "$new"
chmod 0644 "$new"
mv -f "$new" /etc/haproxy/haproxy.cfg
systemctl reload-or-restart haproxy.service
"#;

/// How long that may take, also while the instance still boots.
const CONFIGURE_DEADLINE: Duration = Duration::from_secs(30);

async fn configure(remote: &Remote, name: &InstanceName, text: &str) -> Result<(), Failure> {
    let request = ExecRequest {
        stdin: Some(text.to_owned().into()),
        deadline: CONFIGURE_DEADLINE,
        ..ExecRequest::new(["sh", "-c", CONFIGURE])
    };
    let output = remote
        .client
        .exec(name.as_str(), request)
        .await
        .map_err(Failure::server("configure", name.as_str()))?;
    if output.exit_code == 0 {
        return Ok(());
    }
    let said = [output.stderr.as_ref(), output.stdout.as_ref()].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(Failure::Command {
        act: "configure",
        instance: name.as_str().to_owned(),
        exit_code: output.exit_code,
        output: last.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; "),
    })
}
