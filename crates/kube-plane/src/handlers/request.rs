//! Parsing of requests: path, query and accepted media types.

use std::time::Duration;

use http::{HeaderMap, Method, header};
use serde_json::Value;

use crate::{
    api::{DeleteOptions, FieldValidation, Propagation, Subresource, WriteOptions},
    selectors,
    status::{ApiError, Result},
};

/// A resource path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) plural: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) subresource: Option<&'a str>,
}

impl<'a> ResourcePath<'a> {
    /// Parses `/api/v1/…` and `/apis/group/version/…`.
    pub(crate) fn parse(segments: &[&'a str]) -> Option<Self> {
        let (group, version, rest) = match segments {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let base = Self { group, version, ..Self::default() };
        Some(match rest {
            // Namespaces themselves, and objects in them.
            ["namespaces", name, subresource @ ("status" | "finalize")] if group.is_empty() => {
                Self {
                    plural: "namespaces",
                    name: Some(name),
                    subresource: Some(subresource),
                    ..base
                }
            }
            ["namespaces", namespace, plural] => {
                Self { namespace: Some(namespace), plural, ..base }
            }
            ["namespaces", namespace, plural, name] => {
                Self { namespace: Some(namespace), plural, name: Some(name), ..base }
            }
            ["namespaces", namespace, plural, name, subresource] => Self {
                namespace: Some(namespace),
                plural,
                name: Some(name),
                subresource: Some(subresource),
                ..base
            },
            [plural] => Self { plural, ..base },
            [plural, name] => Self { plural, name: Some(name), ..base },
            [plural, name, subresource] => {
                Self { plural, name: Some(name), subresource: Some(subresource), ..base }
            }
            _ => return None,
        })
    }
}

/// The query of a request.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.pairs.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Returns the same query with an additional field selector.
    pub(crate) fn with_field(&self, field: &str, value: &str) -> Self {
        let selector = self.get("fieldSelector");
        let comma = if selector.is_empty() { "" } else { "," };
        let selector = format!("{selector}{comma}{field}={value}");
        let mut pairs = vec![("fieldSelector".to_owned(), selector)];
        pairs.extend(self.pairs.iter().filter(|(name, _)| name != "fieldSelector").cloned());
        Self { pairs }
    }

    /// Returns the name that the field selector requires, if any.
    pub(crate) fn exact_name(&self) -> Option<String> {
        selectors::exact_field(self.get("fieldSelector"), "metadata.name")
    }

    /// `true`, `1` or empty.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.pairs.iter().any(|(found, value)| {
            found == name && !matches!(value.as_str(), "false" | "0" | "False")
        })
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>> {
        match self.get(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("invalid value for {name}: {text}"))),
        }
    }

    /// Returns the requested duration of a watch, at most `longest`.
    pub(crate) fn timeout(&self, longest: Duration) -> Result<Option<Duration>> {
        let seconds = self.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        Ok(seconds.map(|seconds| Duration::from_secs(seconds).min(longest)))
    }

    fn dry_run(&self) -> Result<bool> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(ApiError::bad_request(format!("invalid dryRun: {other}"))),
        }
    }

    /// Options of a write request.
    pub(crate) fn write_options(&self, headers: &HeaderMap) -> Result<WriteOptions> {
        let validation = match self.get("fieldValidation") {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            other => {
                return Err(ApiError::bad_request(format!("invalid fieldValidation: {other}")));
            }
        };
        let manager = match self.get("fieldManager") {
            "" => {
                let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
                let agent = agent.unwrap_or("unknown");
                agent.split('/').next().unwrap_or(agent).to_owned()
            }
            manager => manager.to_owned(),
        };
        Ok(WriteOptions { dry_run: self.dry_run()?, validation, manager, who: None })
    }

    /// Returns the delete options of the query, added to those of the body.
    pub(crate) fn delete_options(&self, body: Value) -> Result<DeleteOptions> {
        let mut options: DeleteOptions = serde_json::from_value(body).map_err(|error| {
            let why = crate::json::reason(&error);
            ApiError::bad_request(format!("cannot read the DeleteOptions: {why}"))
        })?;
        if options.propagation_policy.is_none() {
            options.propagation_policy = match self.get("propagationPolicy") {
                "" => None,
                "Background" => Some(Propagation::Background),
                "Foreground" => Some(Propagation::Foreground),
                "Orphan" => Some(Propagation::Orphan),
                other => {
                    return Err(ApiError::bad_request(format!(
                        "invalid propagationPolicy: {other}"
                    )));
                }
            };
        }
        if self.dry_run()? {
            options.dry_run = Some(vec!["All".to_owned()]);
        }
        Ok(options)
    }
}

