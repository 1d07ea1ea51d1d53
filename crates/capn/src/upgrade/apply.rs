//! Applies steps. The only module that writes.

use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::config::{carried, etcd_tag, set_etcd_tag};
use crate::error::{CommandError, Doing as _};
use crate::identity::Identity;
use crate::images::NodeImageInfo;
use crate::manifest::{ClusterRequest, Secrets, documents};
use crate::preflight::KubernetesVersion;

/// How often a change is retried on conflicts.
const TRIES: usize = 5;
const CONFLICT: u16 = 409;
/// Annotation of a KubeadmControlPlane: its version before an upgrade, with the etcd image tag, if
/// any.
const ETCD_BEFORE: &str = "capn.cluster.x-k8s.io/etcd-before-upgrade";

/// The cluster to change.
pub(super) struct Target<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    /// The recorded request of the cluster, if there is one.
    pub(super) request: Option<&'a ClusterRequest>,
    pub(super) identity: &'a Identity,
}

impl Target<'_> {
    /// Sets the version of the control plane, with its version-dependent settings, in one change,
    /// so that machines are replaced once. No change if it already has the version.
    ///
    /// `image` determines the etcd tag; without it, the tag recorded for that version is used.
    pub(super) async fn control_plane(
        &self,
        name: &str,
        to: &KubernetesVersion,
        image: Option<&NodeImageInfo>,
    ) -> Result<(), CommandError> {
        let api = self.api("controlplane.cluster.x-k8s.io", "KubeadmControlPlane");
        let doing = format!("cannot change the KubeadmControlPlane `{name}`");
        self.change(&api, name, &doing, |object| {
            let spec = &mut object.data["spec"];
            let Some(from) = other_version(&spec["version"], to) else { return false };
            let before = spec.get("kubeadmConfigSpec").cloned().unwrap_or_else(|| json!({}));
            let mut config = before.clone();
            if let Some((old, new)) = self.generated(&from, to, "KubeadmControlPlane") {
                config = carried(&config, &old["kubeadmConfigSpec"], &new["kubeadmConfigSpec"]);
            }
            let annotations = object.metadata.annotations.get_or_insert_default();
            let left = annotations.remove(ETCD_BEFORE);
            match image {
                // Images of other origin have no etcd information.
                Some(found) if found.kubernetes_version.is_some() => {
                    let tag = etcd_tag(&before).unwrap_or_default();
                    annotations.insert(ETCD_BEFORE.to_owned(), format!("{from} {tag}"));
                    set_etcd_tag(&mut config, found.facts.etcd_image_tag.as_deref());
                }
                Some(_) => {}
                None => {
                    let of_version = left.as_deref().and_then(|left| left.split_once(' '));
                    if let Some((_, tag)) = of_version.filter(|(of, _)| *of == to.to_string()) {
                        set_etcd_tag(&mut config, Some(tag).filter(|tag| !tag.is_empty()));
                    }
                }
            }
            let spec = &mut object.data["spec"];
            if config != before {
                spec["kubeadmConfigSpec"] = config;
            }
            spec["version"] = json!(to.to_string());
            true
        })
        .await
    }

    /// Sets the version of a MachineDeployment, with a new template if its node configuration
    /// depends on the version.
    pub(super) async fn workers(
        &self,
        name: &str,
        to: &KubernetesVersion,
    ) -> Result<(), CommandError> {
        let api = self.api("cluster.x-k8s.io", "MachineDeployment");
        let doing = format!("cannot change the MachineDeployment `{name}`");
        let found = api.get(name).await.doing(&doing)?;
        let machine = &found.data["spec"]["template"]["spec"];
        let template = match other_version(&machine["version"], to) {
            Some(from) => {
                self.template(name, &machine["bootstrap"]["configRef"], &from, to).await?
            }
            None => None,
        };
        self.change(&api, name, &doing, |object| {
            let machine = &mut object.data["spec"]["template"]["spec"];
            if other_version(&machine["version"], to).is_none() {
                return false;
            }
            if let Some(template) = &template {
                machine["bootstrap"]["configRef"]["name"] = json!(template);
            }
            machine["version"] = json!(to.to_string());
            true
        })
        .await
    }

    /// Gives a MachinePool a version. Its KubeadmConfig gets what the version needs first, in place: machines
    /// that are there do not read it again, and all of them are replaced for the version.
    pub(super) async fn pool(
        &self,
        name: &str,
        to: &KubernetesVersion,
    ) -> Result<(), CommandError> {
        let api = self.api("cluster.x-k8s.io", "MachinePool");
        let doing = format!("cannot change the MachinePool `{name}`");
        let found = api.get(name).await.doing(&doing)?;
        let machine = &found.data["spec"]["template"]["spec"];
        if let Some(from) = other_version(&machine["version"], to) {
            self.config(&machine["bootstrap"]["configRef"], &from, to).await?;
        }
        self.change(&api, name, &doing, |object| {
            let machine = &mut object.data["spec"]["template"]["spec"];
            if other_version(&machine["version"], to).is_none() {
                return false;
            }
            machine["version"] = json!(to.to_string());
            true
        })
        .await
    }

    /// Gives a KubeadmConfig what a version needs, wherever it is as `capn up` writes it for workers.
    async fn config(
        &self,
        reference: &Value,
        from: &str,
        to: &KubernetesVersion,
    ) -> Result<(), CommandError> {
        const KIND: &str = "KubeadmConfig";
        let (Some(KIND), Some(name)) = (reference["kind"].as_str(), reference["name"].as_str())
        else {
            return Ok(());
        };
        let Some((old, new)) = self.generated(from, to, "KubeadmConfigTemplate") else {
            return Ok(());
        };
        let api = self.api("bootstrap.cluster.x-k8s.io", KIND);
        let doing = format!("cannot change the {KIND} `{name}`");
        self.change(&api, name, &doing, |object| {
            let spec = &object.data["spec"];
            let changed = carried(spec, &old["template"]["spec"], &new["template"]["spec"]);
            let is_other = changed != *spec;
            object.data["spec"] = changed;
            is_other
        })
        .await
    }

    /// Returns the name of a new KubeadmConfigTemplate, if one is needed. Machines of the old
    /// version are still made from the old one, which stays.
    async fn template(
        &self,
        deployment: &str,
        reference: &Value,
        from: &str,
        to: &KubernetesVersion,
    ) -> Result<Option<String>, CommandError> {
        const KIND: &str = "KubeadmConfigTemplate";
        let (Some(KIND), Some(name)) = (reference["kind"].as_str(), reference["name"].as_str())
        else {
            return Ok(None);
        };
        let Some((old, new)) = self.generated(from, to, KIND) else { return Ok(None) };
        let api = self.api("bootstrap.cluster.x-k8s.io", KIND);
        let found = api.get(name).await.doing(format!("cannot read the {KIND} `{name}`"))?;
        let spec = carried(&found.data["spec"], &old, &new);
        if spec == found.data["spec"] {
            return Ok(None);
        }
        let name = format!("{deployment}-{}", to.to_string().replace('.', "-"));
        let mut made = DynamicObject::new(&name, &resource("bootstrap.cluster.x-k8s.io", KIND));
        made.metadata.namespace = Some(self.namespace.to_owned());
        made.metadata.labels = found.metadata.labels.clone();
        made.data = json!({ "spec": spec });
        let doing = || format!("cannot create the {KIND} `{name}`");
        match api.create(&PostParams::default(), &made).await {
            Ok(_) => Ok(Some(name)),
            // Created by an interrupted run of this command.
            Err(kube::Error::Api(status)) if status.code == CONFLICT => {
                let there = api.get(&name).await.doing(doing())?;
                match there.data["spec"] == spec {
                    true => Ok(Some(name)),
                    false => Err(CommandError::caused(
                        doing(),
                        format!("a different {KIND} `{name}` exists"),
                    )
                    .hint("delete it if it is unused, and try again")),
                }
            }
            Err(error) => Err(CommandError::caused(doing(), error)),
        }
    }

    /// Specs of an object that `capn up` would generate for two versions.
    fn generated(&self, from: &str, to: &KubernetesVersion, kind: &str) -> Option<(Value, Value)> {
        let spec = |version: String| {
            let mut request = self.request?.clone();
            request.kubernetes_version = Some(version);
            // The image determines the tag.
            request.image_facts.etcd_image_tag = None;
            let all = documents(&request, self.identity, &Secrets::default());
            all.iter().find(|one| one.kind() == kind).map(|one| one.value()["spec"].clone())
        };
        Some((spec(from.to_owned())?, spec(to.to_string())?))
    }

    /// Reads, changes and writes an object; retries on conflicts.
    async fn change(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        doing: &str,
        change: impl Fn(&mut DynamicObject) -> bool,
    ) -> Result<(), CommandError> {
        let mut tries = 0;
        loop {
            let mut object = api.get(name).await.doing(doing)?;
            if !change(&mut object) {
                return Ok(());
            }
            tries += 1;
            match api.replace(&object.name_any(), &PostParams::default(), &object).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == CONFLICT && tries < TRIES => {}
                Err(error) => return Err(CommandError::caused(doing, error)),
            }
        }
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &resource(group, kind))
    }
}

/// Returns the version of an object, if it differs.
fn other_version(is: &Value, to: &KubernetesVersion) -> Option<String> {
    let is = is.as_str().unwrap_or_default();
    (is.parse::<KubernetesVersion>().as_ref() != Ok(to)).then(|| is.to_owned())
}

/// Returns the contract version of these kinds.
fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1beta2", kind))
}
