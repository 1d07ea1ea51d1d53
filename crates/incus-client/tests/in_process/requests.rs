//! Plain requests, and malformed responses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, patch};
use incus_client::Error;
use incus_client::api::{InstanceFilter, Reply};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Connections, within};

fn error_chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect()
}

#[tokio::test]
async fn api_errors_carry_method_path_status_and_message() {
    let answers = [
        (404, Reply::error_json(404, "Instance not found").to_string(), "Instance not found"),
        (412, Reply::error_json(412, "ETag doesn't match").to_string(), "ETag doesn't match"),
        (500, "plain text".to_owned(), "plain text"),
        (503, "<html>busy</html>".to_owned(), "<html>busy</html>"),
        // The code in the envelope overrides the status line.
        (400, Reply::error_json(409, "already exists").to_string(), "already exists"),
    ];
    for (status, body, text) in answers {
        let sent = body.clone();
        let router = Router::new().fallback(move || async move {
            (StatusCode::from_u16(status).unwrap(), sent.clone()).into_response()
        });
        let client = Connections::default().client(router).with_project("lab");
        let error = client.delete_instance("a/b").await.unwrap_err();
        let code = error.status().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "DELETE /1.0/instances/a%2Fb?project=lab: the server returned status {code}: \
                     {text}"
            )
        );
        assert_eq!(error_chain(&error).len(), 1, "the text is said once");
        assert_eq!(error.is_not_found(), status == 404);
        assert_eq!(error.is_precondition_failed(), status == 412);
        assert_eq!(error.is_conflict(), code == 409);
        assert_eq!(error.is_transient(), status == 503);
    }
}

#[tokio::test]
async fn a_missing_object_is_none() {
    let router = Router::new().fallback(|| async {
        (StatusCode::NOT_FOUND, Reply::error_json(404, "not found").to_string())
    });
    let client = Connections::default().client(router);
    assert!(client.instance("x").await.unwrap().is_none());
    assert!(client.instance_state("x").await.unwrap().is_none());
    assert!(client.image_by_alias("x").await.unwrap().is_none());
    assert!(client.network("x").await.unwrap().is_none());
}

#[tokio::test]
async fn a_null_list_is_empty_and_a_null_object_is_an_error() {
    let router = Router::new().fallback(|| async { r#"{"type":"sync","metadata":null}"# });
    let client = Connections::default().client(router);
    assert!(client.storage_pools().await.unwrap().is_empty());
    assert!(client.instances(&InstanceFilter::default()).await.unwrap().is_empty());
    assert!(client.images().await.unwrap().is_empty());
    assert!(client.server().await.is_err());
}

#[tokio::test]
async fn a_response_of_another_api_is_an_error() {
    let cases = [
        ("<html>", "GET /1.0: the response is not from the Incus or LXD API"),
        (r#"{"type":"odd"}"#, "GET /1.0: the response is not from the Incus or LXD API"),
        (r#"{"type":"sync","metadata":"text"}"#, "GET /1.0: the response is not a server"),
    ];
    for (body, expected) in cases {
        let router = Router::new().fallback(move || async move { body });
        let error = Connections::default().client(router).server().await.unwrap_err();
        let chain = error_chain(&error);
        assert_eq!(chain[0], expected);
        assert!(chain.len() >= 2, "{chain:?}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn missing_and_broken_responses_are_transient() {
    let router = Router::new().fallback(std::future::pending::<()>);
    let connections = Connections::default();
    let client =
        connections.builder(router.clone()).request_timeout(Duration::from_millis(50)).build();
    let error = client.server().await.unwrap_err();
    assert_eq!(error.to_string(), "GET /1.0: no response within 0.05 s");
    assert!(error.is_transient());

    let client = connections.client(router);
    let asking = tokio::spawn(async move { client.delete_profile("x").await });
    within("a connection", async {
        while connections.count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    connections.cut();
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Send { .. }) && error.is_transient(), "{error:?}");

    connections.refuse(true);
    let error = connections.client(Router::new()).server().await.unwrap_err();
    assert_eq!(error.to_string(), "GET /1.0: cannot connect to in-process");
    assert_eq!(error.hint(), Some("start the Incus or LXD daemon"));
}

#[tokio::test]
async fn a_stale_connection_is_replaced_without_an_error() {
    let router =
        Router::new().fallback(|| async { Json(Reply::sync_json(json!({"auth": "trusted"}))) });
    let connections = Connections::default();
    let client = connections.client(router);
    for _ in 0..5 {
        assert!(client.server().await.unwrap().is_trusted());
        connections.cut();
    }
}

#[tokio::test]
async fn etags_are_returned_and_sent_back() {
    let seen = Arc::new(Mutex::new(None));
    let tag = Arc::clone(&seen);
    let instance = get(|| async { ([("ETag", "abc")], Json(Reply::sync_json(json!({})))) });
    let instance = instance.merge(patch(move |headers: HeaderMap, Json(body): Json<Value>| {
        *tag.lock().unwrap() = Some((headers["If-Match"].to_str().unwrap().to_owned(), body));
        async { Json(Reply::sync_json(Value::Null)) }
    }));
    let router = Router::new().route("/1.0/instances/x", instance);
    let client = Connections::default().client(router);
    let found = client.instance("x").await.unwrap().unwrap();
    let change = json!({"description": "new"});
    client.patch_instance("x", &change, found.etag.as_deref()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), Some(("abc".to_owned(), change)));
}

#[tokio::test]
async fn a_filter_is_sent_only_to_a_server_that_knows_filters() {
    for extensions in [json!([]), json!(["api_filtering"])] {
        let asked = Arc::new(Mutex::new(String::new()));
        let query = Arc::clone(&asked);
        let list = get(move |request: Request| {
            *query.lock().unwrap() = request.uri().query().unwrap_or_default().to_owned();
            let all = json!([
                {"name": "a", "config": {"user.k": "1"}},
                {"name": "b", "config": {"user.k": "2"}},
                {"name": "c", "config": null},
            ]);
            async { Json(Reply::sync_json(all)) }
        });
        let known = extensions.clone();
        let server =
            get(move || async move { Json(Reply::sync_json(json!({"api_extensions": known}))) });
        let router = Router::new().route("/1.0", server).route("/1.0/instances", list);
        let client = Connections::default().client(router);
        let filter = InstanceFilter::new().config("user.k", "2");
        let found = client.instances(&filter).await.unwrap();
        assert_eq!(found.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["b"]);
        let sent = asked.lock().unwrap().contains("filter=config.user.k%20eq%202");
        assert_eq!(sent, extensions != json!([]));
    }
}

/// Incus accepts connections on its unix socket one after the other and waits for the first bytes
/// of each. A pool could open one and send nothing on it, which blocks the whole daemon.
#[tokio::test]
async fn unix_socket_connections_are_not_pooled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unix.socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0, "nothing was said");
            let body = Reply::sync_json(json!({})).to_string();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(stream.read(&mut request).await.unwrap(), 0, "the connection was kept");
        }
    });
    let client = incus_client::Client::unix(&path);
    for _ in 0..2 {
        within("an answer", client.server()).await.unwrap();
    }
    within("the server", served).await.unwrap();
}
