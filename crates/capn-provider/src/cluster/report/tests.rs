use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::context::Options;

/// Returns a context whose API server answers a patch with this, and the recorded requests.
fn answering(code: u16, answer: &Value) -> (Context, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (observed, answer) = (asked.clone(), answer.to_string());
    let server = tower::service_fn(move |request: http::Request<Body>| {
        let path = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        observed.lock().unwrap().push(format!("{} {path}", request.method()));
        let code = if request.method() == http::Method::PATCH { code } else { 500 };
        let body = Body::from(answer.clone().into_bytes());
        let response = http::Response::builder().status(code).body(body);
        async move { response }
    });
    let client = Client::new(server, "default");
    (Context::new(client, Options::default(), CancellationToken::new()), asked)
}

fn cluster() -> Value {
    json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
        "metadata": { "name": "demo", "namespace": "default", "resourceVersion": "1", "uid": "u" },
        "spec": { "secretRef": { "name": "incus" }, "loadBalancer": { "external": {} } },
    })
}

#[tokio::test]
async fn a_conflicting_status_write_publishes_no_event() {
    let conflict = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": "Conflict", "message": "changed", "code": 409 });
    for (code, answer, expected) in [
        (200, cluster(), vec!["PATCH status", "POST events"]),
        (409, conflict, vec!["PATCH status"]),
    ] {
        let (ctx, asked) = answering(code, &answer);
        let soon = Certificates {
            client: Some(ctx.now() + SignedDuration::from_hours(24)),
            ..Certificates::default()
        };
        let read: LXCCluster = serde_json::from_value(cluster()).unwrap();
        let info = certificates(&ctx, read.clone(), &soon).await;
        assert_eq!(info.is_ok(), code == 200);
        assert_eq!(*asked.lock().unwrap(), expected, "certificates, {code}");

        asked.lock().unwrap().clear();
        failed(&ctx, &read, invalid()).await;
        assert_eq!(*asked.lock().unwrap(), expected, "a failure, {code}");
    }
}

fn invalid() -> Failure {
    Failure::Invalid { message: "no".into() }
}

/// A final failure is retried at the next resync. Until then its condition has to be there.
#[tokio::test]
async fn a_failure_that_could_not_be_reported_is_retried_as_the_report_is() {
    for (code, is_final) in [(200, true), (404, true), (409, false), (503, false)] {
        let answer = match code {
            200 => cluster(),
            _ => json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code }),
        };
        let (ctx, _) = answering(code, &answer);
        let read: LXCCluster = serde_json::from_value(cluster()).unwrap();
        for failure in
            [failed(&ctx, &read, invalid()).await, deletion_failed(&ctx, &read, invalid()).await]
        {
            assert_eq!(failure.class() == Class::Final, is_final, "{code}: {failure:?}");
            assert_eq!(failure.is_conflict(), code == 409);
        }
    }
}
