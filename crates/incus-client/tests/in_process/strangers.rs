//! Servers at addresses that somebody named: what is read of them, and what is said of it.

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

/// A server that answers `/1.0` with this, and refuses everything else with a secret.
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
async fn what_a_stranger_says_is_not_repeated_until_it_is_known() {
    let strangers = [
        json!({ "type": "sync", "metadata": { "api_version": "hunter2" } }),
        json!({ "type": "sync", "metadata": { "api_version": ["hunter2"] } }),
        json!({ "type": "hunter2" }),
        json!({ "type": "error", "error": "hunter2", "error_code": 500 }),
        json!("hunter2"),
    ];
    for server in strangers {
        let client = Connections::default().builder(router(server.clone())).stranger(false).build();
        let mut errors = vec![said(&client.delete_instance("web").await.unwrap_err())];
        if let Err(error) = client.server().await {
            errors.push(said(&error));
        }
        errors.push(said(&client.delete_instance("web").await.unwrap_err()));
        assert!(errors.iter().all(|said| !said.contains("hunter2")), "{server}: {errors:?}");
        assert!(errors[0].contains("403") && errors[0].contains("not shown"), "{errors:?}");
    }
}

#[tokio::test]
async fn what_a_server_says_is_repeated_once_it_is_known_and_its_certificate_was_looked_at() {
    let client =
        |anybody| Connections::default().builder(router(incus())).stranger(anybody).build();
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
async fn an_answer_is_bounded_by_its_route_and_its_parts() {
    let answer = |bytes: usize| Reply::sync_json(json!({ "api_version": "x".repeat(bytes) }));
    let long = Connections::default().client(router(answer(300 << 10)));
    let error = said(&long.server().await.unwrap_err());
    assert!(error.contains("longer than 262144 bytes"), "{error}");
    assert!(Connections::default().client(router(answer(200 << 10))).server().await.is_ok());

    let many = format!(r#"{{"type":"sync","metadata":[{}0]}}"#, "0,".repeat(300_000));
    let router = Router::new().fallback(move || async move { many.clone() });
    let error = said(&Connections::default().client(router).operations().await.unwrap_err());
    assert!(error.contains("more parts than are read"), "{error}");

    let huge = vec![b' '; 9 << 20];
    let router = Router::new().fallback(move || async move { huge.clone() });
    let error = said(&Connections::default().client(router).operations().await.unwrap_err());
    assert!(error.contains("longer than 8388608 bytes"), "{error}");
}

#[tokio::test]
async fn long_answers_take_turns_and_all_come() {
    let body = Reply::sync_json(json!([])).to_string();
    let padded = format!("{body}{}", " ".repeat(1 << 20));
    let router = Router::new().fallback(move || async move { padded.clone() });
    let client = Connections::default().client(router);
    let all = (0..20).map(|_| client.certificates());
    let done = futures::future::join_all(all).await;
    assert!(done.iter().all(Result::is_ok));
}
