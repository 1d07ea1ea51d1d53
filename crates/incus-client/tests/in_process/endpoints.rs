//! Failover between several addresses of one server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::StreamExt;
use incus_client::{Client, Error, EventItem, HttpsRemote, Observation};

use crate::support::{Connections, within};

fn member() -> Router {
    let body = r#"{"type":"sync","status_code":200,"metadata":[]}"#;
    Router::new()
        .route("/1.0/projects", get(move || std::future::ready(body)))
        .route("/1.0/profiles", get(|| std::future::ready(StatusCode::SERVICE_UNAVAILABLE)))
        .route(
            "/1.0/events",
            get(|upgrade: axum::extract::ws::WebSocketUpgrade| async {
                upgrade.on_upgrade(|mut socket| async move {
                    while socket.recv().await.is_some_and(|m| m.is_ok()) {}
                })
            }),
        )
}

struct Cluster {
    members: [Connections; 2],
    client: Client,
    /// Endpoints that failed.
    left: Arc<Mutex<Vec<String>>>,
}

fn cluster() -> Cluster {
    let members = [Connections::default(), Connections::default()];
    let left: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = left.clone();
    let client = members[0]
        .builder_named("one", member())
        .or(members[1].builder_named("two", member()))
        .observe(move |seen| {
            if let Observation::EndpointFailed { endpoint, .. } = seen {
                told.lock().unwrap().push((*endpoint).to_owned());
            }
        })
        .build();
    Cluster { members, client, left }
}

impl Cluster {
    /// Number of connections of each member since its last cut.
    fn counts(&self) -> [usize; 2] {
        [self.members[0].count(), self.members[1].count()]
    }

    /// Stops a member: its connections break and new ones are refused.
    fn kill(&self, member: usize) {
        self.members[member].refuse(true);
        self.members[member].cut();
    }
}

#[tokio::test]
async fn failover_uses_the_next_address_and_stays_there() {
    let cluster = cluster();
    assert_eq!(cluster.client.endpoint(), "one, two");
    cluster.client.projects().await.unwrap();
    assert_eq!(cluster.counts(), [1, 0]);

    cluster.kill(0);
    cluster.client.projects().await.unwrap();
    assert_eq!(cluster.counts(), [0, 1]);
    assert_eq!(*cluster.left.lock().unwrap(), ["one"]);

    // The first one is back, but is not used while the second one works.
    cluster.members[0].refuse(false);
    cluster.members[1].cut();
    cluster.client.projects().await.unwrap();
    assert_eq!(cluster.counts(), [0, 1]);

    cluster.kill(1);
    cluster.client.projects().await.unwrap();
    assert_eq!(cluster.counts(), [1, 0]);
    assert_eq!(*cluster.left.lock().unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let cluster = cluster();
    for _ in 0..2 {
        let error = cluster.client.profiles().await.unwrap_err();
        assert_eq!(error.status(), Some(503), "{error}");
        assert_eq!(cluster.counts(), [1, 0]);
        cluster.members[0].cut();
    }
    assert!(cluster.left.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_event_stream_fails_over_to_another_address() {
    let cluster = cluster();
    let mut events = cluster.client.events(&[]);
    assert!(matches!(events.next().await, Some(EventItem::Connected)));
    cluster.kill(0);
    let again = within("the stream to stand again", async {
        while let Some(item) = events.next().await {
            if matches!(item, EventItem::Reconnected) {
                return;
            }
        }
    });
    again.await;
    assert_eq!(cluster.counts(), [0, 1]);
}

#[tokio::test]
async fn each_address_that_does_not_connect_is_named() {
    let cluster = cluster();
    cluster.kill(0);
    cluster.kill(1);
    let error = cluster.client.projects().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains(
        "cannot connect to any endpoint: one: connection refused; two: connection refused"
    ));
    assert!(error.hint().is_some(), "what refuses is not started");
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_address_times_out_after_three_seconds() {
    let silent = Client::custom_builder("silent", || {
        std::future::pending::<std::io::Result<tokio::io::DuplexStream>>()
    });
    let connections = Connections::default();
    let client = silent.or(connections.builder(member())).build();
    let begin = tokio::time::Instant::now();
    client.projects().await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), Duration::from_secs(3).as_secs());
}

#[tokio::test]
async fn an_address_that_is_not_permitted_is_not_connected_to() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let remote = |host: &str| HttpsRemote {
        url: format!("https://{host}:{port}"),
        insecure_skip_verify: true,
        ..HttpsRemote::default()
    };
    for host in ["127.0.0.1", "localhost"] {
        let within =
            |host| Client::https_builder_within(&remote(host), |ip| !ip.is_loopback()).unwrap();
        let alone = within(host).build();
        let several = within(host).or(within("127.0.0.1")).build();
        for client in [alone, several] {
            let error = client.server().await.unwrap_err();
            assert!(error.not_permitted(), "{error:?}");
        }
    }
    let connected = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept());
    assert!(connected.await.is_err(), "somebody connected");
}
