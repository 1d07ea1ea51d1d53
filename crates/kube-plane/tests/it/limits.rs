//! Limits of clients over HTTPS, over real sockets with small limits.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use k8s_openapi::api::{core::v1::ConfigMap, rbac::v1::ClusterRoleBinding};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use kube_plane::{Limits, Pki, Plane, PlaneOptions};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::failure;

/// Deadline of all waits; the results are immediate or never come.
const DEADLINE: Duration = Duration::from_secs(30);

/// A served plane. Jane has all permissions for config maps.
struct Served {
    plane: Plane,
    pki: Pki,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = PlaneOptions { limits, ..PlaneOptions::default() };
        let plane = Plane::open(options).await.unwrap();
        let pki = Pki::open(dir.path(), &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, tls) = (plane.clone(), pki.server_tls().unwrap());
        tokio::spawn(async move {
            serving.serve_https(listener, &tls, std::future::pending()).await.unwrap();
        });
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": "jane"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "cluster-admin"},
            "subjects": [{"kind": "User", "name": "jane"}],
        }))
        .unwrap();
        let bindings = Api::<ClusterRoleBinding>::all(plane.client());
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        Self { plane, pki, address, _dir: dir }
    }

    async fn client(&self, kubeconfig: &str) -> Client {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        // Clients retry after 429; this test must see it.
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    async fn admin(&self) -> Client {
        self.client(&self.pki.kubeconfig("plane", &self.url())).await
    }

    async fn user(&self, name: &str) -> Client {
        let certificate = self.pki.client(name, &[]).unwrap();
        self.client(&self.pki.kubeconfig_for(&certificate, "plane", &self.url())).await
    }

    /// A TLS connection of the user, or without a certificate.
    async fn connect(&self, user: Option<&str>) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.pki.ca_certificate_pem().as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match user {
            None => config.with_no_client_auth(),
            Some(user) => {
                let client = self.pki.client(user, &[]).unwrap();
                let certificate = client.certificate_pem().as_bytes();
                let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(client.key_pem().as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

/// The beginning of the response; empty if the connection was closed.
async fn send(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    read(stream).await
}

async fn read(stream: &mut TlsStream<TcpStream>) -> String {
    let mut buffer = vec![0; 1 << 16];
    let read = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("an answer");
    String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned()
}

fn map(name: &str, size: usize) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"x": "x".repeat(size)}}))
        .unwrap()
}

#[tokio::test]
async fn idle_connections_do_not_block_operators() {
    let mut limits = Limits::default();
    limits.connections.unauthenticated = 20;
    limits.connections.unauthenticated_per_address = 20;
    limits.connections.authenticated_per_user = 5;
    let served = Served::new(limits).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let (mut unauthenticated, mut jane) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        unauthenticated.push(served.connect(None).await);
        jane.push(served.connect(Some("jane")).await);
    }
    served.admin().await.apiserver_version().await.unwrap();
    let mut unauthenticated = served.connect(None).await;
    let answer = send(&mut unauthenticated, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let get = "GET /api/v1/namespaces HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(send(&mut jane[0], get).await.starts_with("HTTP/1.1 200"));
    let mut more = served.connect(Some("jane")).await;
    let answer = send(&mut more, get).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn bodies_of_unauthorized_requests_are_not_read() {
    let served = Served::new(Limits::default()).await;
    let long = "Host: h\r\nContent-Type: application/json\r\nContent-Length: 1000000";
    for (user, line, code) in [
        (None, "GET /healthz", 200),
        (None, "POST /healthz", 403),
        (None, "POST /api/v1/namespaces", 401),
        (Some("joe"), "POST /api/v1/namespaces", 403),
        (Some("jane"), "GET /api/v1/namespaces", 200),
    ] {
        let mut stream = served.connect(user).await;
        let answer = send(&mut stream, &format!("{line} HTTP/1.1\r\n{long}\r\n\r\n{{")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{line} of {user:?}: {answer}");
    }
    // An authorized request is rejected at once for its length.
    let long = long.replace("1000000", "100000000");
    let mut stream = served.connect(Some("jane")).await;
    let line = "POST /api/v1/namespaces";
    let answer = send(&mut stream, &format!("{line} HTTP/1.1\r\n{long}\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_stalled_body_times_out_and_uses_one_slot() {
    let mut limits = Limits::default();
    limits.requests_per_user = 1;
    limits.body = Duration::from_secs(1);
    let served = Served::new(limits).await;
    let post = "POST /api/v1/namespaces HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{";
    let mut half = served.connect(Some("jane")).await;
    half.write_all(post.as_bytes()).await.unwrap();
    let (mut other, mut tries) = (served.connect(Some("jane")).await, 0);
    let refused = loop {
        // Until the previous request has arrived.
        let answer = send(&mut other, "GET /api HTTP/1.1\r\nHost: h\r\n\r\n").await;
        tries += 1;
        if !answer.starts_with("HTTP/1.1 200") || tries == 10_000 {
            break answer;
        }
    };
    assert!(
        refused.starts_with("HTTP/1.1 429") && refused.contains("TooManyRequests"),
        "{refused}"
    );
    served.admin().await.apiserver_version().await.unwrap();
    let answer = read(&mut half).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn watches_are_limited_per_user() {
    let mut limits = Limits::default();
    limits.watches_per_user = 2;
    let served = Served::new(limits).await;
    let watch = |client: Client| async move {
        // The largest length, more than the actual body.
        let path = format!("/api/v1/configmaps?watch=1&timeoutSeconds={}", i64::MAX);
        client
            .request_events::<serde_json::Value>(Request::get(path).body(Vec::new()).unwrap())
            .await
    };
    let jane = served.user("jane").await;
    let first = watch(jane.clone()).await.unwrap();
    let _second = watch(jane.clone()).await.unwrap();
    let (code, reason, _) = failure(watch(jane.clone()).await.map(drop));
    assert_eq!((code, reason.as_str()), (429, "TooManyRequests"));
    let _other = watch(served.admin().await).await.unwrap();
    // Other requests are not watches.
    Api::<ConfigMap>::all(jane.clone()).list(&ListParams::default()).await.unwrap();
    drop(first);
    crate::support::eventually("the watch is given back", async || {
        watch(jane.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn large_lists_are_queued_and_complete() {
    let mut limits = Limits::default();
    limits.bytes_per_user = 256 << 10;
    let served = Served::new(limits).await;
    let api = Api::<ConfigMap>::default_namespaced(served.plane.client());
    for n in 0..10 {
        api.create(&PostParams::default(), &map(&format!("m{n}"), 100 << 10)).await.unwrap();
    }
    let api = Api::<ConfigMap>::default_namespaced(served.user("jane").await);
    let params = ListParams::default();
    let lists = std::iter::repeat_with(|| api.list(&params)).take(10);
    for list in futures::future::join_all(lists).await {
        let list = list.unwrap();
        assert_eq!(list.items.len(), 10);
        assert!(list.iter().all(|map| map.data.as_ref().unwrap()["x"].len() == 100 << 10));
    }
}
