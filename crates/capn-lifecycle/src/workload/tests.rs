use std::time::Instant;

use capi_api::bootstrap::EncryptionAlgorithm;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::kubeconfig::{Kubeconfig, render};
use crate::pki::{ClientIdentity, PemPair, client_certificate};
use capn_controller::workload::client as connect;

fn kubeconfig(server: &str) -> String {
    let now = Timestamp::now();
    let ca = PemPair::authority(EncryptionAlgorithm::EcdsaP256, None, now).unwrap();
    let identity = ClientIdentity { user: "kubernetes-admin", group: "system:masters" };
    let client = client_certificate(&ca, identity, now, SignedDuration::from_hours(1)).unwrap();
    render(&Kubeconfig { cluster: "demo", server, authority: &ca.certificate, client: &client })
}

#[tokio::test]
async fn a_cluster_that_refuses_connections_is_unreachable() {
    // The port of a closed listener.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let kubeconfig = kubeconfig(&format!("https://{address}"));
    let client = connect(&kubeconfig, Reach::ThisMachine, "a").unwrap();
    let error = answer("ask for the version", Duration::from_secs(5), client.apiserver_version())
        .await
        .unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
}

#[tokio::test]
async fn a_request_to_an_unresponsive_cluster_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kubeconfig = kubeconfig(&format!("https://{address}"));
    let client = connect(&kubeconfig, Reach::ThisMachine, "a").unwrap();
    let start = Instant::now();
    let within = Duration::from_millis(200);
    let error =
        answer("ask for the version", within, client.apiserver_version()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn an_invalid_kubeconfig_is_not_retried() {
    let source = connect("nonsense", Reach::Network, "a").err().unwrap();
    let error = Error::Kubeconfig { secret: "demo-kubeconfig".into(), source };
    assert!(!error.is_unreachable(), "{error:?}");
}
