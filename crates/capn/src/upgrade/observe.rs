//! Observes the state from which an upgrade is planned.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use camino::Utf8PathBuf;
use capi_api::core::{ContractRef, RolloutStrategyKind};
use capi_api::{Machine, MachineDeployment, conditions, labels};
use capn_api::{LXCMachinePool, LXCMachineTemplate};
use capn_image::catalog::kubeadm_alias;
use kube::{Api, Client, ResourceExt as _};

use super::seen::{Group, Held, Member, Seen, TemplateImage};
use crate::cluster::Existing;
use crate::error::{CommandError, Doing as _};
use crate::etcd::{Unfit, fitness};
use crate::preflight::KubernetesVersion;
use crate::watch::{View, complaint, pool_of};

/// Placeholder for the version in an image name.
const VERSION: &str = "VERSION";

/// Collects the state. `view` contains the cluster's objects.
///
/// # Errors
///
/// Returns an error if the plane or the server does not respond, or if a version cannot be parsed.
pub(super) async fn observe(
    client: &Client,
    server: &incus_client::Client,
    existing: &Existing,
    view: &View,
    folders: BTreeMap<KubernetesVersion, Utf8PathBuf>,
) -> Result<Seen, CommandError> {
    let mut seen = Seen { folders, is_leaving: existing.is_leaving, ..Seen::default() };
    let namespace = view.cluster.as_ref().and_then(|cluster| cluster.namespace());
    let templates = Templates { client, namespace: namespace.unwrap_or_default(), existing };
    if let Some(cluster) = &view.cluster {
        seen.cluster = cluster.name_any();
        seen.is_paused = cluster.spec.paused == Some(true);
        seen.takes_snapshot =
            fitness(cluster, view.control_plane.as_deref()) != Err(Unfit::External);
        seen.is_stopped = existing.stopped.is_some();
        seen.has_topology = cluster.spec.topology.is_some();
        seen.unavailable = unavailable(view);
    }
    if let Some(found) = &view.control_plane {
        let of = |machine: &&Machine| machine.is_control_plane();
        seen.control_plane = Some(Group {
            name: found.name_any(),
            version: version(&found.name_any(), &found.spec.version)?,
            replicas: count(found.spec.replicas),
            machines: members(view, of)?,
            image: templates.image(&found.spec.machine_template.spec.infrastructure_ref).await?,
            held: None,
        });
    }
    for found in &view.deployments {
        // Without a version, its machines are not Kubernetes nodes.
        let Some(text) = &found.spec.template.spec.version else { continue };
        let name = found.name_any();
        let of = |machine: &&Machine| deployment_of(machine) == Some(name.as_str());
        seen.deployments.push(Group {
            version: version(&name, text)?,
            replicas: count(found.spec.replicas),
            machines: members(view, of)?,
            image: templates.image(&found.spec.template.spec.infrastructure_ref).await?,
            held: held(found),
            name: name.clone(),
        });
    }
    for found in &view.pools {
        let Some(text) = &found.spec.template.spec.version else { continue };
        let name = found.name_any();
        seen.pools.push(Group {
            version: version(&name, text)?,
            replicas: count(found.spec.replicas),
            machines: members(view, |machine| pool_of(machine) == Some(name.as_str()))?,
            image: templates.image(&found.spec.template.spec.infrastructure_ref).await?,
            held: None,
            name: name.clone(),
        });
    }
    let is_alone = |machine: &&Machine| {
        let is_deployed = deployment_of(machine)
            .is_some_and(|name| view.deployments.iter().any(|found| found.name_any() == name));
        let is_pooled = pool_of(machine)
            .is_some_and(|name| view.pools.iter().any(|found| found.name_any() == name));
        !is_deployed && !is_pooled && (view.control_plane.is_none() || !machine.is_control_plane())
    };
    seen.alone = members(view, is_alone)?;
    let images = server.images().await.doing("cannot list the images on the server")?;
    let prefix = kubeadm_alias("v");
    let prefix = prefix.trim_end_matches('v');
    for alias in images.iter().flat_map(|image| &image.aliases) {
        let version = alias.name.strip_prefix(prefix).map(KubernetesVersion::from_str);
        // An alias of another form does not belong to capn.
        if let Some(Ok(version)) = version {
            seen.on_server.insert(version);
        }
    }
    Ok(seen)
}