/// Form of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Object,
    Table,
    Partial,
    /// Aggregated discovery.
    Discovery,
}

/// Returns the first supported media type in the `Accept` header.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Form> {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        for part in value.to_str().unwrap_or_default().split(',') {
            any = true;
            let mut parameters = part.split(';').map(str::trim);
            let media = parameters.next().unwrap_or_default();
            if !matches!(media, "application/json" | "*/*" | "application/*" | "") {
                continue;
            }
            let (mut form, mut version, mut group) = ("", "", "");
            for parameter in parameters {
                match parameter.split_once('=') {
                    Some(("as", value)) => form = value,
                    Some(("v", value)) => version = value,
                    Some(("g", value)) => group = value,
                    _ => {}
                }
            }
            match (form, group, version) {
                ("", ..) => return Ok(Form::Object),
                ("Table", "meta.k8s.io", "v1") => return Ok(Form::Table),
                ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
                    return Ok(Form::Partial);
                }
                ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => {
                    return Ok(Form::Discovery);
                }
                _ => {}
            }
        }
    }
    if any { Err(ApiError::not_acceptable(&["application/json"])) } else { Ok(Form::Object) }
}

/// Returns the media type of the body, without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// Returns the subresource of a path.
pub(crate) fn subresource(name: Option<&str>) -> Option<Subresource> {
    match name {
        None => Some(Subresource::None),
        Some("status") => Some(Subresource::Status),
        Some("finalize") => Some(Subresource::Finalize),
        Some(_) => None,
    }
}

/// Returns whether the method changes something.
pub(crate) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_paths_are_parsed() {
        let parse = |path: &'static str| {
            let segments: Vec<&str> = path.split('/').collect();
            ResourcePath::parse(&segments)
        };
        let path = parse("api/v1/namespaces/default/secrets/a").unwrap();
        assert_eq!(
            (path.namespace, path.plural, path.name),
            (Some("default"), "secrets", Some("a"))
        );
        let path = parse("api/v1/namespaces/default").unwrap();
        assert_eq!((path.namespace, path.plural, path.name), (None, "namespaces", Some("default")));
        let path = parse("api/v1/namespaces/default/finalize").unwrap();
        assert_eq!((path.plural, path.subresource), ("namespaces", Some("finalize")));
        let path = parse("apis/g.io/v1/namespaces/n/things/a/status").unwrap();
        assert_eq!((path.group, path.plural, path.subresource), ("g.io", "things", Some("status")));
        let path = parse("apis/g.io/v1/things").unwrap();
        assert_eq!((path.namespace, path.plural, path.name), (None, "things", None));
        assert_eq!(parse("healthz"), None);
        assert_eq!(parse("api/v1/namespaces/n/a/b/c/d"), None);
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&watch&limit=5&dryRun=All");
        assert_eq!(query.get("labelSelector"), "a=b,c in (d)");
        assert!(query.flag("watch"));
        assert!(!query.flag("allowWatchBookmarks"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert!(query.write_options(&HeaderMap::new()).unwrap().dry_run);
        assert!(Query::parse("limit=x").number("limit").is_err());
        assert!(Query::parse("limit=-1").number("limit").is_err());
        assert!(Query::parse("limit=18446744073709551616").number("limit").is_err());
    }

    #[test]
    fn watch_timeouts_are_capped() {
        let hour = Duration::from_secs(3600);
        let timeout = |text: &str| Query::parse(text).timeout(hour).unwrap();
        assert_eq!(timeout("timeoutSeconds=5"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("timeoutSeconds=0"), None);
        for huge in [i64::MAX as u64, u64::MAX] {
            assert_eq!(timeout(&format!("timeoutSeconds={huge}")), Some(hour));
        }
    }

    #[test]
    fn the_first_supported_media_type_is_used() {
        let form = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            accepted(&headers)
        };
        assert_eq!(
            form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").unwrap(),
            Form::Table
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            Form::Object
        );
        assert_eq!(
            form("application/json;as=Table;v=v9;g=meta.k8s.io, */*").unwrap(),
            Form::Object
        );
        assert!(form("application/yaml").is_err());
    }
}
