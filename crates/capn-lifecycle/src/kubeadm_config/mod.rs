//! The KubeadmConfig controller: from a KubeadmConfig to the Secret a machine boots with.
//!
//! The first control plane machine of a cluster gets `kubeadm init`. Which machine that is, is
//! decided by a ConfigMap `<cluster>-lock`, so that it stays decided after a restart. All others
//! wait until the control plane is initialized and get `kubeadm join` with a bootstrap token,
//! which lives for a quarter of an hour and is kept alive until the node is there.
//!
//! Not supported, and said so in the condition `DataSecretAvailable`: the format `ignition` and
//! files with `contentFormat: Template`.

mod apply;
mod cluster_info;
pub(crate) mod data;
mod discovery;
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

use capi_api::{Cluster, KubeadmConfig, Machine, labels};
use capn_controller::watch;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::objects::{cluster_essence, is_deleting, is_paused, label};

/// Group of the kinds of this controller.
pub(crate) const GROUP: &str = "bootstrap.cluster.x-k8s.io";
/// Kind of this controller.
pub(crate) const KIND: &str = "KubeadmConfig";

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let client = ctx.client.clone();
    let configs = watch::controller(Api::<KubeadmConfig>::all(client.clone()), all());
    let (of_clusters, of_secrets) = (configs.store(), configs.store());
    let clusters = watch::touched(Api::<Cluster>::all(client.clone()), all())
        .predicate_filter(cluster_essence, PredicateConfig::default());
    // Certificates: those of a cluster are not controlled by a KubeadmConfig, as boot data is.
    let secrets = watcher(
        Api::<PartialObjectMeta<Secret>>::all(client.clone()),
        all().labels(labels::CLUSTER_NAME),
    )
    .default_backoff()
    .touched_objects();
    let controller = configs
        .watches_stream(watch::touched(Api::<Machine>::all(client), all()), |machine: Machine| {
            config_of(&machine)
        })
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            of_cluster(&of_clusters, cluster.namespace().as_deref(), &cluster.name_any())
        }))
        .watches_stream(secrets, move |secret: PartialObjectMeta<Secret>| {
            let boots = capi_api::refs::controller(secret.meta())
                .is_some_and(|owner| capi_api::refs::is_kind(owner, GROUP, KIND));
            let cluster = label(secret.meta(), labels::CLUSTER_NAME).filter(|_| !boots);
            cluster.map_or_else(Vec::new, |cluster| {
                of_cluster(&of_secrets, secret.namespace().as_deref(), cluster)
            })
        });
    drive(controller, ctx, stop, reconcile).await;
}

/// One pass over one KubeadmConfig.
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
    let valid = validate::validate(&config, &seen);
    let plan = plan::plan(&config, &seen, valid.as_ref());
    let outcome = apply::apply(&ctx, &config, &seen, plan).await;
    report::write(&ctx, &config, outcome).await
}

/// The KubeadmConfig a machine boots with.
fn config_of(machine: &Machine) -> Option<ObjectRef<KubeadmConfig>> {
    let reference = machine.spec.bootstrap.config_ref.as_ref()?;
    if reference.api_group != GROUP || reference.kind != KIND {
        return None;
    }
    Some(ObjectRef::new(&reference.name).within(machine.metadata.namespace.as_deref()?))
}

/// The KubeadmConfigs of a cluster that have no boot data yet.
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
