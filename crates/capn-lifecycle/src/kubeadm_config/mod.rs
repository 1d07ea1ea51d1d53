//! The KubeadmConfig controller: creates the bootstrap data Secret of a machine from a
//! KubeadmConfig.
//!
//! The first control plane machine of a cluster runs `kubeadm init`. A ConfigMap `<cluster>-lock`
//! records which machine that is, so that the decision survives a restart. All others wait until
//! the control plane is initialized, and run `kubeadm join` with a bootstrap token that is valid
//! for 15 minutes and is extended until the node exists.
//!
//! The machines of a pool share one KubeadmConfig. Once they exist, its token is no longer extended
//! but replaced after half of its lifetime, and the Secret is written again. The Secret is also
//! written again for future machines if the KubeadmConfig or the version of the pool changes.
//!
//! The data is a cloud-config or an Ignition configuration, depending on `spec.format`.

mod apply;
mod cluster_info;
pub(crate) mod data;
mod discovery;
pub(crate) mod files;
mod lock;
mod observe;
mod plan;
pub(crate) mod render;
mod report;
mod secret;
mod token;
mod validate;

#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod real_tests;

use std::sync::Arc;

use capi_api::{Cluster, KubeadmConfig, Machine, MachinePool, labels};
use capn_controller::{guard, watch};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use self::observe::Observed;
use self::validate::{Problem, Valid};
use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::objects::{cluster_essence, generation, is_deleting, is_paused, label};

/// A KubeadmConfig with the objects that were read, and the result of its validation.
type Validated = (KubeadmConfig, Observed, Result<Valid, Problem>);

/// API group of the kinds of this controller.
pub(crate) const GROUP: &str = "bootstrap.cluster.x-k8s.io";
/// Kind of this controller.
pub(crate) const KIND: &str = "KubeadmConfig";

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let configs = ctx.all::<KubeadmConfig>();
    let (of_clusters, of_secrets) = (configs.store(), configs.store());
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    // Certificates: unlike bootstrap data, those of a cluster are not controlled by a
    // KubeadmConfig.
    let secrets = ctx.secrets_of_clusters().touched();
    let controller = configs
        .controller()
        .reconcile_on(watch::concerning(ctx.all::<Machine>().touched(), config_of))
        .reconcile_on(watch::concerning(
            ctx.all::<MachinePool>().marked(pool_essence),
            config_of_pool,
        ))
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            of_cluster(&of_clusters, cluster.namespace().as_deref(), &cluster.name_any())
        }))
        .reconcile_on(watch::concerning(secrets, move |secret| {
            let meta = &secret.metadata;
            let boots = capi_api::refs::controller(meta)
                .is_some_and(|owner| capi_api::refs::is_kind(owner, GROUP, KIND));
            let cluster = label(meta, labels::CLUSTER_NAME).filter(|_| !boots);
            cluster.map_or_else(Vec::new, |cluster| {
                of_cluster(&of_secrets, meta.namespace.as_deref(), cluster)
            })
        }));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one KubeadmConfig.
async fn reconcile(config: Arc<KubeadmConfig>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(config) = observe::current(&ctx, &config).await? else {
        return Ok(Action::await_change());
    };
    if is_deleting(config.meta()) {
        return Ok(Action::await_change());
    }
    let seen = observe::observe(&ctx, &config).await?;
    if is_paused(seen.cluster.as_ref(), config.meta()) {
        report::paused(&ctx, &config).await?;
        return Ok(Action::await_change());
    }
    let (config, seen, valid) = validated(config, seen).await?;
    let plan = plan::plan(&config, &seen, valid.as_ref());
    let outcome = apply::apply(&ctx, &config, &seen, plan).await;
    report::write(&ctx, &config, outcome).await
}

/// Validates a KubeadmConfig. One with templates takes up to half a second, which is spent on a
/// separate thread.
async fn validated(config: KubeadmConfig, seen: Observed) -> Result<Validated, Failure> {
    let has_templates = files::has_templates(&config);
    let validate = move || {
        let valid = validate::validate(&config, &seen);
        (config, seen, valid)
    };
    match has_templates {
        true => Ok(guard::catch_panic_in_thread(validate).await?),
        false => Ok(validate()),
    }
}

/// Returns the KubeadmConfig of a machine.
fn config_of(machine: &Machine) -> Option<ObjectRef<KubeadmConfig>> {
    let reference = machine.spec.bootstrap.config_ref.as_ref()?;
    if reference.api_group != GROUP || reference.kind != KIND {
        return None;
    }
    Some(ObjectRef::new(&reference.name).within(machine.metadata.namespace.as_deref()?))
}

/// Returns the KubeadmConfig of a pool's machines.
fn config_of_pool(pool: &MachinePool) -> Option<ObjectRef<KubeadmConfig>> {
    let reference = pool.spec.template.spec.bootstrap.config_ref.as_ref()?;
    if reference.api_group != GROUP || reference.kind != KIND {
        return None;
    }
    Some(ObjectRef::new(&reference.name).within(pool.metadata.namespace.as_deref()?))
}

/// Returns a hash of what bootstrap data depends on: the spec of a pool, and whether all its
/// machines existed.
fn pool_essence(pool: &MachinePool) -> Option<u64> {
    let spec = generation(pool)?;
    Some((spec << 1) | u64::from(observe::is_provisioned(pool)))
}

/// Returns the KubeadmConfigs of a cluster that have no bootstrap data yet.
fn of_cluster(
    store: &Store<KubeadmConfig>,
    namespace: Option<&str>,
    cluster: &str,
) -> Vec<ObjectRef<KubeadmConfig>> {
    store
        .state()
        .iter()
        .filter(|config| config.metadata.namespace.as_deref() == namespace)
        .filter(|config| label(config.meta(), labels::CLUSTER_NAME) == Some(cluster))
        .map(|config| ObjectRef::from_obj(config.as_ref()))
        .collect()
}
