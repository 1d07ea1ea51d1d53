//! Objects that references point at, as far as they could be read.

use std::time::Duration;

use capi_api::core::ContractRef;
use kube::Resource;
use kube::api::DynamicObject;

use crate::Context;
use crate::contract::{self, Said};
use crate::error::{Failure, chain};
use crate::objects::is_deleting;

/// How soon to look again for a provider that is not installed.
pub(crate) const PROVIDER_RECHECK: Duration = Duration::from_secs(30);

/// What a reference points at.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// There is no reference.
    NoReference,
    /// There is no such object.
    Missing,
    /// A user has to do something first, for example install a provider.
    Unreadable(String),
    /// The object.
    Found(Box<DynamicObject>),
}

impl Seen {
    /// The object, if it was found.
    pub(crate) fn found(&self) -> Option<&DynamicObject> {
        match self {
            Self::Found(object) => Some(object),
            Self::NoReference | Self::Missing | Self::Unreadable(_) => None,
        }
    }

    /// A user has to do something first. Nothing tells when it is done.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// What the object says, if it was found.
    pub(crate) fn said(&self) -> Option<Said<'_>> {
        self.found().map(Said)
    }
}

/// Reads what a reference points at and has its kind watched from now on.
///
/// # Errors
///
/// Only what may pass on its own; a provider that is not installed is [`Seen::Unreadable`].
pub(crate) async fn look_up(
    ctx: &Context,
    namespace: &str,
    reference: Option<&ContractRef>,
    on_behalf_of: &str,
) -> Result<Seen, Failure> {
    find(ctx, namespace, reference, on_behalf_of, false).await
}

/// As [`look_up`], on behalf of an object that may be on its way out. A kind that nobody has defined has
/// no objects, so that there is nothing it would have to wait for: a reference with a typing error holds
/// up no deletion.
pub(crate) async fn look_up_for<K: Resource>(
    ctx: &Context,
    namespace: &str,
    reference: Option<&ContractRef>,
    on_behalf_of: &str,
    object: &K,
) -> Result<Seen, Failure> {
    find(ctx, namespace, reference, on_behalf_of, is_deleting(object.meta())).await
}

async fn find(
    ctx: &Context,
    namespace: &str,
    reference: Option<&ContractRef>,
    on_behalf_of: &str,
    is_leaving: bool,
) -> Result<Seen, Failure> {
    let Some(reference) = reference else { return Ok(Seen::NoReference) };
    let failed = |source| Failure::Contract { object: on_behalf_of.to_owned(), source };
    let (api, resource) = match ctx.contracts.api(namespace, reference).await {
        Ok(known) => known,
        Err(contract::Error::NotDefined { .. }) if is_leaving => return Ok(Seen::Missing),
        Err(error @ (contract::Error::NotDefined { .. } | contract::Error::NoContract { .. })) => {
            return Ok(Seen::Unreadable(chain(&error)));
        }
        Err(source) => return Err(failed(source)),
    };
    ctx.external.watch(&resource);
    let object = api
        .get_opt(&reference.name)
        .await
        .map_err(contract::Error::request("get", reference.to_string()))
        .map_err(failed)?;
    Ok(object.map_or(Seen::Missing, |object| Seen::Found(Box::new(object))))
}