/// Machines of a view, by owner.
fn members(view: &View, is_one: impl Fn(&&Machine) -> bool) -> Result<Vec<Member>, CommandError> {
    let found = view.machines.iter().map(AsRef::as_ref).filter(is_one);
    found
        .map(|machine| {
            let name = machine.name_any();
            let known = machine.spec.version.as_deref();
            Ok(Member {
                version: known.map(|text| version(&name, text)).transpose()?,
                is_leaving: machine.metadata.deletion_timestamp.is_some(),
                is_ready: conditions::is_true(
                    machine.status.as_ref().and_then(|status| status.conditions.as_ref()),
                    conditions::READY,
                ),
                name,
            })
        })
        .collect()
}

fn deployment_of(machine: &Machine) -> Option<&str> {
    let labels = machine.metadata.labels.as_ref()?;
    labels.get(labels::DEPLOYMENT_NAME).map(String::as_str)
}

fn held(deployment: &MachineDeployment) -> Option<Held> {
    let strategy = deployment.spec.rollout.as_ref().and_then(|found| found.strategy.as_ref());
    if deployment.spec.paused == Some(true) {
        return Some(Held::Paused);
    }
    strategy
        .is_some_and(|found| found.kind == RolloutStrategyKind::OnDelete)
        .then_some(Held::OnDelete)
}

/// Returns the message of the condition Available, unless it is true.
fn unavailable(view: &View) -> Option<String> {
    let status = view.cluster.as_ref()?.status.as_ref();
    let list = status.and_then(|status| status.conditions.as_ref());
    match conditions::get(list, conditions::AVAILABLE) {
        Some(found) if found.status == "True" => None,
        Some(found) => Some(complaint(found)),
        None => Some("it has not been reconciled yet".to_owned()),
    }
}

fn version(object: &str, text: &str) -> Result<KubernetesVersion, CommandError> {
    text.parse().doing(format!("cannot parse the version of `{object}`"))
}

fn count(replicas: Option<i32>) -> usize {
    usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

/// Machine templates.
struct Templates<'a> {
    client: &'a Client,
    namespace: String,
    existing: &'a Existing,
}

impl Templates<'_> {
    /// Returns the image of a template. Templates of other providers have none.
    async fn image(&self, reference: &ContractRef) -> Result<TemplateImage, CommandError> {
        let name = &reference.name;
        let doing = || format!("cannot read the {} `{name}`", reference.kind);
        let image = match reference.kind.as_str() {
            "LXCMachineTemplate" => {
                let api: Api<LXCMachineTemplate> =
                    Api::namespaced(self.client.clone(), &self.namespace);
                api.get(name).await.doing(doing())?.spec.template.spec.image
            }
            "LXCMachinePool" => {
                let api: Api<LXCMachinePool> =
                    Api::namespaced(self.client.clone(), &self.namespace);
                api.get(name).await.doing(doing())?.spec.template.spec.image
            }
            _ => return Ok(TemplateImage::OfVersion),
        };
        if image.is_empty() {
            return Ok(TemplateImage::OfVersion);
        }
        if !image.fingerprint.is_empty() {
            return Ok(TemplateImage::Fixed(image.fingerprint));
        }
        let name = match image.server.as_str() {
            "" => image.name,
            server => format!("{server}/{}", image.name),
        };
        // A script turns a stock image into a node of any version.
        let is_stock = self.existing.request.as_ref().is_some_and(|found| found.install_kubeadm);
        Ok(match is_stock || name.contains(VERSION) {
            true => TemplateImage::Pattern(name),
            false => TemplateImage::Fixed(name),
        })
    }
}
