//! Waiting for operations over working and broken connections.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use incus_client::api::{
    Event, EventKind, InstanceAction, Operation as Snapshot, Reply, StatusCode,
};
use incus_client::{Client, Error, Operation};
use tokio::sync::broadcast;

use crate::support::{Connections, within};

/// A server with one operation, initially `op`, controlled by the test.
#[derive(Clone)]
struct Server {
    operations: Arc<Mutex<HashMap<String, Snapshot>>>,
    events: broadcast::Sender<String>,
    /// Number of opened event streams.
    streams: tokio::sync::watch::Sender<u32>,
    /// Number of plain requests for the operation, and of `/wait` requests.
    asked: Arc<Mutex<(u32, u32)>>,
    no_events: bool,
}

impl Server {
    fn new() -> Self {
        let server = Self {
            operations: Arc::default(),
            events: broadcast::Sender::new(16),
            streams: tokio::sync::watch::Sender::new(0),
            asked: Arc::default(),
            no_events: false,
        };
        server.run("op");
        server
    }

    /// Starts another operation.
    fn run(&self, id: &str) {
        let running = Snapshot {
            id: id.into(),
            description: "Starting instance".into(),
            status_code: StatusCode::Running,
            ..Snapshot::default()
        };
        *self.operations.lock().unwrap() = HashMap::from([(id.to_owned(), running)]);
    }

    fn operation(&self) -> Snapshot {
        self.operations.lock().unwrap().values().next().unwrap().clone()
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/1.0/instances/web/state", put(start))
            .route("/1.0/operations", get(list))
            .route("/1.0/operations/{id}", get(one))
            .route("/1.0/operations/{id}/wait", get(wait))
            .route("/1.0/events", get(events))
            .with_state(self.clone())
    }

    fn end(&self, status: StatusCode, err: &str) {
        let mut operations = self.operations.lock().unwrap();
        let operation = operations.values_mut().next().unwrap();
        operation.status_code = status;
        operation.err = err.to_owned();
    }

    fn forget(&self) {
        self.operations.lock().unwrap().clear();
    }

    fn tell(&self) {
        let operation = self.operation();
        let event = Event {
            kind: EventKind::Operation,
            metadata: serde_json::to_value(operation).unwrap(),
            ..Event::default()
        };
        self.events.send(serde_json::to_string(&event).unwrap()).unwrap();
    }

    async fn streams(&self, count: u32) {
        let mut streams = self.streams.subscribe();
        within("an event stream", streams.wait_for(|n| *n >= count)).await.unwrap();
    }
}

async fn start(State(server): State<Server>) -> Json<serde_json::Value> {
    Json(Reply::async_json(&server.operation()))
}

async fn list(State(server): State<Server>) -> Json<serde_json::Value> {
    let mut operation = server.operation();
    operation.resources.insert("containers".into(), vec!["/1.0/containers/web?project=a".into()]);
    let ended = Snapshot { status_code: StatusCode::Success, ..operation.clone() };
    Json(Reply::sync_json(serde_json::json!({
        "running": [operation], "success": [ended], "pending": null,
    })))
}

fn not_found() -> Response {
    let body = Json(Reply::error_json(404, "Operation not found"));
    (axum::http::StatusCode::NOT_FOUND, body).into_response()
}

async fn one(State(server): State<Server>, Path(id): Path<String>) -> Response {
    server.asked.lock().unwrap().0 += 1;
    match server.operations.lock().unwrap().get(&id) {
        Some(op) => Json(Reply::sync_json(serde_json::to_value(op).unwrap())).into_response(),
        None => not_found(),
    }
}

async fn wait(State(server): State<Server>, Path(id): Path<String>) -> Response {
    server.asked.lock().unwrap().1 += 1;
    for _ in 0..1000 {
        match server.operations.lock().unwrap().get(&id) {
            None => return not_found(),
            // As in Incus: the operation's failure looks like a failure of this request, with
            // status 200.
            Some(op) if !op.err.is_empty() => {
                return Json(Reply::error_json(500, &op.err)).into_response();
            }
            Some(op) if op.status_code.is_final() => {
                return Json(Reply::sync_json(serde_json::to_value(op).unwrap())).into_response();
            }
            Some(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    not_found()
}

async fn events(State(server): State<Server>, upgrade: WebSocketUpgrade) -> Response {
    if server.no_events {
        let body = Json(Reply::error_json(403, "not authorized"));
        return (axum::http::StatusCode::FORBIDDEN, body).into_response();
    }
    upgrade.on_upgrade(move |mut socket| async move {
        let mut events = server.events.subscribe();
        server.streams.send_modify(|n| *n += 1);
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Ok(event) = event else { return };
                    if socket.send(Message::Text(event.into())).await.is_err() { return }
                }
                // Ends when the connection is cut.
                message = socket.recv() => if message.is_none_or(|m| m.is_err()) { return },
            }
        }
    })
}

