//! An expiring client certificate: reported in time, not used after it expired, then replaced.

use std::time::{Duration, Instant};

use capn_api::{LXCCluster, LXCMachine};
use capn_provider::Connect;
use incus_client::Client;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::{
    harness::{PROJECT, TestEnv, options, plane},
    objects::CLUSTER,
};

/// A certificate that expires at midnight (UTC) this many days ahead, and its key.
fn certificate(days: i64) -> (String, String) {
    let day = Timestamp::now().to_zoned(TimeZone::UTC).checked_add(days.days()).unwrap().date();
    let mut made = rcgen::CertificateParams::new(vec!["capn".into()]).unwrap();
    let part = |number: i8| u8::try_from(number).unwrap();
    made.not_after = rcgen::date_time_ymd(day.year().into(), part(day.month()), part(day.day()));
    let key = rcgen::KeyPair::generate().unwrap();
    (made.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// The keys of an HTTPS identity.
fn keys(days: i64) -> serde_json::Value {
    let (certificate, key) = certificate(days);
    json!({
        "server": "https://10.0.0.1:8443, https://10.0.0.2:8443", "project": PROJECT,
        "client-crt": certificate, "client-key": key,
    })
}

impl TestEnv {
    /// Waits until the condition about certificates has this reason, and returns its message.
    async fn certificates(&self, reason: &str) -> String {
        let found = |cluster: Option<&LXCCluster>| {
            let conditions = &cluster?.status.as_ref()?.conditions;
            let found = conditions.iter().find(|it| it.type_ == "CertificatesValid")?;
            (found.reason == reason).then(|| found.message.clone())
        };
        self.until::<LXCCluster>(CLUSTER, reason, |cluster| found(cluster).is_some()).await;
        found(self.get::<LXCCluster>(CLUSTER).await.as_ref()).unwrap()
    }

    /// Writes other keys to the identity, and triggers a reconcile of the cluster.
    async fn replace(&self, days: i64) {
        self.patch::<Secret>("demo-incus", json!({ "stringData": keys(days) })).await;
        let note = json!({ "metadata": { "annotations": { "looked-at": days.to_string() } } });
        self.patch::<LXCCluster>(CLUSTER, note).await;
    }

    /// Waits for the event, which is published after the condition was written.
    async fn told_once(&self, reason: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut events = self.events(reason).await;
        while events.is_empty() {
            assert!(Instant::now() < deadline, "no event {reason}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            events = self.events(reason).await;
        }
        assert_eq!(events.len(), 1, "{events:#?}");
    }

    async fn events(&self, reason: &str) -> Vec<Event> {
        let events = Api::<Event>::namespaced(self.kube.clone(), &self.namespace);
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| event.reason.as_deref() == Some(reason));
        events
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiring_certificate_is_reported_once_and_not_used_after_it_expired() {
    let mut env = TestEnv::new(&plane().await, "certificates").await;
    let mut often = options(&env.namespace);
    often.resync = Duration::from_millis(200);
    let connect = env.simulator.connector();
    often.connect =
        Connect::with(move |_| Some(Client::custom_builder("simulator", connect.clone())));
    env.start_with(often);
    env.make_cluster_reached_by(&keys(90)).await;
    assert_eq!(env.certificates("CertificatesValid").await, "");

    env.replace(10).await;
    let message = env.certificates("CertificateExpiresSoon").await;
    assert!(message.contains("Secret certificates/demo-incus expires at"), "{message}");
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until_ready("demo-cp").await;
    // After many resyncs there is still only one event.
    let before = env.probes();
    env.eventually("ten more looks", || env.probes() > before + 10).await;
    let events = env.events("CertificateExpiresSoon").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert!(events[0].series.is_none(), "{events:#?}");

    env.replace(-1).await;
    let message = env.certificates("CertificateExpired").await;
    assert!(message.contains("; run `capn identity create NEW-NAME`"), "{message}");
    env.told_once("CertificateExpired").await;
    env.until::<LXCMachine>("demo-cp", "to say that the certificate ended", |machine| {
        let conditions = machine.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
        conditions.into_iter().flatten().any(|it| {
            it.reason == "IdentityUnavailable" && it.message.contains("demo-incus expired at")
        })
    })
    .await;

    env.replace(365).await;
    env.certificates("CertificatesValid").await;
    env.until_ready("demo-cp").await;
}
