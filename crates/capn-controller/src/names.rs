//! Rejects requests whose path contains an invalid object name.
//!
//! Users write the names of other objects into fields and owner references, and clients build the
//! path of a request from them without escaping. A name such as `?watch=1` would turn the request
//! for an object into a watch of all objects, whose response has no end and no limit.

use http::Uri;
use kube::client::Body;
use kube::{Client, Error};

/// Maximum size of a quoted path, in bytes.
const QUOTED: usize = 200;

/// The path of a request contains an invalid object name. Final until the object that contains the
/// name changes.
#[derive(Debug, thiserror::Error)]
#[error("the request path {path} contains an invalid name")]
pub struct InvalidName {
    path: String,
}

/// Wraps a client: requests whose path or query cannot result from valid names fail with
/// [`InvalidName`] and are not sent. Every client whose requests contain names from users must be
/// wrapped.
#[must_use]
pub fn checked(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            check(request.uri()).map_err(|error| Error::Service(Box::new(error)))?;
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

/// Checks the path and query of a request.
///
/// # Errors
///
/// [`InvalidName`] if a segment of the path is empty, `.`, `..` or contains `%`, or if the query
/// contains a `?` or does not fit the request for one object. Clients never create these from valid
/// names: they escape the parameters, and add only `resourceVersion` to the request for an object.
pub fn check(uri: &Uri) -> Result<(), InvalidName> {
    let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
    let are_names = segments.iter().all(|segment| is_segment(segment)) || uri.path() == "/";
    let query = uri.query().unwrap_or_default();
    let fits = !is_object(&segments)
        || query.split('&').all(|pair| !pair.starts_with("watch=") && !pair.starts_with("limit="));
    if are_names && fits && !query.contains('?') {
        return Ok(());
    }
    let path = uri.path_and_query().map_or(uri.path(), |all| all.as_str());
    Err(InvalidName { path: capn_text::display::line(path, QUOTED).into_owned() })
}

fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains('%')
}

/// Returns whether a path is that of one object, without a subresource.
fn is_object(segments: &[&str]) -> bool {
    let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = segments else {
        return false;
    };
    match rest {
        ["namespaces", _, _, name @ ..] => name.len() == 1,
        other => other.len() == 2,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
    use kube::Api;
    use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, WatchParams};
    use serde_json::json;

    use super::*;

    /// A client that counts requests and answers each with an object.
    fn counting() -> (Client, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let service = tower::service_fn(move |_: http::Request<Body>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let object = json!({ "metadata": { "name": "a" }, "items": [], "spec": {} });
            let body = Body::from(object.to_string().into_bytes());
            async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
        });
        (checked(Client::new(service, "default")), sent)
    }

    #[tokio::test]
    async fn requests_for_names_that_are_not_names_are_not_sent() {
        let (client, sent) = counting();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "n");
        let nodes: Api<Node> = Api::all(client);
        for name in [
            "?watch=1",
            "?x=1",
            "a?watch=1",
            "a?limit=500&watch=true",
            "?",
            "#a",
            "..",
            "../..",
            "../../kube-system/secrets/a",
            "a/../b",
            "a//b",
            "/",
            "%2e%2e",
            "a%2fb",
            "a%3fwatch=1",
        ] {
            assert!(secrets.get(name).await.is_err(), "{name}");
            assert!(secrets.get_opt(name).await.is_err(), "{name}");
            assert!(nodes.get(name).await.is_err(), "{name}");
        }
        for name in ["a?dryRun=All", "a?force=true&x="] {
            let patch = Patch::Merge(json!({}));
            assert!(secrets.patch(name, &PatchParams::apply("m"), &patch).await.is_err(), "{name}");
            assert!(secrets.delete(name, &DeleteParams::default()).await.is_err(), "{name}");
        }
        assert_eq!(sent.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn valid_requests_are_sent() {
        let (client, sent) = counting();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
        let pods: Api<Pod> = Api::namespaced(client.clone(), "n");
        let selector = ListParams::default().labels("a in (b,c)").fields("metadata.name=x?y");
        maps.get("kube-root-ca.crt").await.unwrap();
        maps.get("system:a").await.unwrap();
        drop(maps.list(&selector).await);
        drop(maps.watch(&WatchParams::default(), "1").await);
        drop(pods.logs("a", &LogParams { follow: true, ..LogParams::default() }).await);
        drop(maps.patch("a", &PatchParams::apply("m").force(), &Patch::Apply(json!({}))).await);
        drop(maps.patch_status("a", &PatchParams::default(), &Patch::Merge(json!({}))).await);
        drop(client.apiserver_version().await);
        drop(client.list_api_groups().await);
        assert_eq!(sent.load(Ordering::SeqCst), 9);
    }
}