async fn started(client: &Client) -> Operation {
    client.set_state("web", InstanceAction::Start, false, None).await.unwrap()
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_event_ends_the_wait() {
    let server = Server::new();
    let client = Connections::default().client(server.router());
    let operation = started(&client).await;
    let waiting = tokio::spawn(async move { operation.wait(LONG).await });
    server.streams(1).await;
    server.end(StatusCode::Success, "");
    server.tell();
    let ended = within("the end", waiting).await.unwrap().unwrap();
    assert_eq!(ended.status_code, StatusCode::Success);
}

/// A server adds a listener only after its response: a stream without any event yet may miss the
/// end.
#[tokio::test]
async fn operations_are_polled_only_until_events_arrive() {
    let server = Server::new();
    let connections = Connections::default();
    let client = connections.client(server.router());
    let asked = || server.asked.lock().unwrap().0;
    let ends = async |operation: Operation| {
        let before = asked();
        let mut waiting = pin!(operation.wait(LONG));
        // Wait before the end is sent, since a received end is remembered.
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        server.end(StatusCode::Success, "");
        server.tell();
        within("the end", waiting).await.unwrap();
        asked() - before
    };
    let first = started(&client).await;
    server.streams(1).await;
    assert_eq!(ends(first).await, 1, "nothing came over the stream yet");
    for id in ["op-2", "op-3"] {
        server.run(id);
        let next = started(&client).await;
        assert_eq!(ends(next).await, 0, "the stream tells of all of it");
    }

    server.run("op-4");
    let missed = started(&client).await;
    connections.cut();
    server.streams(2).await;
    server.end(StatusCode::Success, "");
    within("the end", missed.wait(LONG)).await.unwrap();
    assert_eq!(asked(), 2, "the connection with the event broke");
}

#[tokio::test]
async fn a_failure_names_the_operation_and_the_servers_text() {
    let server = Server::new();
    let client = Connections::default().client(server.router());
    let operation = started(&client).await;
    server.end(StatusCode::Failure, "No space left on device");
    let error = operation.wait(LONG).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "operation op (Starting instance) failed: No space left on device"
    );
    assert!(!error.is_transient());
    assert!(error.hint().unwrap().contains("free space"));
}

#[tokio::test]
async fn a_result_during_an_event_gap_is_recovered() {
    let server = Server::new();
    let connections = Connections::default();
    let client = connections.client(server.router());
    let operation = started(&client).await;
    let waiting = tokio::spawn(async move { operation.wait(LONG).await });
    server.streams(1).await;
    connections.refuse(true);
    connections.cut();
    server.end(StatusCode::Success, "");
    connections.refuse(false);
    within("the end", waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_cuts_delay_a_wait_but_do_not_end_it() {
    let server = Server::new();
    let connections = Connections::default();
    let client = connections.client(server.router());
    let operation = started(&client).await;
    let waiting = tokio::spawn(async move { operation.wait(LONG).await });
    for n in 1..=4 {
        server.streams(n).await;
        connections.cut();
    }
    server.streams(5).await;
    server.end(StatusCode::Success, "");
    server.tell();
    within("the end", waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_operation_unknown_to_the_server_is_lost() {
    let server = Server::new();
    let connections = Connections::default();
    let client = connections.client(server.router());
    let operation = started(&client).await;
    let waiting = tokio::spawn(async move { operation.wait(LONG).await });
    server.streams(1).await;
    server.forget();
    connections.cut();
    let error = within("the end", waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::OperationLost { .. }), "{error:?}");
    assert!(error.is_transient(), "the resource must be read again");
}

#[tokio::test]
async fn a_seen_result_is_kept_after_the_server_forgets_it() {
    let server = Server::new();
    let client = Connections::default().client(server.router());
    let operation = started(&client).await;
    let late = operation.clone();
    let waiting = tokio::spawn(async move { operation.wait(LONG).await });
    server.streams(1).await;
    server.end(StatusCode::Success, "");
    server.tell();
    waiting.await.unwrap().unwrap();
    server.forget();
    late.wait(LONG).await.unwrap();
}

#[tokio::test]
async fn without_an_event_stream_the_servers_wait_is_used() {
    for (status, err) in [(StatusCode::Success, ""), (StatusCode::Failure, "broken")] {
        let server = Server { no_events: true, ..Server::new() };
        let client = Connections::default().client(server.router());
        let operation = started(&client).await;
        let waiting = tokio::spawn(async move { operation.wait(LONG).await });
        within("a long poll", async {
            while server.asked.lock().unwrap().1 == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        server.end(status, err);
        let result = within("the end", waiting).await.unwrap();
        match result {
            Ok(_) => assert_eq!(status, StatusCode::Success),
            Err(Error::OperationFailed { message, .. }) => assert_eq!(message, err),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_deadline_ends_the_wait_but_not_the_operation() {
    let server = Server::new();
    let client = Connections::default().client(server.router());
    let operation = started(&client).await;
    let error = operation.wait(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.to_string(), "operation op (Starting instance) did not finish within 0.05 s");
    server.end(StatusCode::Success, "");
    operation.wait(LONG).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_server_is_retried_until_the_deadline() {
    let server = Server::new();
    let connections = Connections::default();
    let client = connections.client(server.router());
    let operation = started(&client).await;
    connections.refuse(true);
    connections.cut();
    let error = operation.wait(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, Error::OperationDeadline { .. }), "{error:?}");
}

#[tokio::test]
async fn running_operations_are_found_by_their_resource() {
    let client = Connections::default().client(Server::new().router());
    assert_eq!(client.operations().await.unwrap().len(), 2);
    let found = client.operations_for("/1.0/instances/web").await.unwrap();
    assert_eq!(found.len(), 1, "the ended one is left out, the old spelling understood");
    assert!(client.operations_for("/1.0/instances/we").await.unwrap().is_empty());
}
