//! Attributes of a request for authorization.

use std::borrow::Cow;

use http::Method;

use crate::handlers::request::{Query, ResourcePath};

/// A verb on a resource or on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: Cow<'a, str>,
    pub(crate) target: RequestTarget<'a>,
}

/// Target of a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestTarget<'a> {
    Resource(ResourceAttributes<'a>),
    /// A path that is not a resource path, such as `/version`.
    Path(Cow<'a, str>),
}

/// A resource in one group; empty texts stand for missing parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourceAttributes<'a> {
    pub(crate) group: Cow<'a, str>,
    pub(crate) resource: Cow<'a, str>,
    pub(crate) subresource: Cow<'a, str>,
    /// Empty for all namespaces, or for a cluster-scoped resource.
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
}

impl<'a> Attributes<'a> {
    /// Attributes of a request, from the segments of its path.
    pub(crate) fn of(method: &Method, segments: &[&'a str], query: &Query) -> Self {
        let Some(path) = ResourcePath::parse(segments) else {
            return Self {
                verb: method_verb(method).into(),
                target: RequestTarget::Path(format!("/{}", segments.join("/")).into()),
            };
        };
        let watch = query.flag("watch");
        let verb = match (method_verb(method), path.name) {
            ("get", _) if watch => "watch",
            ("get", None) => "list",
            ("delete", None) => "deletecollection",
            (verb, _) => verb,
        };
        // A list of one named object is about that object.
        let name = match (path.name, verb) {
            (Some(name), _) => name.into(),
            (None, "list" | "watch") => query.exact_name().unwrap_or_default().into(),
            (None, _) => "".into(),
        };
        // A Namespace counts as in itself.
        let namespace = match path.namespace {
            None if path.group.is_empty() && path.plural == "namespaces" => path.name,
            namespace => namespace,
        };
        let target = ResourceAttributes {
            group: path.group.into(),
            resource: path.plural.into(),
            subresource: path.subresource.unwrap_or_default().into(),
            namespace: namespace.unwrap_or_default().into(),
            name,
        };
        Self { verb: verb.into(), target: RequestTarget::Resource(target) }
    }

    /// Copies the borrowed texts.
    pub(crate) fn into_owned(self) -> Attributes<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let target = match self.target {
            RequestTarget::Resource(resource) => RequestTarget::Resource(ResourceAttributes {
                group: owned(resource.group),
                resource: owned(resource.resource),
                subresource: owned(resource.subresource),
                namespace: owned(resource.namespace),
                name: owned(resource.name),
            }),
            RequestTarget::Path(path) => RequestTarget::Path(owned(path)),
        };
        Attributes { verb: owned(self.verb), target }
    }

    /// Returns the namespace of the target; empty for all namespaces and for cluster scope.
    pub(super) fn namespace(&self) -> &str {
        match &self.target {
            RequestTarget::Resource(resource) => &resource.namespace,
            RequestTarget::Path(_) => "",
        }
    }
}

/// Formats the denied action as Kubernetes does.
impl std::fmt::Display for Attributes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resource = match &self.target {
            RequestTarget::Path(path) => return write!(f, "cannot {} path \"{path}\"", self.verb),
            RequestTarget::Resource(resource) => resource,
        };
        let slash = if resource.subresource.is_empty() { "" } else { "/" };
        write!(
            f,
            "cannot {} resource \"{}{slash}{}\" in API group \"{}\" ",
            self.verb, resource.resource, resource.subresource, resource.group
        )?;
        if resource.namespace.is_empty() {
            f.write_str("at the cluster scope")
        } else {
            write!(f, "in the namespace \"{}\"", resource.namespace)
        }
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        // No rule and no route uses it.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(method: &Method, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let attributes = Attributes::of(method, &segments, &Query::parse(query));
        match &attributes.target {
            RequestTarget::Resource(target) if !target.name.is_empty() => {
                format!("{} {attributes}", target.name)
            }
            _ => attributes.to_string(),
        }
    }

    #[test]
    fn requests_are_verbs_on_resources() {
        let secrets = "/api/v1/namespaces/n/secrets";
        let things = "/apis/g.io/v1/things";
        for (method, path, expected) in [
            (
                Method::GET,
                secrets.to_owned(),
                "cannot list resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::GET,
                format!("{secrets}?watch=1"),
                "cannot watch resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::GET,
                format!("{secrets}?fieldSelector=metadata.name%3Da"),
                "a cannot list resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::GET,
                format!("{secrets}?fieldSelector=metadata.name!%3Da"),
                "cannot list resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::HEAD,
                format!("{secrets}/a"),
                "a cannot get resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::GET,
                format!("{secrets}/a?watch"),
                "a cannot watch resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::POST,
                secrets.to_owned(),
                "cannot create resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::DELETE,
                secrets.to_owned(),
                "cannot deletecollection resource \"secrets\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::DELETE,
                format!("{things}/a"),
                "a cannot delete resource \"things\" in API group \"g.io\" at the cluster scope",
            ),
            (
                Method::PUT,
                format!("{things}/a/status"),
                "a cannot update resource \"things/status\" in API group \"g.io\" at the cluster scope",
            ),
            (
                Method::PATCH,
                format!("{things}/a/scale"),
                "a cannot patch resource \"things/scale\" in API group \"g.io\" at the cluster scope",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/n".to_owned(),
                "n cannot get resource \"namespaces\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Method::GET,
                "/api/v1/namespaces".to_owned(),
                "cannot list resource \"namespaces\" in API group \"\" at the cluster scope",
            ),
            (Method::GET, "/apis/g.io/v1".to_owned(), "cannot get path \"/apis/g.io/v1\""),
            (Method::GET, "//version/".to_owned(), "cannot get path \"/version\""),
            (Method::GET, "/".to_owned(), "cannot get path \"/\""),
        ] {
            assert_eq!(words(&method, &path), expected, "{method} {path}");
        }
    }
}
