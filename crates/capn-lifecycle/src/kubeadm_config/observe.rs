//! Reads everything a KubeadmConfig depends on. Read-only.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use capi_api::{Cluster, KubeadmConfig, Machine, MachinePool, labels, refs};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::Value;

use super::files::{self, ControlPlaneVersion};
use super::lock::{self, Lock};
use super::secret;
use crate::Context;
use crate::error::{Failure, describe};
use crate::lookup::{Lookup, look_up};
use crate::objects::label;
use crate::pki::set::{Set, Wanted};
use crate::pki::{PemPair, Purpose};

/// Maximum size of the Secrets that one KubeadmConfig names, in bytes. They are in memory at once.
pub(super) const SECRETS_BYTES: usize = 8 << 20;

/// Observed state of a KubeadmConfig.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Its machine. For a pool, a machine as described by the pool's template.
    pub(super) machine: Option<Machine>,
    /// Relevant state of the pool whose machines use it.
    pub(super) pool: Option<Pool>,
    /// Its cluster.
    pub(super) cluster: Option<Cluster>,
    /// The Secret for the bootstrap data, whether or not it has been written.
    pub(super) data_secret: Option<PartialObjectMeta<Secret>>,
    /// Inputs that are only needed as long as there is no bootstrap data.
    pub(super) inputs: Inputs,
}

/// Relevant state of a pool, to which machines may be added later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    /// Whether all its machines have existed, so that a machine that joins now is new.
    pub(super) is_provisioned: bool,
    /// Whether the bootstrap data was created from another spec, token or version than the current
    /// one.
    pub(super) is_stale: bool,
}

/// Inputs of bootstrap data.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// The init lock of the control plane.
    pub(super) lock: Lock,
    /// Existing certificates and keys of the cluster.
    pub(super) certificates: Set,
    /// Secrets for files and passwords, by name. `None` for a missing one.
    pub(super) secrets: BTreeMap<String, Option<Secret>>,
    /// Whether the Secrets have more than [`SECRETS_BYTES`]. Then only the first ones are read.
    pub(super) has_large_secrets: bool,
    /// The version of the control plane; only read for files that are templates.
    pub(super) control_plane_version: ControlPlaneVersion,
}

/// Reads the current object. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(
    ctx: &Context,
    config: &Arc<KubeadmConfig>,
) -> Result<Option<KubeadmConfig>, Failure> {
    let api: Api<KubeadmConfig> = namespaced(ctx, config);
    api.get_opt(&config.name_any()).await.map_err(Failure::api("get", config.as_ref()))
}

/// Reads everything a KubeadmConfig depends on.
pub(super) async fn observe(ctx: &Context, config: &KubeadmConfig) -> Result<Observed, Failure> {
    let mut machine = match refs::owner(config.meta(), "cluster.x-k8s.io", "Machine") {
        Some(owner) => get::<Machine>(ctx, config, &owner.name).await?,
        None => None,
    };
    let machine_pool = match refs::owner(config.meta(), "cluster.x-k8s.io", "MachinePool") {
        Some(owner) if machine.is_none() => get::<MachinePool>(ctx, config, &owner.name).await?,
        Some(_) | None => None,
    };
    machine = machine.or_else(|| machine_pool.as_ref().map(described_by));
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
    let pool = machine_pool.map(|pool| Pool {
        is_provisioned: is_provisioned(&pool),
        is_stale: data_secret.as_ref().and_then(secret::made_from)
            != Some(secret::mark(config, machine.as_ref()).as_str()),
    });
    let inputs = match &cluster {
        Some(cluster) if needs_data(config, machine.as_ref(), pool) => {
            inputs(ctx, config, cluster).await?
        }
        _ => Inputs::default(),
    };
    Ok(Observed { machine, pool, cluster, data_secret, inputs })
}

/// Returns a machine of a pool, as described by the pool's template.
fn described_by(pool: &MachinePool) -> Machine {
    Machine {
        metadata: ObjectMeta {
            name: Some(pool.name_any()),
            namespace: pool.namespace(),
            ..ObjectMeta::default()
        },
        spec: pool.spec.template.spec.clone(),
        status: None,
    }
}

/// Returns whether all machines of a pool have existed.
pub(super) fn is_provisioned(pool: &MachinePool) -> bool {
    let progress = pool.status.as_ref().and_then(|status| status.initialization);
    progress.is_some_and(|progress| progress.infrastructure_provisioned == Some(true))
}

/// Returns whether there is no bootstrap data yet, or that of a pool is outdated.
pub(super) fn needs_data(
    config: &KubeadmConfig,
    machine: Option<&Machine>,
    pool: Option<Pool>,
) -> bool {
    if is_created(config) {
        return pool.is_some_and(|pool| pool.is_stale);
    }
    machine.is_some_and(|machine| machine.spec.bootstrap.data_secret_name.is_none())
}

/// Returns whether the status says that the bootstrap data exists.
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
    let (mut secrets, mut bytes) = (BTreeMap::new(), 0);
    for name in names {
        if bytes > SECRETS_BYTES {
            break;
        }
        if let Entry::Vacant(place) = secrets.entry(name) {
            let name = place.key().clone();
            let secret = api.get_opt(&name).await.map_err(secret_failure("get", config, &name))?;
            let values = secret.iter().flat_map(|secret| secret.data.iter().flatten());
            bytes += values.map(|(_, value)| value.0.len()).sum::<usize>();
            place.insert(secret);
        }
    }
    let control_plane_version = match files::has_templates(config) {
        true => control_plane_version(ctx, config, cluster).await?,
        false => ControlPlaneVersion::Unknown,
    };
    let has_large_secrets = bytes > SECRETS_BYTES;
    Ok(Inputs { lock, certificates, secrets, has_large_secrets, control_plane_version })
}

/// `spec.version` of the control plane object of a cluster.
async fn control_plane_version(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
) -> Result<ControlPlaneVersion, Failure> {
    let namespace = config.namespace().unwrap_or_default();
    let Some(reference) = cluster.spec.control_plane_ref.as_ref() else {
        return Ok(ControlPlaneVersion::Unknown);
    };
    Ok(match look_up(ctx, &namespace, Some(reference), &describe(config)).await? {
        Lookup::NoReference => ControlPlaneVersion::Unknown,
        Lookup::Missing => ControlPlaneVersion::Unreadable(format!("{reference} does not exist")),
        Lookup::Unreadable(why) => ControlPlaneVersion::Unreadable(why),
        Lookup::Found(object) => match object.data.pointer("/spec/version") {
            None | Some(Value::Null) => ControlPlaneVersion::Unknown,
            Some(Value::String(version)) if version.is_empty() => ControlPlaneVersion::Unknown,
            Some(Value::String(version)) => ControlPlaneVersion::Known(version.clone()),
            Some(_) => ControlPlaneVersion::Unreadable(format!(
                "spec.version of {reference} is not a string"
            )),
        },
    })
}

/// Returns the CA certificate of the cluster, as PEM.
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

/// Returns the API of a kind in the namespace of a KubeadmConfig.
pub(super) fn namespaced<K>(ctx: &Context, config: &KubeadmConfig) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(ctx.client.clone(), &config.namespace().unwrap_or_default())
}

/// Wraps an error about a Secret in the namespace of a KubeadmConfig.
pub(super) fn secret_failure(
    act: &'static str,
    config: &KubeadmConfig,
    name: &str,
) -> impl FnOnce(kube::Error) -> Failure + use<> {
    Failure::api_named(act, "Secret", &config.namespace().unwrap_or_default(), name)
}
