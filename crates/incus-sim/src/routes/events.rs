//! The event stream.

use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;

use super::{Query, Sim};

pub(crate) async fn get(
    State(simulator): Sim,
    query: Query,
    upgrade: WebSocketUpgrade,
) -> Response {
    // Subscribe before the response, so that no event is missed once the client sees the stream.
    let mut events = simulator.subscribe();
    let project = query.project();
    let all = query.all_projects == "true";
    let kinds: Vec<String> =
        query.kinds.split(',').filter(|k| !k.is_empty()).map(str::to_owned).collect();
    upgrade.on_upgrade(async move |mut socket| {
        loop {
            tokio::select! {
                event = events.recv() => {
                    // A reader that falls behind is dropped, as by the real server.
                    let Ok(event) = event else { return };
                    let wanted = (all || event.project == project)
                        && (kinds.is_empty() || kinds.iter().any(|k| k == event.kind.as_str()));
                    if !wanted {
                        continue;
                    }
                    let text = crate::api_error::json(&*event).to_string();
                    if socket.send(Message::Text(text.into())).await.is_err() {
                        return;
                    }
                }
                message = socket.recv() => {
                    if !matches!(message, Some(Ok(message)) if !matches!(message, Message::Close(_))) {
                        return;
                    }
                }
            }
        }
    })
}
