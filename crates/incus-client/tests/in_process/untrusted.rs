//! Servers at untrusted addresses: limits on what is read and shown.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use incus_client::api::Reply;
use incus_client::{Client, Error};
use serde_json::{Value, json};

use crate::support::Connections;

fn said(error: &Error) -> String {
    let links = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    links.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A server that returns `server` for `/1.0`, and an error with a secret for everything else.
fn router(server: Value) -> Router {
    Router::new().route("/1.0", get(move || async move { server.to_string() })).fallback(|| async {
        (StatusCode::FORBIDDEN, Reply::error_json(403, "hunter2").to_string())
    })
}

fn incus() -> Value {
    Reply::sync_json(json!({
        "api_version": "1.0", "auth": "trusted", "api_extensions": ["projects"],
        "environment": { "server": "incus" },
    }))
}

#[tokio::test]
async fn messages_of_an_untrusted_server_are_redacted() {
    let servers = [
        json!({ "type": "sync", "metadata": { "api_version": "hunter2" } }),
        json!({ "type": "sync", "metadata": { "api_version": ["hunter2"] } }),
        json!({ "type": "hunter2" }),
        json!({ "type": "error", "error": "hunter2", "error_code": 500 }),
        json!("hunter2"),
    ];
    for server in servers {
        let client =
            Connections::default().builder(router(server.clone())).untrusted(false).build();
        let mut errors = vec![said(&client.delete_instance("web").await.unwrap_err())];
        if let Err(error) = client.server().await {
            errors.push(said(&error));
        }
        errors.push(said(&client.delete_instance("web").await.unwrap_err()));
        assert!(errors.iter().all(|said| !said.contains("hunter2")), "{server}: {errors:?}");
        assert!(errors[0].contains("403") && errors[0].contains("is hidden"), "{errors:?}");
    }
}

#[tokio::test]
async fn messages_of_a_verified_server_are_shown() {
    let client =
        |anybody| Connections::default().builder(router(incus())).untrusted(anybody).build();
    let refused = async |client: &Client| said(&client.delete_instance("web").await.unwrap_err());
    let pinned = client(false);
    assert!(!refused(&pinned).await.contains("hunter2"));
    pinned.server().await.unwrap();
    assert!(refused(&pinned).await.contains("hunter2"));
    let anybody = client(true);
    anybody.server().await.unwrap();
    assert!(!refused(&anybody).await.contains("hunter2"));
}

#[tokio::test]
async fn responses_are_limited_by_size_and_value_count() {
    let answer = |bytes: usize| Reply::sync_json(json!({ "api_version": "x".repeat(bytes) }));
    let long = Connections::default().client(router(answer(300 << 10)));
    let error = said(&long.server().await.unwrap_err());
    assert!(error.contains("longer than 262144 bytes"), "{error}");
    assert!(Connections::default().client(router(answer(200 << 10))).server().await.is_ok());

    let of = |values: usize| {
        let many = format!(r#"{{"type":"sync","metadata":[{}0]}}"#, "0,".repeat(values));
        let router = Router::new().fallback(move || async move { many.clone() });
        Connections::default().client(router)
    };
    let error = said(&of(1_100_000).operations().await.unwrap_err());
    assert!(error.contains("too many values"), "{error}");
    let error = said(&of(900_000).operations().await.unwrap_err());
    assert!(error.contains("not a list of operations"), "{error}");
    let error = said(&of(110_000).profile("default").await.unwrap_err());
    assert!(error.contains("too many values"), "{error}");

    let huge = vec![b' '; 9 << 20];
    let router = Router::new().fallback(move || async move { huge.clone() });
    let error = said(&Connections::default().client(router).operations().await.unwrap_err());
    assert!(error.contains("longer than 8388608 bytes"), "{error}");
}

#[tokio::test]
async fn large_responses_are_queued_and_complete() {
    let body = Reply::sync_json(json!([])).to_string();
    let padded = format!("{body}{}", " ".repeat(1 << 20));
    let router = Router::new().fallback(move || async move { padded.clone() });
    let client = Connections::default().client(router);
    let all = (0..20).map(|_| client.certificates());
    let done = futures::future::join_all(all).await;
    assert!(done.iter().all(Result::is_ok));
}
