//! Tests with replicas that share a plane.

use std::future::Future;

use kube_plane::{Plane, PlaneOptions};

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

async fn plane() -> Plane {
    Plane::open(PlaneOptions::default()).await.unwrap()
}

fn copy(client: &Client, identity: &str) -> Election {
    let mut options = ElectionOptions::new("default", identity);
    options.lease_duration = Duration::from_secs(2);
    options.renew_deadline = Duration::from_millis(1500);
    options.retry_period = Duration::from_millis(50);
    Election::new(client.clone(), options)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited a minute for {what}"))
}

async fn holder(client: &Client) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(client.clone(), "default");
    let lease = api.get_opt("controller-leader-election-capn").await.unwrap()?;
    lease.spec?.holder_identity
}

#[tokio::test]
async fn a_released_lease_is_acquired_at_once() {
    let plane = plane().await;
    let client = plane.client();
    let (mut first, mut second) = (copy(&client, "first"), copy(&client, "second"));
    within("the first to lead", first.lead()).await;
    assert_eq!(holder(&client).await.as_deref(), Some("first"));
    assert!(timeout(Duration::from_millis(500), second.lead()).await.is_err(), "two leaders");
    first.release().await;
    assert_eq!(holder(&client).await.as_deref(), Some(""));
    within("the second to lead", second.lead()).await;
    assert_eq!(holder(&client).await.as_deref(), Some("second"));
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(client.clone());
    let told = events.list(&kube::api::ListParams::default()).await.unwrap();
    assert!(told.iter().any(|event| event.note.as_deref() == Some("second became leader")));
}

#[tokio::test]
async fn a_dead_leader_is_replaced_when_its_lease_expires() {
    let plane = plane().await;
    let client = plane.client();
    let (mut first, mut second) = (copy(&client, "first"), copy(&client, "second"));
    within("the first to lead", first.lead()).await;
    drop(first);
    let start = Instant::now();
    within("the second to lead", second.lead()).await;
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_leader_renews_and_stops_when_another_takes_over() {
    let plane = plane().await;
    let client = plane.client();
    let mut first = copy(&client, "first");
    within("the first to lead", first.lead()).await;
    // Longer than the lease duration.
    assert!(
        timeout(Duration::from_millis(2500), first.keep()).await.is_err(),
        "it was not renewed"
    );
    let api: Api<Lease> = Api::namespaced(client.clone(), "default");
    // A renewal that was in flight when it was dropped may arrive in between.
    let stolen = async {
        loop {
            let mut lease = api.get("controller-leader-election-capn").await.unwrap();
            lease.spec.as_mut().unwrap().holder_identity = Some("thief".to_owned());
            let params = PostParams::default();
            match api.replace("controller-leader-election-capn", &params, &lease).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                done => break done.unwrap(),
            }
        }
    };
    within("the lease to be stolen", stolen).await;
    let lost = within("the loss to be seen", first.keep()).await;
    assert_eq!(lost.to_string(), "first is no longer the leader: thief is now the leader");
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_before_its_lease_expires() {
    let plane = plane().await;
    let mut first = copy(&plane.client(), "first");
    within("the first to lead", first.lead()).await;
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>(
        )
    });
    first.api = Api::namespaced(Client::new(nobody, "default"), "default");
    let start = Instant::now();
    let lost = within("the leader to give up", first.keep()).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(lost.to_string(), "first is no longer the leader: the API server does not respond");
}
