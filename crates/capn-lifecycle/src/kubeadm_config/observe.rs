//! Reads what a KubeadmConfig depends on. Only reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use capi_api::{Cluster, KubeadmConfig, Machine, labels, refs};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Api, Resource as _, ResourceExt as _};

use super::lock::{self, Lock};
use crate::Context;
use crate::error::Failure;
use crate::objects::label;
use crate::pki::set::{Set, Wanted};
use crate::pki::{PemPair, Purpose};

/// What a KubeadmConfig depends on.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The machine that boots with it.
    pub(super) machine: Option<Machine>,
    /// Its cluster.
    pub(super) cluster: Option<Cluster>,
    /// The Secret that has, or will have, the boot data.
    pub(super) data_secret: Option<PartialObjectMeta<Secret>>,
    /// What only matters as long as there is no boot data.
    pub(super) inputs: Inputs,
}

/// What boot data is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// Who may initialize the control plane.
    pub(super) lock: Lock,
    /// Certificates and keys of the cluster, as far as they are there.
    pub(super) certificates: Set,
    /// Secrets that files and passwords come from, by name; `None` for one that does not exist.
    pub(super) secrets: BTreeMap<String, Option<Secret>>,
}

/// The object as it is now, or `None` if it is gone. The one that woke us may be older.
pub(super) async fn current(
    ctx: &Context,
    config: &Arc<KubeadmConfig>,
) -> Result<Option<KubeadmConfig>, Failure> {
    let api: Api<KubeadmConfig> = namespaced(ctx, config);
    api.get_opt(&config.name_any()).await.map_err(Failure::api("get", config.as_ref()))
}

/// Reads what a KubeadmConfig depends on.
pub(super) async fn observe(ctx: &Context, config: &KubeadmConfig) -> Result<Observed, Failure> {
    let machine = match refs::owner(config.meta(), "cluster.x-k8s.io", "Machine") {
        Some(owner) => get::<Machine>(ctx, config, &owner.name).await?,
        None => None,
    };
    let cluster_name = machine
        .as_ref()
        .map(|machine| machine.spec.cluster_name.clone())
        .or_else(|| label(config.meta(), labels::CLUSTER_NAME).map(str::to_owned));
    let cluster = match &cluster_name {
        Some(name) => get::<Cluster>(ctx, config, name).await?,
        None => None,
    };
    let secrets: Api<Secret> = namespaced(ctx, config);
    let name = config.name_any();
    let data_secret =
        secrets.get_metadata_opt(&name).await.map_err(secret_failure("get", config, &name))?;
    let inputs = match &cluster {
        Some(cluster) if needs_data(config, machine.as_ref()) => {
            inputs(ctx, config, cluster).await?
        }
        _ => Inputs::default(),
    };
    Ok(Observed { machine, cluster, data_secret, inputs })
}

/// There is no boot data yet.
pub(super) fn needs_data(config: &KubeadmConfig, machine: Option<&Machine>) -> bool {
    !is_created(config)
        && machine.is_some_and(|machine| machine.spec.bootstrap.data_secret_name.is_none())
}

/// The status says that there is boot data.
pub(super) fn is_created(config: &KubeadmConfig) -> bool {
    config.status.as_ref().is_some_and(|status| {
        let created =
            status.initialization.as_ref().and_then(|progress| progress.data_secret_created);
        created == Some(true) && status.data_secret_name.is_some()
    })
}

async fn inputs(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
) -> Result<Inputs, Failure> {
    let lock = lock::read(ctx, cluster).await?;
    let api: Api<Secret> = namespaced(ctx, config);
    let mut certificates = Set::new();
    let wanted = Wanted::of(config.spec.cluster_configuration.as_ref());
    for purpose in wanted.purposes() {
        let name = purpose.secret_name(&cluster.name_any());
        let secret = api.get_opt(&name).await.map_err(secret_failure("get", config, &name))?;
        if let Some(pair) = secret.as_ref().and_then(PemPair::from_secret) {
            certificates.insert(purpose, pair);
        }
    }
    let files = config.spec.files.iter().filter_map(|file| file.content_from.as_ref());
    let users = config.spec.users.iter().filter_map(|user| user.passwd_from.as_ref());
    let names = files
        .map(|source| &source.secret.name)
        .chain(users.map(|source| &source.secret.name))
        .cloned();
    let mut secrets = BTreeMap::new();
    for name in names {
        if let Entry::Vacant(place) = secrets.entry(name) {
            let name = place.key().clone();
            let secret = api.get_opt(&name).await.map_err(secret_failure("get", config, &name))?;
            place.insert(secret);
        }
    }
    Ok(Inputs { lock, certificates, secrets })
}

/// The authority of the cluster, as PEM.
pub(super) fn authority(inputs: &Inputs) -> Option<&str> {
    inputs.certificates.get(&Purpose::ClusterCa).map(|pair| pair.certificate.as_str())
}

async fn get<K>(ctx: &Context, config: &KubeadmConfig, name: &str) -> Result<Option<K>, Failure>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let namespace = config.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", &K::kind(&()), &namespace, name))
}

/// The API of a kind in the namespace of a KubeadmConfig.
pub(super) fn namespaced<K>(ctx: &Context, config: &KubeadmConfig) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(ctx.client.clone(), &config.namespace().unwrap_or_default())
}

/// Wraps an error about a Secret beside a KubeadmConfig.
pub(super) fn secret_failure(
    act: &'static str,
    config: &KubeadmConfig,
    name: &str,
) -> impl FnOnce(kube::Error) -> Failure + use<> {
    Failure::api_named(act, "Secret", &config.namespace().unwrap_or_default(), name)
}
