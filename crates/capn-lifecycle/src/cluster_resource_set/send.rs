//! Applies manifests to a workload cluster. What it answers is bounded, and told in one line an object.

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::addons::ResourceSetStrategy;
use capn_text::shown;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource as _};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::manifest::Manifest;
use crate::error::chain;
use crate::workload::{self, answer};

/// How long an API server may take for an object.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Objects in whose place in an error there is a number.
const MAX_TOLD: usize = 5;
/// API versions of which is kept what is served.
const MAX_SERVED: usize = 8;
/// Longest text of an API server that is told about an object, in bytes.
const LONGEST: usize = 300;
/// The namespace of objects that say none, as kubectl has it.
const DEFAULT_NAMESPACE: &str = "default";
/// Owner of the fields that are applied.
const MANAGER: &str = "capn-clusterresourceset";
/// Kinds whose objects bring others into being.
const DEFINING: [&str; 2] = ["CustomResourceDefinition", "APIService"];

/// A workload cluster while things are applied to it.
pub(super) struct Session {
    client: Client,
    /// What the API server serves, by API version.
    served: BTreeMap<String, APIResourceList>,
    /// It no longer answers, for this reason.
    pub(super) lost: Option<String>,
}

/// Why an object is not applied.
enum Refusal {
    /// The cluster does not answer, so that it would not for the next object either.
    Lost(String),
    /// The API server does not take it.
    Refused(String),
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client, served: BTreeMap::new(), lost: None }
    }

    /// Applies objects, each whatever became of the others. What is wrong is told in one text, with nothing
    /// of what is in the objects where they are secret.
    ///
    /// # Cancellation
    ///
    /// What was applied stays; all of it can be applied again.
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
                self.lost = Some("capn ends".to_owned());
            } else {
                let is_secret = is_secret || manifest.kind == "Secret";
                match self.apply_one(strategy, manifest, is_secret).await {
                    Ok(()) => {}
                    Err(Refusal::Refused(why)) => refused.push(format!("{manifest}: {why}")),
                    Err(Refusal::Lost(why)) => self.lost = Some(why),
                }
            }
            if let Some(lost) = &self.lost {
                return Err(lost.clone());
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(told(&refused)) }
    }

    async fn apply_one(
        &mut self,
        strategy: ResourceSetStrategy,
        manifest: &Manifest,
        is_secret: bool,
    ) -> Result<(), Refusal> {
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
                    .map_err(|_| Refusal::Refused("it is no JSON".to_owned()))?;
                let params = PatchParams::apply(MANAGER).force();
                path.patch(&manifest.name, &params, &Patch::Apply(object))
            }
        };
        let request = sent.map_err(|_| Refusal::Refused("it is no request".to_owned()))?;
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

    /// How the API server calls a kind, and whether its objects are in namespaces.
    async fn resource(&mut self, manifest: &Manifest) -> Result<(ApiResource, bool), Refusal> {
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
                Ok(listed) => listed,
                Err(error) if status(&error).is_some_and(|said| said.code == 404) => {
                    APIResourceList::default()
                }
                Err(error) => return Err(refusal(&error, true)),
            };
            // A set may name a thousand API versions, each with an answer of its own.
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
            return Err(Refusal::Refused(format!("the cluster has no such kind in {api_version}")));
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

/// What an API server said, if it was the API server that answered.
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

fn refusal(error: &workload::Error, is_secret: bool) -> Refusal {
    match status(error) {
        // API servers quote the values that they refuse.
        Some(said) if is_secret || said.message.is_empty() => {
            Refusal::Refused(format!("the API server answers {}", said.code))
        }
        Some(said) => Refusal::Refused(one_line(&said.message)),
        None => Refusal::Lost(one_line(&chain(error))),
    }
}

fn one_line(text: &str) -> String {
    shown::line(text.trim(), LONGEST).into_owned()
}

fn told(refused: &[String]) -> String {
    let mut text = refused.iter().take(MAX_TOLD).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = refused.len().checked_sub(MAX_TOLD).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more objects"));
    }
    text
}
