//! Applies manifests to a workload cluster. Its responses are limited and reported in one line per
//! object.

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::addons::ResourceSetStrategy;
use capn_text::display;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::manifest::Manifest;
use crate::error::chain;
use crate::workload::{self, answer};

/// Timeout for one object.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Maximum number of objects named in an error. The others are counted.
const MAX_TOLD: usize = 5;
/// Number of API versions whose kinds are cached.
const MAX_SERVED: usize = 8;
/// Maximum length of an API server message about an object, in bytes.
const LONGEST: usize = 300;
/// Default namespace of objects, as in kubectl.
const DEFAULT_NAMESPACE: &str = "default";
/// Field manager of applied objects.
const MANAGER: &str = "capn-clusterresourceset";
/// Kinds that define other kinds.
const DEFINING: [&str; 2] = ["CustomResourceDefinition", "APIService"];

/// Connection to a workload cluster while resources are applied.
pub(super) struct Session {
    client: Client,
    /// Kinds that the API server serves, by API version.
    served: BTreeMap<String, APIResourceList>,
    /// The reason the cluster no longer responds, once it does not.
    pub(super) lost: Option<String>,
}

/// Apply errors of one object.
enum ApplyError {
    /// The cluster does not respond, so the remaining objects would fail too.
    Lost(String),
    /// The API server rejected the object.
    Refused(String),
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client, served: BTreeMap::new(), lost: None }
    }

    /// Applies objects independently of each other. All errors are reported in one text, which does
    /// not quote secret objects.
    ///
    /// # Cancellation
    ///
    /// Applied objects stay. Everything can be applied again.
    pub(super) async fn apply(
        &mut self,
        strategy: ResourceSetStrategy,
        manifests: &[Manifest],
        is_secret: bool,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let mut refused = Vec::new();
        for manifest in manifests {
            if stop.is_cancelled() {
                self.lost = Some("capn is shutting down".to_owned());
            } else {
                let is_secret = is_secret || manifest.kind == "Secret";
                match self.apply_one(strategy, manifest, is_secret).await {
                    Ok(()) => {}
                    Err(ApplyError::Refused(why)) => refused.push(format!("{manifest}: {why}")),
                    Err(ApplyError::Lost(why)) => self.lost = Some(why),
                }
            }
            if let Some(lost) = &self.lost {
                return Err(lost.clone());
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(summarize(&refused)) }
    }

    async fn apply_one(
        &mut self,
        strategy: ResourceSetStrategy,
        manifest: &Manifest,
        is_secret: bool,
    ) -> Result<(), ApplyError> {
        let (resource, is_namespaced) = self.resource(manifest).await?;
        let namespace = manifest.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let path = DynamicObject::url_path(&resource, is_namespaced.then_some(namespace));
        let path = Request::new(path);
        let sent = match strategy {
            ResourceSetStrategy::ApplyOnce => {
                path.create(&PostParams::default(), manifest.json.clone().into_bytes())
            }
            ResourceSetStrategy::Reconcile => {
                let object: Value = serde_json::from_str(&manifest.json)
                    .map_err(|_| ApplyError::Refused("it is not valid JSON".to_owned()))?;
                let params = PatchParams::apply(MANAGER).force();
                path.patch(&manifest.name, &params, &Patch::Apply(object))
            }
        };
        let request =
            sent.map_err(|_| ApplyError::Refused("it cannot be used in a request".to_owned()))?;
        let answered =
            answer("apply", ANSWER_WITHIN, self.client.request_text(request)).await.map(drop);
        if DEFINING.contains(&manifest.kind.as_str()) {
            self.served.clear();
        }
        match answered {
            Err(error) if is_there(&error) && strategy == ResourceSetStrategy::ApplyOnce => Ok(()),
            Err(error) => Err(refusal(&error, is_secret)),
            Ok(()) => Ok(()),
        }
    }

    /// Returns the API resource of a kind, and whether it is namespaced.
    async fn resource(&mut self, manifest: &Manifest) -> Result<(ApiResource, bool), ApplyError> {
        let api_version = &manifest.api_version;
        if !self.served.contains_key(api_version) {
            let listed = match api_version.contains('/') {
                true => {
                    let asked = self.client.list_api_group_resources(api_version);
                    answer("list the kinds", ANSWER_WITHIN, asked).await
                }
                false => {
                    let asked = self.client.list_core_api_resources(api_version);
                    answer("list the kinds", ANSWER_WITHIN, asked).await
                }
            };
            let listed = match listed {
                Ok(mut listed) => {
                    // Only names are used.
                    for resource in &mut listed.resources {
                        resource.verbs = Vec::new();
                        (resource.short_names, resource.categories) = (None, None);
                    }
                    listed
                }
                Err(error) if status(&error).is_some_and(|said| said.code == 404) => {
                    APIResourceList::default()
                }
                Err(error) => return Err(refusal(&error, true)),
            };
            // A set may use a thousand API versions, each of which needs a request.
            if self.served.len() >= MAX_SERVED {
                self.served.clear();
            }
            self.served.insert(api_version.clone(), listed);
        }
        let listed = self.served.get(api_version).map(|listed| listed.resources.as_slice());
        let found = listed.unwrap_or_default().iter().find(|resource| {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let name = &resource.name;
            resource.kind == manifest.kind && !name.is_empty() && name.chars().all(is_name)
        });
        let Some(found) = found else {
            return Err(ApplyError::Refused(format!(
                "the cluster does not have this kind in {api_version}"
            )));
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.clone(),
            kind: manifest.kind.clone(),
            plural: found.name.clone(),
        };
        Ok((resource, found.namespaced))
    }
}

/// Returns the Status of an error, if the API server sent it.
fn status(error: &workload::Error) -> Option<&kube::core::Status> {
    let workload::Error::Request { source, .. } = error else { return None };
    match source.as_ref() {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

fn is_there(error: &workload::Error) -> bool {
    status(error).is_some_and(|said| said.code == 409 && said.reason == "AlreadyExists")
}

fn refusal(error: &workload::Error, is_secret: bool) -> ApplyError {
    match status(error) {
        // API servers quote rejected values.
        Some(said) if is_secret || said.message.is_empty() => {
            ApplyError::Refused(format!("the API server responds with {}", said.code))
        }
        Some(said) => ApplyError::Refused(one_line(&said.message)),
        None => ApplyError::Lost(one_line(&chain(error))),
    }
}

fn one_line(text: &str) -> String {
    display::line(text.trim(), LONGEST).into_owned()
}

fn summarize(refused: &[String]) -> String {
    let mut text = refused.iter().take(MAX_TOLD).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = refused.len().checked_sub(MAX_TOLD).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more objects"));
    }
    text
}
