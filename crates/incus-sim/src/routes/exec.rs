//! Commands over WebSockets.

use axum::extract::State;
use std::collections::HashMap;

use axum::Json;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use incus_api::{ExecPost, Operation, OperationClass, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use super::{Path, Query, Sim};
use crate::api_error::{ApiError, ApiResult, started};
use crate::exec::{ExecCall, ExecResult, Session};
use crate::server_state::Simulator;

pub(crate) async fn start(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(request): Json<ExecPost>,
) -> ApiResult {
    let (project, instance) = query.key(&path);
    {
        let state = simulator.lock();
        let machine = state.instances.get(&(project.clone(), instance.clone()));
        let machine = machine.ok_or_else(|| ApiError::not_found("Instance"))?;
        if !machine.instance.is_running() {
            return Err(ApiError::bad("Instance is not running"));
        }
    }
    let secret = || uuid::Uuid::new_v4().simple().to_string();
    let fds: HashMap<&str, String> =
        ["0", "1", "2", "control"].into_iter().map(|fd| (fd, secret())).collect();
    let streams = request.wait_for_websocket;
    let mut operation = Operation {
        id: uuid::Uuid::new_v4().to_string(),
        class: if streams { OperationClass::Websocket } else { OperationClass::Task },
        description: "Executing command".into(),
        status: "Running".into(),
        status_code: StatusCode::Running,
        ..Operation::default()
    };
    if streams {
        operation.metadata.insert("fds".into(), json!(fds));
    }
    operation.metadata.insert("project".into(), project.clone().into());
    let session = Session {
        call: ExecCall { project: project.clone(), instance, request, stdin: Bytes::new() },
        secrets: fds.into_iter().map(|(fd, secret)| (secret, fd.to_owned())).collect(),
        result: watch::Sender::new(None),
    };
    let mut state = simulator.lock();
    state.operations.insert(operation.id.clone(), operation.clone());
    state.sessions.insert(operation.id.clone(), session);
    drop(state);
    simulator.publish_operation(&operation, &project);
    if !streams {
        // The response comes before the end, as for a background task of a real server.
        let id = operation.id.clone();
        tokio::spawn(async move { simulator.run(&id, Bytes::new()) });
    }
    Ok(started(&operation))
}

pub(crate) async fn websocket(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let id = path.0;
    let (fd, result) = {
        let state = simulator.lock();
        let session = state.sessions.get(&id).ok_or_else(|| ApiError::not_found("Operation"))?;
        let fd = session.secrets.get(&query.secret).cloned();
        (fd.ok_or_else(|| ApiError::bad("Bad secret"))?, session.result.subscribe())
    };
    Ok(upgrade.on_upgrade(async move |mut socket| match fd.as_str() {
        "0" => {
            if let Some(stdin) = read_all(&mut socket).await {
                simulator.run(&id, stdin);
            }
        }
        "1" => write_all(&mut socket, result, |result| result.stdout).await,
        "2" => write_all(&mut socket, result, |result| result.stderr).await,
        _ => {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Close(_)) {
                    return;
                }
            }
        }
    }))
}

/// Reads until the empty text message at the end; `None` when the connection breaks before.
async fn read_all(socket: &mut WebSocket) -> Option<Bytes> {
    let mut all = BytesMut::new();
    loop {
        match socket.recv().await?.ok()? {
            Message::Binary(bytes) => all.extend_from_slice(&bytes),
            Message::Text(_) => return Some(all.freeze()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn write_all(
    socket: &mut WebSocket,
    mut result: watch::Receiver<Option<ExecResult>>,
    pick: fn(ExecResult) -> Bytes,
) {
    let Ok(done) = result.wait_for(Option::is_some).await.map(|r| r.clone()) else { return };
    let bytes = done.map(pick).unwrap_or_default();
    if !bytes.is_empty() && socket.send(Message::Binary(bytes)).await.is_err() {
        return;
    }
    // A disconnected reader needs no end message.
    drop(socket.send(Message::Text("".into())).await);
}

impl Simulator {
    fn run(&self, id: &str, stdin: Bytes) {
        let Some(mut session) = self.lock().sessions.remove(id) else { return };
        session.call.stdin = stdin;
        let runner = self.lock().runner.clone();
        // Not under the lock: the function of the test may use the simulator.
        let result = runner(&session.call);
        let operation = {
            let mut state = self.lock();
            let Some(operation) = state.operations.get_mut(id) else { return };
            operation.metadata.insert("return".into(), result.exit_code.into());
            operation.status_code = StatusCode::Success;
            operation.status = "Success".into();
            operation.clone()
        };
        session.result.send_replace(Some(result));
        self.publish_operation(&operation, &session.call.project);
    }
}
