//! Authorization and impersonation.

use std::sync::Arc;

use http::HeaderMap;

use super::Request;
use crate::{
    api::{Api, Target},
    identity::{Identity, service_account},
    rbac::{Attributes, Policy, RequestTarget, ResourceAttributes},
    status::{ApiError, Result},
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
/// Maximum number of impersonated groups.
const MAX_GROUPS: usize = 64;

/// Rejects a request that its sender is not authorized to make.
pub(super) fn authorize(api: &Api, request: &Request, segments: &[&str]) -> Result<()> {
    if request.identity.is_master() {
        return Ok(());
    }
    check(api, &request.identity, &Attributes::of(&request.method, segments, &request.query))
}

/// The permission for a watch, which may be revoked while the watch runs.
#[derive(Clone)]
pub(super) struct WatchPermission {
    identity: Identity,
    what: Arc<Attributes<'static>>,
    /// The policy that was last checked.
    policy: Arc<Policy>,
}

impl WatchPermission {
    /// Returns the permission that a request needs, before it is checked. `None`: it cannot be
    /// revoked.
    pub(super) fn of(api: &Api, request: &Request, segments: &[&str]) -> Option<Self> {
        if request.identity.is_master() {
            return None;
        }
        let policy = api.rbac.policy();
        let what = Attributes::of(&request.method, segments, &request.query).into_owned();
        Some(Self { identity: request.identity.clone(), what: Arc::new(what), policy })
    }

    /// Checks the permission again if a role or binding has changed.
    pub(super) fn check(&mut self, api: &Api) -> Result<()> {
        let policy = api.rbac.policy();
        if Arc::ptr_eq(&policy, &self.policy) {
            return Ok(());
        }
        self.policy = policy;
        check(api, &self.identity, &self.what)
    }
}

/// Rejects the creation of an object by a request other than create, without permission to create.
pub(super) fn may_create(api: &Api, identity: &Identity, target: &Target<'_>) -> Result<()> {
    let target = ResourceAttributes {
        group: (&*target.resource.group).into(),
        resource: (&*target.resource.plural).into(),
        namespace: target.namespace.into(),
        name: target.name.into(),
        ..ResourceAttributes::default()
    };
    check(
        api,
        identity,
        &Attributes { verb: "create".into(), target: RequestTarget::Resource(target) },
    )
}

fn check(api: &Api, identity: &Identity, what: &Attributes<'_>) -> Result<()> {
    if identity.is_master() {
        return Ok(());
    }
    let policy = api.rbac.policy();
    if policy.allows(identity, what) {
        return Ok(());
    }
    Err(ApiError::may_not(&identity.user, what, &policy.decide(identity, what).reason))
}

/// Returns the impersonated user, if the sender may impersonate them.
pub(super) fn impersonated(api: &Api, request: &Request) -> Result<Option<Identity>> {
    let headers = &request.headers;
    let Some(user) = texts(headers, USER)?.into_iter().next() else {
        let other = headers.keys().find(|name| name.as_str().starts_with("impersonate-"));
        return match other {
            None => Ok(None),
            Some(_) => Err(ApiError::bad_request(
                "the request has Impersonate- headers without Impersonate-User",
            )),
        };
    };
    let unknown = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("impersonate-") && !matches!(*name, USER | GROUP));
    if let Some(unknown) = unknown {
        return Err(ApiError::bad_request(format!(
            "the header {unknown} is not supported: impersonate a user and groups only"
        )));
    }
    let groups = texts(headers, GROUP)?;
    if groups.len() > MAX_GROUPS {
        return Err(ApiError::bad_request(format!(
            "the request has more than {MAX_GROUPS} Impersonate-Group headers"
        )));
    }
    let may = |resource: &str, namespace: &str, name: &str| {
        let target = ResourceAttributes {
            resource: resource.to_owned().into(),
            namespace: namespace.to_owned().into(),
            name: name.to_owned().into(),
            ..ResourceAttributes::default()
        };
        let what =
            Attributes { verb: "impersonate".into(), target: RequestTarget::Resource(target) };
        check(api, &request.identity, &what)
    };
    match service_account(&user) {
        Some((namespace, name)) => may("serviceaccounts", namespace, name)?,
        None => may("users", "", &user)?,
    }
    for group in &groups {
        may("groups", "", group)?;
    }
    Ok(Some(Identity::named(user, groups)))
}

/// Non-empty values of a header.
fn texts(headers: &HeaderMap, name: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for value in headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| ApiError::bad_request(format!("the header {name} is not UTF-8")))?;
        if !text.is_empty() {
            texts.push(text.to_owned());
        }
    }
    Ok(texts)
}
