//! The event stream and its gaps.

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::get;
use futures::StreamExt;
use incus_client::EventItem;
use incus_client::api::EventKind;

use crate::support::{Connections, within};

fn router() -> Router {
    Router::new().route(
        "/1.0/events",
        get(|upgrade: WebSocketUpgrade| async {
            upgrade.on_upgrade(|mut socket| async move {
                let texts = [
                    r#"{"type":"lifecycle","metadata":{"action":"instance-started","source":"/1.0/instances/web?project=lab"},"project":"lab"}"#,
                    "not an event",
                    r#"{"type":"new-kind","metadata":7}"#,
                ];
                for text in texts {
                    socket.send(Message::Text(text.into())).await.ok();
                }
                while socket.recv().await.is_some_and(|m| m.is_ok()) {}
            })
        }),
    )
}

#[tokio::test]
async fn every_gap_is_reported_before_the_next_event() {
    let connections = Connections::default();
    let client = connections.client(router());
    let mut stream = client.events(&[EventKind::Lifecycle]);
    let mut seen = Vec::new();
    for cut in [true, true, false] {
        within("a connection", async {
            loop {
                match stream.next().await.unwrap() {
                    EventItem::Event(event) => {
                        seen.push(event.kind.as_str().to_owned());
                        if event.kind == EventKind::Other("new-kind".into()) {
                            return;
                        }
                        assert_eq!(event.lifecycle().unwrap().instance(), Some("web"));
                    }
                    EventItem::Connected => seen.push("connected".into()),
                    EventItem::Reconnected => seen.push("reconnected".into()),
                    EventItem::Disconnected { attempt, .. } => seen.push(format!("lost {attempt}")),
                }
            }
        })
        .await;
        if cut {
            connections.cut();
        }
    }
    assert_eq!(
        seen,
        [
            "connected",
            "lifecycle",
            "new-kind",
            "lost 1",
            "reconnected",
            "lifecycle",
            "new-kind",
            // Neither connection was long enough to reset the delay.
            "lost 2",
            "reconnected",
            "lifecycle",
            "new-kind",
        ]
    );
}

#[tokio::test]
async fn a_failing_event_stream_is_reported_and_retried() {
    let connections = Connections::default();
    let client = connections.client(Router::new());
    let mut stream = client.events(&[]);
    for expected in 1..=3 {
        match within("a report", stream.next()).await.unwrap() {
            EventItem::Disconnected { attempt, error } => {
                assert_eq!((attempt, error.status()), (expected, Some(404)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_invalid_websocket_upgrade_is_refused() {
    let router = Router::new().route(
        "/1.0/events",
        get(|| async {
            (
                axum::http::StatusCode::SWITCHING_PROTOCOLS,
                [
                    ("Upgrade", "websocket"),
                    ("Connection", "Upgrade"),
                    ("Sec-WebSocket-Accept", "x"),
                ],
            )
        }),
    );
    let client = Connections::default().client(router);
    match within("a report", client.events(&[]).next()).await.unwrap() {
        EventItem::Disconnected { error, .. } => {
            assert!(error.to_string().contains("Sec-WebSocket-Accept"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
