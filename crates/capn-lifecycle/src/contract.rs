//! Objects of other providers, accessed through the Cluster API contract: a reference has a group,
//! kind and name; the labels of the CRD determine the version.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use capi_api::core::{ApiEndpoint, ContractRef, FailureDomain, MachineAddress};
use capi_api::{conditions, refs};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource as _};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{is_conflict, is_not_found};

/// How long a resolved version is cached.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

/// Reference errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The CRD does not exist: its provider is not installed.
    #[error(
        "the CustomResourceDefinition {crd} does not exist: the provider of {kind} is not installed"
    )]
    NotDefined {
        /// Name of the CRD.
        crd: String,
        /// Kind of the reference.
        kind: String,
    },
    /// The reference spells the kind differently.
    #[error("the kind {kind} does not exist: {crd} defines {defined}")]
    OtherKind {
        /// Name of the CRD.
        crd: String,
        /// Kind of the reference.
        kind: String,
        /// Kind that the CRD defines.
        defined: String,
    },
    /// The CRD has no label with the versions that follow the contract.
    #[error(
        "the CustomResourceDefinition {crd} has no label {label}: its provider does not follow the contract"
    )]
    NoContract {
        /// Name of the CRD.
        crd: String,
        /// The missing label.
        label: &'static str,
    },
    /// A request to the API server failed.
    #[error("{act} {object}")]
    Request {
        /// The operation.
        act: &'static str,
        /// Kind and name of the object.
        object: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    pub(crate) fn request(
        act: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Request { act, object, source: Box::new(source) }
    }

    /// Returns whether the reference has no usable kind, which needs a user.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        !matches!(self, Self::Request { .. })
    }

    /// Returns whether the object changed since it was read.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Request { source, .. } if is_conflict(source))
    }

    /// Returns whether the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Request { source, .. } if is_not_found(source))
    }
}

/// What a reference needs of a CRD.
#[derive(Debug, serde::Deserialize)]
struct Definition {
    metadata: ObjectMeta,
    spec: DefinitionSpec,
}

#[derive(Debug, serde::Deserialize)]
struct DefinitionSpec {
    names: DefinitionNames,
}

#[derive(Debug, serde::Deserialize)]
struct DefinitionNames {
    kind: String,
}

/// Resolves which version of a kind follows the contract, and caches it for some minutes.
pub struct Contracts {
    client: Client,
    known: Mutex<HashMap<String, (Instant, ApiResource)>>,
}

impl Contracts {
    /// Creates a resolver that reads the CRDs visible to `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::new(HashMap::new()) }
    }

    /// Resolves the API resource of a kind.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] may be temporary; the others need a user.
    pub async fn resolve(&self, group: &str, kind: &str) -> Result<ApiResource, Error> {
        let name = refs::crd_name(group, kind);
        let resource = match self.recall(&name) {
            Some(known) => known,
            None => self.read(group, kind, &name).await?,
        };
        // The name of the CRD is in lower case, so another spelling of the kind leads here too. It
        // would be used in requests and watches on behalf of everybody.
        match resource.kind == kind {
            true => Ok(resource),
            false => {
                Err(Error::OtherKind { crd: name, kind: kind.to_owned(), defined: resource.kind })
            }
        }
    }

    /// Reads the API resource of a kind from its CRD and caches it.
    async fn read(&self, group: &str, kind: &str, name: &str) -> Result<ApiResource, Error> {
        let undefined = || Error::NotDefined { crd: name.to_owned(), kind: kind.to_owned() };
        let definition = self.definition(name).await?.ok_or_else(undefined)?;
        let version =
            refs::contract_version(definition.metadata.labels.as_ref()).ok_or_else(|| {
                Error::NoContract {
                    crd: name.to_owned(),
                    label: capi_api::labels::CONTRACT_V1BETA2,
                }
            })?;
        let resource = refs::api_resource(group, &version, &definition.spec.names.kind);
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), (Instant::now(), resource.clone()));
        Ok(resource)
    }

    /// Returns the CRD, or `None` if it does not exist.
    async fn definition(&self, name: &str) -> Result<Option<Definition>, Error> {
        let path = CustomResourceDefinition::url_path(&(), None);
        let request = kube::core::Request::new(path).get(name, &kube::api::GetParams::default());
        let failed = || Error::request("get", format!("CustomResourceDefinition {name}"));
        let request = request.map_err(|error| failed()(kube::Error::BuildRequest(error)))?;
        match self.client.request(request).await {
            Ok(definition) => Ok(Some(definition)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(failed()(error)),
        }
    }

    /// Returns the API for the kind of a reference.
    ///
    /// # Errors
    ///
    /// See [`Contracts::resolve`].
    pub async fn api(
        &self,
        namespace: &str,
        reference: &ContractRef,
    ) -> Result<(Api<DynamicObject>, ApiResource), Error> {
        let resource = self.resolve(&reference.api_group, &reference.kind).await?;
        Ok((Api::namespaced_with(self.client.clone(), namespace, &resource), resource))
    }

    /// Returns the referenced object, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// See [`Contracts::resolve`].
    pub async fn get(
        &self,
        namespace: &str,
        reference: &ContractRef,
    ) -> Result<Option<DynamicObject>, Error> {
        let (api, _) = self.api(namespace, reference).await?;
        api.get_opt(&reference.name).await.map_err(Error::request("get", reference.to_string()))
    }

    /// Deletes the referenced object. A missing object is not an error.
    ///
    /// # Errors
    ///
    /// See [`Contracts::resolve`].
    pub async fn delete(&self, namespace: &str, reference: &ContractRef) -> Result<(), Error> {
        let (api, _) = self.api(namespace, reference).await?;
        match api.delete(&reference.name, &kube::api::DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(Error::request("delete", reference.to_string())(error)),
        }
    }

    fn recall(&self, name: &str) -> Option<ApiResource> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, resource) = known.get(name)?;
        (since.elapsed() < BELIEVED_FOR).then(|| resource.clone())
    }
}

