//! Requests to a plane, with or without a client certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer responses are truncated.
const ANSWER: usize = 256 << 20;
/// Time limit of a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a rate-limited request is repeated.
const TRIES: usize = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A response.
#[derive(Debug)]
pub(crate) struct ApiResponse {
    pub(crate) status: StatusCode,
    /// `Retry-After`, if the server sent it.
    retry_after: Duration,
    pub(crate) body: Bytes,
}

impl ApiResponse {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns itself if the request succeeded.
    pub(crate) fn granted(self) -> anyhow::Result<Self> {
        if !self.status.is_success() {
            let text: String = self.text().chars().take(300).collect();
            bail!("answered {}: {text}", self.status);
        }
        Ok(self)
    }

    /// Returns an error if the request succeeded.
    pub(crate) fn refused(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            bail!("the request is granted ({})", self.status);
        }
        Ok(self)
    }
}

/// A client of a plane. Requests are sent one by one over one connection, which is
/// reopened when it is closed.
pub(crate) struct ApiClient {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    patience: Duration,
    /// Number of late responses, shared between clones.
    late: Arc<AtomicUsize>,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl ApiClient {
    pub(crate) fn new(address: SocketAddr, tls: Arc<ClientConfig>) -> Self {
        let late = Arc::new(AtomicUsize::new(0));
        Self { address, tls, patience: PATIENCE, late, kept: Mutex::new(None) }
    }

    /// Multiplies time limits.
    pub(crate) fn slower(mut self, times: u32) -> Self {
        self.patience = PATIENCE * times;
        self
    }

    /// The same client with another connection.
    pub(crate) fn again(&self) -> Self {
        Self {
            address: self.address,
            tls: Arc::clone(&self.tls),
            patience: self.patience,
            late: Arc::clone(&self.late),
            kept: Mutex::new(None),
        }
    }

    /// Number of requests without a response in time.
    pub(crate) fn late(&self) -> usize {
        self.late.load(Ordering::Relaxed)
    }

    /// A TLS connection for raw bytes.
    pub(crate) async fn stream(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        self.stream_for(&[]).await
    }

    /// The same, for HTTP/2.
    pub(crate) async fn stream_h2(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        self.stream_for(&[b"h2"]).await
    }

    async fn stream_for(&self, protocols: &[&[u8]]) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::IpAddress(self.address.ip().into());
        let connecting = async {
            let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            TlsConnector::from(Arc::new(tls)).connect(name, stream).await.context("TLS fails")
        };
        timeout(self.patience, connecting).await.context("no connection is made")?
    }

    async fn sender(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = self.stream().await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its end is noticed by the next request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// Sends a request and returns the response. Repeats a rate-limited request after the requested
    /// delay.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<ApiResponse> {
        for _ in 0..TRIES {
            let answer = self.once(request.clone()).await?;
            if answer.status != StatusCode::TOO_MANY_REQUESTS {
                return Ok(answer);
            }
            tokio::time::sleep(answer.retry_after).await;
        }
        self.once(request).await
    }

    async fn once(&self, request: Request<Full<Bytes>>) -> anyhow::Result<ApiResponse> {
        match timeout(self.patience, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.late.fetch_add(1, Ordering::Relaxed);
                bail!("no response within {:?}", self.patience)
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<ApiResponse> {
        let mut kept = self.kept.lock().await;
        let mut before = kept.take();
        let ready = match &mut before {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match before.filter(|_| ready) {
            Some(sender) => sender,
            None => self.sender().await?,
        };
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("cannot read the response: {error}"))?;
        *kept = Some(sender);
        let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
        Ok(ApiResponse {
            status: head.status,
            retry_after: Duration::from_secs(retry_after).min(LONGEST_PAUSE),
            body: body.to_bytes(),
        })
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<ApiResponse> {
        self.send(request(method, path, content_type, body)?).await
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<ApiResponse> {
        self.call("GET", path, "", Bytes::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<ApiResponse> {
        self.call("DELETE", path, "", Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> anyhow::Result<ApiResponse> {
        self.call("POST", path, JSON, object.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> anyhow::Result<ApiResponse> {
        self.call("PUT", path, JSON, object.to_string()).await
    }

    pub(crate) async fn merge(&self, path: &str, change: &Value) -> anyhow::Result<ApiResponse> {
        self.call("PATCH", path, MERGE_PATCH, change.to_string()).await
    }

    /// Server-side apply with field manager `attack`.
    pub(crate) async fn apply(
        &self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<ApiResponse> {
        let path = format!("{path}?fieldManager=attack&force=true");
        self.call("PATCH", &path, APPLY_PATCH, body).await
    }
}

/// A request as sent by [`ApiClient`].
pub(crate) fn request(
    method: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "plane");
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    Ok(request.body(Full::new(body.into()))?)
}
