//! A command whose connection breaks.

use axum::extract::Query;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use incus_client::api::{Operation, Reply, StatusCode};
use incus_client::{Error, ExecRequest};
use serde_json::json;

use crate::support::{Connections, within};

fn operation(status_code: StatusCode, err: &str, code: Option<i32>) -> Operation {
    let fds = json!({"0": "in", "1": "out", "2": "err", "control": "control"});
    let mut metadata = serde_json::Map::from_iter([("fds".to_owned(), fds)]);
    if let Some(code) = code {
        metadata.insert("return".into(), json!(code));
    }
    Operation {
        id: "op".into(),
        description: "Executing command".into(),
        status_code,
        err: err.into(),
        metadata,
        ..Operation::default()
    }
}

/// A server whose command writes `hello`; then stdout ends normally or breaks.
fn router(breaks: bool, ended: Operation) -> Router {
    let socket = move |Query(query): Query<std::collections::HashMap<String, String>>,
                       upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |mut socket| async move {
            match query["secret"].as_str() {
                "out" => {
                    socket.send(Message::Binary("hello".into())).await.ok();
                    if !breaks {
                        socket.send(Message::Text("".into())).await.ok();
                    }
                }
                "err" => drop(socket.send(Message::Text("".into())).await),
                _ => while socket.recv().await.is_some_and(|m| m.is_ok()) {},
            }
        })
    };
    let answer = move || {
        let body = Json(Reply::sync_json(serde_json::to_value(&ended).unwrap()));
        async { body }
    };
    let begin = || async { Json(Reply::async_json(&operation(StatusCode::Running, "", None))) };
    let silent = |upgrade: WebSocketUpgrade| async {
        let response: Response =
            upgrade.on_upgrade(|mut s| async move { while s.recv().await.is_some() {} });
        response
    };
    Router::new()
        .route("/1.0/instances/web/exec", post(begin))
        .route("/1.0/operations/op", get(answer.clone()))
        .route("/1.0/operations/op/wait", get(answer))
        .route("/1.0/operations/op/websocket", get(socket))
        .route("/1.0/events", get(silent))
}

async fn run(breaks: bool, ended: Operation) -> Result<incus_client::ExecOutput, Error> {
    let client = Connections::default().client(router(breaks, ended));
    within("the command", client.exec("web", ExecRequest::new(["hello"]))).await
}

#[tokio::test]
async fn output_and_exit_code_are_returned() {
    let output = run(false, operation(StatusCode::Success, "", Some(4))).await.unwrap();
    assert_eq!((output.exit_code, output.stdout_text().as_ref()), (4, "hello"));
}

#[tokio::test]
async fn truncated_output_is_an_error() {
    let error = run(true, operation(StatusCode::Success, "", Some(0))).await.unwrap_err();
    assert!(matches!(error, Error::ExecStreams { .. }), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_failed_operation_explains_broken_streams() {
    let error = run(true, operation(StatusCode::Failure, "it broke", None)).await.unwrap_err();
    assert_eq!(error.to_string(), "operation op (Executing command) failed: it broke");
}

#[tokio::test]
async fn a_missing_program_is_an_exit_code() {
    let ended = operation(StatusCode::Failure, "Command not found", Some(127));
    let output = run(true, ended).await.unwrap();
    assert_eq!((output.exit_code, output.stderr_text().as_ref()), (127, "Command not found"));
}

#[tokio::test]
async fn no_exit_code_is_an_error() {
    let error = run(false, operation(StatusCode::Success, "", None)).await.unwrap_err();
    assert!(matches!(error, Error::ExecNoExitCode { .. }), "{error:?}");
}