/// Contract fields of an object of another provider.
///
/// Reads a [`DynamicObject`]. An absent or malformed field is treated as missing.
#[derive(Clone, Copy, Debug)]
pub struct ContractView<'a>(pub &'a DynamicObject);

impl<'a> ContractView<'a> {
    fn field(self, pointer: &str) -> Option<&'a Value> {
        self.0.data.pointer(pointer).filter(|value| !value.is_null())
    }

    fn parsed<T: DeserializeOwned>(self, pointer: &str) -> Option<T> {
        self.field(pointer).and_then(|value| T::deserialize(value).ok())
    }

    fn text(self, pointer: &str) -> Option<&'a str> {
        self.field(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Infrastructure: `status.initialization.provisioned`.
    #[must_use]
    pub fn is_provisioned(self) -> bool {
        self.parsed("/status/initialization/provisioned") == Some(true)
    }

    /// Control plane: `status.initialization.controlPlaneInitialized`.
    #[must_use]
    pub fn is_control_plane_initialized(self) -> bool {
        self.parsed("/status/initialization/controlPlaneInitialized") == Some(true)
    }

    /// Bootstrap: `status.dataSecretName`, once `status.initialization.dataSecretCreated`.
    #[must_use]
    pub fn data_secret(self) -> Option<&'a str> {
        if self.parsed("/status/initialization/dataSecretCreated") != Some(true) {
            return None;
        }
        self.text("/status/dataSecretName")
    }

    /// Infrastructure and control plane: `spec.controlPlaneEndpoint`, once host and port are set.
    #[must_use]
    pub fn endpoint(self) -> Option<ApiEndpoint> {
        self.parsed::<ApiEndpoint>("/spec/controlPlaneEndpoint").filter(ApiEndpoint::is_valid)
    }

    /// Infrastructure of a cluster: `status.failureDomains`.
    #[must_use]
    pub fn failure_domains(self) -> Vec<FailureDomain> {
        self.parsed("/status/failureDomains").unwrap_or_default()
    }

    /// Infrastructure of a machine: `spec.providerID`.
    #[must_use]
    pub fn provider_id(self) -> Option<&'a str> {
        self.text("/spec/providerID")
    }

    /// Infrastructure of a machine: `spec.failureDomain`, which overrides that of the machine.
    #[must_use]
    pub fn spec_failure_domain(self) -> Option<&'a str> {
        self.text("/spec/failureDomain")
    }

    /// Infrastructure of a machine: `status.failureDomain`.
    #[must_use]
    pub fn failure_domain(self) -> Option<&'a str> {
        self.text("/status/failureDomain")
    }

    /// Infrastructure of a machine: `status.addresses`.
    #[must_use]
    pub fn addresses(self) -> Vec<MachineAddress> {
        self.parsed("/status/addresses").unwrap_or_default()
    }

    /// Infrastructure of a machine: `status.interruptible`.
    #[must_use]
    pub fn is_interruptible(self) -> bool {
        self.parsed("/status/interruptible") == Some(true)
    }

    /// Returns a number in the status, for example `replicas`.
    #[must_use]
    pub fn status_count(self, name: &str) -> Option<i32> {
        self.parsed(&format!("/status/{name}"))
    }

    /// Control plane: `spec.replicas`.
    #[must_use]
    pub fn desired_replicas(self) -> Option<i32> {
        self.parsed("/spec/replicas")
    }

    /// Control plane: `spec.version`.
    #[must_use]
    pub fn version(self) -> Option<&'a str> {
        self.text("/spec/version")
    }

    /// Control plane: the oldest running version, from `status.version` or `status.versions`.
    #[must_use]
    pub fn status_version(self) -> Option<&'a str> {
        self.text("/status/version")
    }

    /// Returns any field of the object by JSON pointer.
    #[must_use]
    pub fn at<T: DeserializeOwned>(self, pointer: &str) -> Option<T> {
        self.parsed(pointer)
    }

    /// Returns a condition, if it exists and is well formed.
    #[must_use]
    pub fn condition(self, kind: &str) -> Option<Condition> {
        let all: Vec<Value> = self.parsed("/status/conditions")?;
        all.into_iter()
            .filter_map(|value| Condition::deserialize(value).ok())
            .find(|condition| condition.type_ == kind)
    }

    /// Returns the condition `Ready`.
    #[must_use]
    pub fn ready(self) -> Option<Condition> {
        self.condition(conditions::READY)
    }

    /// Returns whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }
}
