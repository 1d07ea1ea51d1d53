//! A connection to one etcd member through the API server, and one request over it.

use std::sync::Arc;

use bytes::Bytes;
use capn_controller::workload::{Forward, forward};
use capn_text::display;
use http::{Method, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::Error;
use crate::pki::{ClientIdentity, PemPair, client_certificate};

/// Client port of a member.
const PORT: u16 = 2379;
const NAMESPACE: &str = "kube-system";
/// A name in every member's certificate, which kubeadm sets.
const NAME: &str = "localhost";
/// etcd only checks the CA.
const CLIENT: ClientIdentity<'static> = ClientIdentity { user: "capn", group: "capn" };
/// Maximum size of a response, in bytes. A list of members has some thousand, and each byte may
/// need many in memory.
const LONGEST_ANSWER: usize = 64 << 10;
/// The certificate is used for one connection.
const VALID: SignedDuration = SignedDuration::from_hours(1);

/// A connection to a member, which lives as long as its task.
pub(super) struct Connected {
    pub(super) stream: TlsStream<Box<dyn Duplex>>,
    /// The task that carries the data.
    pub(super) task: AbortOnDropHandle<()>,
    pub(super) pod: String,
}

/// The stream of a port-forward.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Connects to the member on a node.
pub(super) async fn connect(
    client: &Client,
    authority: &PemPair,
    node: &str,
) -> Result<Connected, Error> {
    let pod = format!("etcd-{node}");
    let Forward { stream, task } = forward(client, NAMESPACE, &pod, PORT)
        .await
        .map_err(|source| Error::Forward { pod: pod.clone(), source })?;
    let broken = |source| Error::Connection { pod: pod.clone(), source };
    let name = ServerName::try_from(NAME).map_err(|error| broken(std::io::Error::other(error)))?;
    let stream = TlsConnector::from(Arc::new(tls(authority)?))
        .connect(name, Box::new(stream) as Box<dyn Duplex>)
        .await
        .map_err(broken)?;
    Ok(Connected { stream, task, pod })
}

/// Builds a request to the gateway.
pub(super) fn request(path: &str, body: &Value) -> Result<http::Request<Full<Bytes>>, http::Error> {
    http::Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, NAME)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
}

/// Sends a request and reads the response.
pub(super) async fn call(
    client: &Client,
    authority: &PemPair,
    node: &str,
    path: &'static str,
    body: &Value,
) -> Result<Value, Error> {
    let Connected { stream, task, pod } = connect(client, authority, node).await?;
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
    // The connection must be polled while the response is awaited, and is closed afterwards.
    let (is_success, bytes) = tokio::select! {
        answer = exchange => answer?,
        ended = connection => {
            return Err(match ended {
                Err(source) => failed(source),
                Ok(()) => broken(std::io::ErrorKind::UnexpectedEof.into()),
            });
        }
    };
    drop(task);
    if !is_success {
        return Err(Error::Refused { path, message: message(&bytes) });
    }
    serde_json::from_slice(&bytes).map_err(|source| Error::Answer { path, source })
}

/// Returns the message of an error response.
pub(super) fn message(bytes: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(bytes).ok();
    let said =
        parsed.as_ref().and_then(|value| value.get("message").or_else(|| value.get("error")));
    match said.and_then(Value::as_str) {
        Some(text) => display::line(text, display::SERVER_TEXT).into_owned(),
        None => "it returned no valid error message".to_owned(),
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
