//! Lookup of referenced objects.

use std::time::Duration;

use capi_api::conditions::reason;
use capi_api::core::ContractRef;
use kube::Resource;
use kube::api::DynamicObject;

use crate::Context;
use crate::contract::{self, ContractView};
use crate::error::{Failure, chain};
use crate::objects::is_deleting;
use crate::summary::ConditionState;

/// Interval for checking whether a missing provider has been installed.
pub(crate) const PROVIDER_RECHECK: Duration = Duration::from_secs(30);

/// Result of following a reference.
#[derive(Clone, Debug)]
pub(crate) enum Lookup {
    /// The reference is not set.
    NoReference,
    /// The object does not exist.
    Missing,
    /// A user must act first, for example install a provider.
    Unreadable(String),
    /// The object.
    Found(Box<DynamicObject>),
}

impl Lookup {
    /// Returns the object, if it was found.
    pub(crate) fn found(&self) -> Option<&DynamicObject> {
        match self {
            Self::Found(object) => Some(object),
            Self::NoReference | Self::Missing | Self::Unreadable(_) => None,
        }
    }

    /// Returns whether a user must act first. No event reports when this is done.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// Returns the contract fields of the object, if it was found.
    pub(crate) fn view(&self) -> Option<ContractView<'_>> {
        self.found().map(ContractView)
    }
}

/// Follows a reference and watches its kind from now on.
///
/// # Errors
///
/// Only temporary failures. A provider that is not installed yields [`Lookup::Unreadable`].
pub(crate) async fn look_up(
    ctx: &Context,
    namespace: &str,
    reference: Option<&ContractRef>,
    on_behalf_of: &str,
) -> Result<Lookup, Failure> {
    find(ctx, namespace, reference, on_behalf_of, false).await
}

/// Like [`look_up`], for an object that may be being deleted. In that case an undefined kind yields
/// [`Lookup::Missing`], so that a reference with a typo does not block the deletion.
pub(crate) async fn look_up_for<K: Resource>(
    ctx: &Context,
    namespace: &str,
    reference: Option<&ContractRef>,
    on_behalf_of: &str,
    object: &K,
) -> Result<Lookup, Failure> {
    find(ctx, namespace, reference, on_behalf_of, is_deleting(object.meta())).await
}

async fn find(
    ctx: &Context,
    namespace: &str,
    reference: Option<&ContractRef>,
    on_behalf_of: &str,
    is_leaving: bool,
) -> Result<Lookup, Failure> {
    let Some(reference) = reference else { return Ok(Lookup::NoReference) };
    let failed = |source| Failure::Contract { object: on_behalf_of.to_owned(), source };
    let (api, resource) = match ctx.contracts.api(namespace, reference).await {
        Ok(known) => known,
        Err(contract::Error::NotDefined { .. } | contract::Error::OtherKind { .. })
            if is_leaving =>
        {
            return Ok(Lookup::Missing);
        }
        Err(error) if error.is_unresolved() => {
            return Ok(Lookup::Unreadable(chain(&error)));
        }
        Err(source) => return Err(failed(source)),
    };
    ctx.external.watch(&resource);
    let object = api
        .get_opt(&reference.name)
        .await
        .map_err(contract::Error::request("get", reference.to_string()))
        .map_err(failed)?;
    Ok(object.map_or(Lookup::Missing, |object| Lookup::Found(Box::new(object))))
}

/// Returns the state of an object's condition `Ready`, or else what `fallback` derives from the
/// object. `was_there` distinguishes a deleted object from one that does not exist yet.
pub(crate) fn external_ready(
    reference: &ContractRef,
    lookup: &Lookup,
    was_there: bool,
    fallback: impl Fn(ContractView<'_>) -> ConditionState,
) -> ConditionState {
    match lookup {
        Lookup::Unreadable(why) => ConditionState::unknown(reason::INTERNAL_ERROR, why.clone()),
        Lookup::NoReference | Lookup::Missing if was_there => {
            ConditionState::no(reason::OBJECT_DELETED, format!("{reference} was deleted"))
        }
        Lookup::NoReference | Lookup::Missing => {
            ConditionState::no(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        Lookup::Found(object) => match ContractView(object).ready() {
            Some(ready) => ConditionState::mirror(&ready, reason::READY),
            None => fallback(ContractView(object)),
        },
    }
}
