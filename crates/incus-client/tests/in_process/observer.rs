//! Observations of a client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures::StreamExt;
use incus_client::api::{InstanceSource, InstancesPost};
use incus_client::{ClientBuilder, EventItem, Observation};

use crate::support::{Connections, within};

/// The observations as short texts.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listen(&self, builder: ClientBuilder) -> ClientBuilder {
        let told = self.0.clone();
        builder.observe(move |seen| {
            let text = match seen {
                Observation::Request { method, route, outcome, .. } => {
                    format!("{method} {route} {outcome:?}")
                }
                Observation::OperationAwaited { description } => format!("awaits {description}"),
                Observation::OperationEnded { description, outcome, .. } => {
                    format!("{outcome:?} {description}")
                }
                Observation::EventsConnected { again } => format!("events again={again}"),
                Observation::EventsLost { .. } => "events lost".to_owned(),
                Observation::EventsRefused { .. } => "events refused".to_owned(),
                Observation::EventsLeft => "events left".to_owned(),
                other => format!("{other:?}"),
            };
            told.lock().unwrap().push(text);
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn requests_are_observed_by_route_and_outcome() {
    let list = r#"{"type":"sync","status_code":200,"metadata":[]}"#;
    let router = Router::new()
        .route("/1.0/profiles", get(move || std::future::ready(list)))
        .route("/1.0/instances/{name}", get(|| std::future::ready(StatusCode::NOT_FOUND)))
        .route("/1.0/projects", get(std::future::pending::<StatusCode>));
    let (connections, told) = (Connections::default(), Told::default());
    let builder = connections.builder(router).request_timeout(Duration::from_millis(100));
    let client = told.listen(builder).build().with_project("lab");
    client.profiles().await.unwrap();
    assert!(client.instance("web").await.unwrap().is_none());
    client.projects().await.unwrap_err();
    connections.refuse(true);
    connections.cut();
    client.profiles().await.unwrap_err();
    assert_eq!(
        told.take(),
        [
            "GET /1.0/profiles Status(200)",
            "GET /1.0/instances/{name} Status(404)",
            "GET /1.0/projects TimedOut",
            "GET /1.0/profiles NotConnected",
        ]
    );
}

#[tokio::test]
async fn stream_connects_and_losses_are_observed() {
    let events = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while socket.recv().await.is_some_and(|m| m.is_ok()) {}
        })
    };
    let router = Router::new().route("/1.0/events", get(events));
    let (connections, told) = (Connections::default(), Told::default());
    let client = told.listen(connections.builder(router)).build();
    let mut stream = client.events(&[]);
    assert!(matches!(stream.next().await, Some(EventItem::Connected)));
    connections.cut();
    within("the stream to stand again", async {
        while !matches!(stream.next().await, Some(EventItem::Reconnected)) {}
    })
    .await;
    drop(stream);
    let opened = "GET /1.0/events Status(101)";
    assert_eq!(
        told.take(),
        [opened, "events again=false", "events lost", opened, "events again=true", "events left"]
    );
}

#[tokio::test]
async fn operation_waits_are_observed() {
    let operation = |code: u16| {
        let status = if code == 103 { "Running" } else { "Failure" };
        format!(
            r#"{{"id":"7-7","class":"task","description":"Creating instance","status":"{status}","status_code":{code},"err":"no room"}}"#
        )
    };
    let started = format!(
        r#"{{"type":"async","status_code":100,"operation":"/1.0/operations/7-7","metadata":{}}}"#,
        operation(103)
    );
    let failed = format!(r#"{{"type":"sync","status_code":200,"metadata":{}}}"#, operation(400));
    let router = Router::new()
        .route(
            "/1.0/instances",
            post(move || std::future::ready((StatusCode::ACCEPTED, started.clone()))),
        )
        .route("/1.0/operations/{id}/wait", get(move || std::future::ready(failed.clone())));
    let (connections, told) = (Connections::default(), Told::default());
    let client = told.listen(connections.builder(router)).build();
    let post = InstancesPost {
        name: "web".into(),
        source: InstanceSource::alias("debian"),
        ..InstancesPost::default()
    };
    let operation = client.create_instance(&post, None).await.unwrap();
    operation.wait(Duration::from_secs(20)).await.unwrap_err();
    let about_it = |told: Vec<String>| -> Vec<String> {
        told.into_iter().filter(|text| text.contains("Creating")).collect()
    };
    assert_eq!(about_it(told.take()), ["awaits Creating instance", "Failed Creating instance"]);

    let waiting = operation.wait(Duration::from_secs(20));
    drop(waiting);
    assert!(about_it(told.take()).is_empty(), "a wait that never began");
}
