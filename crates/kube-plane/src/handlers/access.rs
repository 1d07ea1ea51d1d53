//! Whether somebody may do what he asks for, and asking as somebody else.

use http::HeaderMap;

use super::Request;
use crate::{
    api::{Api, Target},
    identity::{Identity, service_account},
    rbac::{Attributes, On, ResourceAttributes},
    status::{ApiError, Result},
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
/// Groups that somebody may be taken to be in.
const MOST_GROUPS: usize = 64;

/// Refuses a request that its sender may not make.
pub(super) fn authorize(api: &Api, request: &Request, segments: &[&str]) -> Result<()> {
    if request.identity.is_master() {
        return Ok(());
    }
    check(api, &request.identity, &Attributes::of(&request.method, segments, &request.query))
}

/// Refuses the creation of an object by a request that is not a create.
pub(super) fn may_create(api: &Api, identity: &Identity, target: &Target<'_>) -> Result<()> {
    let on = ResourceAttributes {
        group: (&*target.resource.group).into(),
        resource: (&*target.resource.plural).into(),
        namespace: target.namespace.into(),
        name: target.name.into(),
        ..ResourceAttributes::default()
    };
    check(api, identity, &Attributes { verb: "create".into(), on: On::Resource(on) })
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

/// Whom the request wants to be taken for, if its sender may ask for that.
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
    if groups.len() > MOST_GROUPS {
        return Err(ApiError::bad_request(format!(
            "the request has more than {MOST_GROUPS} headers Impersonate-Group"
        )));
    }
    let may = |resource: &str, namespace: &str, name: &str| {
        let on = ResourceAttributes {
            resource: resource.to_owned().into(),
            namespace: namespace.to_owned().into(),
            name: name.to_owned().into(),
            ..ResourceAttributes::default()
        };
        let what = Attributes { verb: "impersonate".into(), on: On::Resource(on) };
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

/// The values of a header that are not empty.
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
