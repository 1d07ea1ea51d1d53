//! A small HTTP(S) client: GET, redirects, and streaming bodies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{StreamExt, unfold};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use url::Url;

use super::error::StreamsError;
use super::source::Chunks;

/// Options for reaching a server.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Certificates (PEM) of additional trusted authorities.
    pub authorities_pem: Option<String>,
    /// Maximum time without data.
    pub silence: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { authorities_pem: None, silence: Duration::from_secs(30) }
    }
}

/// Maximum number of redirects; mirrors use one or two.
const REDIRECTIONS: usize = 5;

pub(super) struct HttpReader {
    /// Ends with a slash.
    base: Url,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    silence: Duration,
}

impl std::fmt::Debug for HttpReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpReader").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl HttpReader {
    pub(super) fn new(url: &str, options: &HttpOptions) -> Result<Self, StreamsError> {
        let wrong = |why: String| StreamsError::Url { url: url.to_owned(), why };
        let mut base = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("it must begin with https://".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(options)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base, client, silence: options.silence })
    }

    pub(super) fn base(&self) -> &str {
        self.base.as_str()
    }

    /// Requests a file. Returns its size, if known, and its content.
    pub(super) async fn get(&self, path: &str) -> Result<(Option<u64>, Chunks), StreamsError> {
        let first = self.base.join(path).map_err(|error| StreamsError::Url {
            url: format!("{}{path}", self.base),
            why: error.to_string(),
        })?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTIONS {
            let response = self.ask(&url).await?;
            if !response.status().is_redirection() {
                return self.body(&url, response);
            }
            let refused = |why: String| StreamsError::Redirect { url: first.to_string(), why };
            let location = response.headers().get(header::LOCATION);
            let location = location
                .and_then(|value| value.to_str().ok())
                .ok_or_else(|| refused("the redirect has no location".to_owned()))?;
            let next =
                url.join(location).map_err(|error| refused(format!("{location}: {error}")))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(refused(format!("the server redirects to {next}, which is not HTTPS")));
            }
            url = next;
        }
        Err(StreamsError::Redirect {
            url: first.to_string(),
            why: format!("the server redirects more than {REDIRECTIONS} times"),
        })
    }

    async fn ask(&self, url: &Url) -> Result<Response<hyper::body::Incoming>, StreamsError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StreamsError::Get {
            url: url.to_string(),
            source,
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(url.as_str())
            .header(header::USER_AGENT, concat!("capn/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| failed(error.into()))?;
        match tokio::time::timeout(self.silence, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| failed(error.into())),
            Err(_) => Err(StreamsError::Silent { url: url.to_string(), after: self.silence }),
        }
    }

    fn body(
        &self,
        url: &Url,
        response: Response<hyper::body::Incoming>,
    ) -> Result<(Option<u64>, Chunks), StreamsError> {
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            return Err(StreamsError::Status { url: url.to_string(), status });
        }
        let size = response.headers().get(header::CONTENT_LENGTH);
        let size = size.and_then(|value| value.to_str().ok()?.parse().ok());
        let state = (response.into_body(), url.to_string(), self.silence);
        let chunks = unfold(Some(state), |state| async move {
            let (mut body, url, silence) = state?;
            loop {
                let frame = match tokio::time::timeout(silence, body.frame()).await {
                    Err(_) => {
                        let error = StreamsError::Silent { url, after: silence };
                        return Some((Err(error), None));
                    }
                    Ok(None) => return None,
                    Ok(Some(Err(error))) => {
                        let error = StreamsError::Get { url, source: error.into() };
                        return Some((Err(error), None));
                    }
                    Ok(Some(Ok(frame))) => frame,
                };
                // Ignore trailers.
                if let Ok(data) = frame.into_data() {
                    return Some((Ok(data), Some((body, url, silence))));
                }
            }
        });
        Ok((size, chunks.boxed()))
    }
}

fn tls(options: &HttpOptions) -> Result<ClientConfig, StreamsError> {
    let mut roots = RootCertStore::empty();
    // A host without authorities can still use plain HTTP and the given certificates.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = &options.authorities_pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|error| StreamsError::Tls { source: Box::new(error) })?;
            roots.add(certificate).map_err(|error| StreamsError::Tls { source: error.into() })?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StreamsError::Tls { source: error.into() })?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
