//! A connection to one member, through the API server, and one request over it.

use std::sync::Arc;

use bytes::Bytes;
use capn_text::shown;
use http::{Method, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::forward::Forwarder;
use super::Error;
use crate::pki::{ClientIdentity, PemPair, client_certificate};

/// Where a member listens for clients.
const PORT: u16 = 2379;
const NAMESPACE: &str = "kube-system";
/// Every member's certificate is for this name too: kubeadm sees to it.
const NAME: &str = "localhost";
/// etcd looks at nothing but the authority.
const CLIENT: ClientIdentity<'static> = ClientIdentity { user: "capn", group: "capn" };
/// Longest answer, in bytes. A list of members has some thousand, and each byte may become many in memory.
const LONGEST_ANSWER: usize = 64 << 10;
/// The certificate is for one connection.
const VALID: SignedDuration = SignedDuration::from_hours(1);

/// A connection to a member, as long as the forwarder lives.
pub(super) struct Connected {
    pub(super) stream: TlsStream<Box<dyn Duplex>>,
    /// Keeps the connection.
    pub(super) forwarder: Forwarder,
    pub(super) pod: String,
}

/// What a port-forward gives.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Connects to the member on a node.
pub(super) async fn connect(
    client: &Client,
    authority: &PemPair,
    node: &str,
) -> Result<Connected, Error> {
    let pod = format!("etcd-{node}");
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut forwarder = pods
        .portforward(&pod, &[PORT])
        .await
        .map(Forwarder)
        .map_err(|source| Error::Forward { pod: pod.clone(), source: Box::new(source) })?;
    let broken = |source| Error::Connection { pod: pod.clone(), source };
    let stream = forwarder
        .0
        .take_stream(PORT)
        .ok_or_else(|| broken(std::io::ErrorKind::NotConnected.into()))?;
    let name = ServerName::try_from(NAME).map_err(|error| broken(std::io::Error::other(error)))?;
    let stream = TlsConnector::from(Arc::new(tls(authority)?))
        .connect(name, Box::new(stream) as Box<dyn Duplex>)
        .await
        .map_err(broken)?;
    Ok(Connected { stream, forwarder, pod })
}

/// A request to the gateway.
pub(super) fn request(path: &str, body: &Value) -> Result<http::Request<Full<Bytes>>, http::Error> {
    http::Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, NAME)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
}

/// Sends a request and reads the answer.
pub(super) async fn call(
    client: &Client,
    authority: &PemPair,
    node: &str,
    path: &'static str,
    body: &Value,
) -> Result<Value, Error> {
    let Connected { stream, forwarder, pod } = connect(client, authority, node).await?;
    let broken = |source| Error::Connection { pod: pod.clone(), source };
    let failed = |source| Error::Http { path, pod: pod.clone(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let exchange = async {
        let request = request(path, body).map_err(|error| broken(std::io::Error::other(error)))?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        let is_success = answer.status().is_success();
        let bytes = Limited::new(answer.into_body(), LONGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| broken(std::io::Error::other(error)))?
            .to_bytes();
        Ok((is_success, bytes))
    };
    // The connection has to be driven while the answer is awaited, and ends with it.
    let (is_success, bytes) = tokio::select! {
        answer = exchange => answer?,
        ended = connection => {
            return Err(match ended {
                Err(source) => failed(source),
                Ok(()) => broken(std::io::ErrorKind::UnexpectedEof.into()),
            });
        }
    };
    drop(forwarder);
    if !is_success {
        return Err(Error::Refused { path, message: message(&bytes) });
    }
    serde_json::from_slice(&bytes).map_err(|source| Error::Answer { path, source })
}

/// What a refusal says.
pub(super) fn message(bytes: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(bytes).ok();
    let said =
        parsed.as_ref().and_then(|value| value.get("message").or_else(|| value.get("error")));
    match said.and_then(Value::as_str) {
        Some(text) => shown::line(text, shown::SAID).into_owned(),
        None => "it says nothing that is understood".to_owned(),
    }
}

fn tls(authority: &PemPair) -> Result<rustls::ClientConfig, Error> {
    let client = client_certificate(authority, CLIENT, Timestamp::now(), VALID)
        .map_err(|source| Error::Certificate { source })?;
    let unreadable = |problem: String| Error::Certificate {
        source: crate::pki::Error::ReadCertificate { problem },
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.certificate.as_bytes()) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|source| Error::Tls { source })?;
    }
    let chain = CertificateDer::pem_slice_iter(client.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(client.private_key.as_bytes())
        .map_err(|error| unreadable(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(|source| Error::Tls { source })
}
