//! Collects objects of the cluster from the plane, and their events.

use std::collections::BTreeSet;

use capi_api::{
    Cluster, KubeadmConfig, KubeadmConfigTemplate, KubeadmControlPlane, Machine, MachineDeployment,
    MachineHealthCheck, MachinePool, MachineSet, labels,
};
use capn_api::{LXCCluster, LXCMachine, LXCMachinePool, LXCMachineTemplate};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource, ResourceExt as _};

use super::archive::Archive;
use super::redact::{self, SecretCollector, Secrets};
use crate::error::{CommandError, Doing as _};
use crate::manifest::value_to_yaml;

/// Maximum number of objects per kind, and of events.
const MOST: u32 = 1000;

/// Adds the objects of a cluster and their events.
///
/// # Errors
///
/// Returns an error if the archive cannot be written. Other failures are noted.
pub(super) async fn add(
    archive: &mut Archive,
    secrets: &Secrets,
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<(), CommandError> {
    let mut of =
        ObjectCollector { archive, secrets, client, namespace, name, names: BTreeSet::new() };
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    of.kind::<Cluster>(named).await?;
    of.labelled::<LXCCluster>().await?;
    of.labelled::<KubeadmControlPlane>().await?;
    of.labelled::<MachineDeployment>().await?;
    of.labelled::<MachinePool>().await?;
    of.labelled::<MachineSet>().await?;
    of.labelled::<Machine>().await?;
    of.labelled::<LXCMachine>().await?;
    of.labelled::<LXCMachinePool>().await?;
    of.labelled::<MachineHealthCheck>().await?;
    of.labelled::<KubeadmConfig>().await?;
    of.labelled::<KubeadmConfigTemplate>().await?;
    of.labelled::<LXCMachineTemplate>().await?;
    of.labelled::<ConfigMap>().await?;
    of.labelled::<Secret>().await?;
    of.events().await
}

/// Collects the values of the cluster's Secrets.
///
/// # Errors
///
/// Returns an error if they cannot be read, since they could not be redacted.
pub(super) async fn learn(
    secrets: &mut SecretCollector,
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<(), CommandError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={name}", labels::CLUSTER_NAME));
    let list = api
        .list(&params)
        .await
        .doing("cannot read the cluster's Secrets, whose values must be redacted")?;
    for secret in list.items {
        for (key, value) in secret.data.unwrap_or_default() {
            secrets.learn(&key, &value.0);
        }
    }
    Ok(())
}

struct ObjectCollector<'a> {
    archive: &'a mut Archive,
    secrets: &'a Secrets,
    client: &'a Client,
    namespace: &'a str,
    name: &'a str,
    /// Names of objects, for events.
    names: BTreeSet<String>,
}

impl ObjectCollector<'_> {
    async fn labelled<K>(&mut self) -> Result<(), CommandError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let label = format!("{}={}", labels::CLUSTER_NAME, self.name);
        self.kind::<K>(ListParams::default().labels(&label)).await
    }

    async fn kind<K>(&mut self, params: ListParams) -> Result<(), CommandError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let (kind, resource) = (K::kind(&()), ApiResource::erase::<K>(&()));
        // Dynamic objects: those that cannot be parsed as their kind are of interest too.
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), self.namespace, &resource);
        let list = match api.list(&params.limit(MOST)).await {
            Ok(list) => list,
            Err(error) => {
                self.archive.note(format!("objects of kind {kind}: {error}"));
                return Ok(());
            }
        };
        for mut found in list.items {
            let name = found.name_any();
            found.types.get_or_insert_with(|| kube::core::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: kind.to_string(),
            });
            let mut value = serde_json::to_value(&found).doing("cannot write an object")?;
            redact::object(&mut value);
            let text = self.secrets.clean(&value_to_yaml(&value)?);
            let path = format!("objects/{}/{name}.yaml", kind.to_lowercase());
            self.archive.add(&path, &text).doing("cannot write the bundle")?;
            self.names.insert(name);
        }
        Ok(())
    }

    async fn events(&mut self) -> Result<(), CommandError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), self.namespace);
        let list = match api.list(&ListParams::default().limit(MOST)).await {
            Ok(list) => list.items,
            Err(error) => {
                self.archive.note(format!("events: {error}"));
                return Ok(());
            }
        };
        let is_ours = |event: &&Event| {
            event.involved_object.name.as_ref().is_some_and(|name| self.names.contains(name))
        };
        let mut lines: Vec<String> = list.iter().filter(is_ours).map(line).collect();
        lines.sort();
        let text = self.secrets.clean(&lines.concat());
        self.archive.add("events.txt", &text).doing("cannot write the bundle")
    }
}

/// Returns an event on one line, starting with the time.
pub(super) fn line(event: &Event) -> String {
    let micro = event.event_time.as_ref().map(|time| time.0.to_string());
    let time = event.last_timestamp.as_ref().map(|time| time.0.to_string()).or(micro);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let object = &event.involved_object;
    format!(
        "{} {} {} {}/{} {}\n",
        time.unwrap_or_else(|| "-".to_owned()),
        text(&event.type_),
        text(&event.reason),
        text(&object.kind),
        text(&object.name),
        text(&event.message).replace('\n', " "),
    )
}
