//! Sending a request and reading its response.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use group_limits::limiter::Slot;
use http::{HeaderMap, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use incus_api::{Method, Reply, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bounds;
use crate::client::Client;
use crate::error::{Call, Error, Result};
use crate::observer::{Observer, RequestOutcome};
use crate::operations::Operation;
use crate::transport::Connector;
use crate::untrusted::Untrusted;
use crate::versioned::Versioned;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Time limit to read a large response once its turn has come.
const TURN: Duration = Duration::from_secs(10);

/// The connection pool and what every request needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) http: legacy::Client<Connector, Body>,
    pub(crate) endpoint: String,
    pub(crate) authority: String,
    pub(crate) request_timeout: Duration,
    pub(crate) observer: Observer,
    pub(crate) untrusted: Untrusted,
    /// The group whose large responses are limited together.
    pub(crate) group: Arc<str>,
}

/// A successful response.
pub(crate) struct Answer {
    pub(crate) call: Call,
    status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    untrusted: Untrusted,
    /// Permit of a large response, held until the response is dropped.
    _turn: Option<Slot>,
}

impl Wire {
    pub(crate) fn new(
        connector: Connector,
        endpoint: String,
        authority: String,
        request_timeout: Duration,
        observer: Observer,
        untrusted: Untrusted,
        group: Arc<str>,
    ) -> Self {
        // A pool may open a connection, find another one free meanwhile, and silently keep the new
        // one for later. Incus accepts connections on its unix socket one after the other and waits
        // for the first bytes of each: a silent one blocks the whole daemon. Connecting is cheap
        // there, so nothing is pooled.
        let idle = if connector.is_unix() { 0 } else { 8 };
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // A restarted daemon leaves dead connections behind: keep few, and not for long.
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(idle)
            .build(connector);
        Self { http, endpoint, authority, request_timeout, observer, untrusted, group }
    }

    pub(crate) fn uri(&self, call: &Call, path_and_query: &str) -> Result<Uri> {
        Uri::builder()
            .scheme("http")
            .authority(self.authority.as_str())
            .path_and_query(path_and_query)
            .build()
            .map_err(|source| Error::BuildRequest { call: call.clone(), source: source.into() })
    }

    /// Sends a request with or without a JSON body.
    ///
    /// A read-only request is sent once more when the connection breaks: usually the server was
    /// restarted and the pooled connection was stale.
    pub(crate) async fn send(&self, request: &Request, timeout: Duration) -> Result<Answer> {
        let reads = matches!(request.method(), Method::Get | Method::Head);
        match self.send_once(request, timeout).await {
            Err(Error::Send { .. }) if reads => self.send_once(request, timeout).await,
            other => other,
        }
    }

    async fn send_once(&self, request: &Request, timeout: Duration) -> Result<Answer> {
        let call = Call::new(request.method().as_str(), request.path_and_query());
        let body = match request.body() {
            Some(json) => Bytes::from(json.to_string()),
            None => Bytes::new(),
        };
        let mut builder = http::Request::builder();
        if request.body().is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        self.send_body(request, call, builder, body, timeout).await
    }

    /// Sends a request with any body; `builder` may carry headers.
    pub(crate) async fn send_body(
        &self,
        request: &Request,
        call: Call,
        mut builder: http::request::Builder,
        body: Body,
        timeout: Duration,
    ) -> Result<Answer> {
        builder = builder
            .method(request.method().as_str())
            .uri(self.uri(&call, &request.path_and_query())?)
            .header(header::USER_AGENT, concat!("incus-client/", env!("CARGO_PKG_VERSION")));
        for (key, value) in request.headers() {
            builder = builder.header(key, value);
        }
        let sending = builder
            .body(body)
            .map_err(|source| Error::BuildRequest { call: call.clone(), source: source.into() })?;
        let started = Instant::now();
        let exchange = self.exchange(call.clone(), sending);
        let result = match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { call: call.clone(), after: timeout }),
        };
        let outcome = match &result {
            Ok(answer) => RequestOutcome::Status(answer.status),
            Err(error) => RequestOutcome::of(error),
        };
        self.observer.request(&call, outcome, started);
        tracing::debug!(%call, ?outcome, ms = started.elapsed().as_millis() as u64, "request");
        result
    }

    async fn exchange(&self, call: Call, request: http::Request<Body>) -> Result<Answer> {
        let response =
            self.http.request(request).await.map_err(|source| self.failed(&call, source))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(self.refused(call, head.status.as_u16(), body).await);
        }
        let longest = bounds::max_body(call.path());
        let (body, turn) = match read(body, longest, &self.group).await {
            Ok(read) => read,
            Err(source) => return Err(Error::ReadAnswer { call, source }),
        };
        Ok(Answer {
            call,
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            untrusted: self.untrusted.clone(),
            _turn: turn,
        })
    }

    /// Converts an error response to an [`Error`].
    pub(crate) async fn refused(
        &self,
        call: Call,
        status: u16,
        body: hyper::body::Incoming,
    ) -> Error {
        match Limited::new(body, bounds::ERROR_BODY).collect().await {
            Ok(body) => self.untrusted.redact(refusal(call, status, &body.to_bytes())),
            Err(source) => Error::ReadAnswer { call, source },
        }
    }

    pub(crate) fn failed(&self, call: &Call, source: legacy::Error) -> Error {
        let (call, endpoint) = (call.clone(), self.endpoint.clone());
        if source.is_connect() {
            Error::Connect { call, endpoint, source }
        } else {
            Error::Send { call, endpoint, source }
        }
    }
}

/// Reads a body, waiting for a permit if it is large.
async fn read(
    mut body: hyper::body::Incoming,
    longest: usize,
    group: &Arc<str>,
) -> std::result::Result<(Bytes, Option<Slot>), Box<dyn std::error::Error + Send + Sync>> {
    let mut read = bytes::BytesMut::new();
    let mut turn = None;
    let mut until = None;
    loop {
        let frame = match until {
            None => body.frame().await,
            Some(until) => tokio::time::timeout_at(until, body.frame())
                .await
                .map_err(|_| format!("reading it took longer than {} s", TURN.as_secs()))?,
        };
        let Some(frame) = frame else { return Ok((read.freeze(), turn)) };
        // Ignore trailers.
        let Ok(data) = frame?.into_data() else { continue };
        if read.len() + data.len() > longest {
            return Err(format!("it is longer than {longest} bytes").into());
        }
        read.extend_from_slice(&data);
        if turn.is_none() {
            turn = bounds::large_body_permit(read.len(), group).await;
            until = turn.is_some().then(|| tokio::time::Instant::now() + TURN);
        }
    }
}

/// Converts an error response to an [`Error`]. Its body is the usual envelope or anything else.
pub(crate) fn refusal(call: Call, status: u16, body: &[u8]) -> Error {
    match Reply::parse(body) {
        Ok(Reply::Error { code, message }) => {
            Error::Api { call, status: if code == 0 { status } else { code }, message }
        }
        _ => {
            let text = String::from_utf8_lossy(body);
            let message = text.trim().chars().take(300).collect();
            Error::Api { call, status, message }
        }
    }
}

impl Answer {
    pub(crate) fn etag(&self) -> Option<String> {
        Some(self.headers.get(header::ETAG)?.to_str().ok()?.to_owned())
    }

    pub(crate) fn reply(&self) -> Result<Reply> {
        let call = self.call.clone();
        if !bounds::is_small(call.path(), call.method() == "GET", &self.body) {
            let source = "it has too many values".into();
            return Err(Error::ReadAnswer { call, source });
        }
        match Reply::parse(&self.body) {
            // Some servers return an error with status 200.
            Ok(Reply::Error { code, message }) => {
                Err(self.untrusted.redact(Error::Api { call, status: code, message }))
            }
            Ok(reply) => Ok(reply),
            Err(source) => Err(self.untrusted.redact(Error::Envelope { call, source })),
        }
    }

    pub(crate) fn value(&self) -> Result<Value> {
        match self.reply()? {
            Reply::Sync(value) => Ok(value),
            _ => Err(Error::UnexpectedReply {
                call: self.call.clone(),
                got: "an operation",
                expected: "a result",
            }),
        }
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, what: &'static str) -> Result<T> {
        serde_json::from_value(self.value()?).map_err(|source| {
            self.untrusted.redact(Error::Decode { call: self.call.clone(), what, source })
        })
    }
}

impl Client {
    /// Adds the project of this client.
    pub(crate) fn scoped(&self, request: Request) -> Request {
        request.query_opt("project", self.project())
    }

    pub(crate) async fn send(&self, request: Request) -> Result<Answer> {
        self.shared.wire.send(&request, self.shared.wire.request_timeout).await
    }

    /// For requests that the server answers only after the work is done.
    pub(crate) async fn send_slow(&self, request: Request) -> Result<Answer> {
        const SLOW: Duration = Duration::from_secs(300);
        self.shared.wire.send(&request, self.shared.wire.request_timeout.max(SLOW)).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        request: Request,
        what: &'static str,
    ) -> Result<T> {
        self.send(request).await?.decode(what)
    }

    /// Fetches a list. Go writes an empty list as `null`, for example the storage pools of a server
    /// without any setup.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        request: Request,
        what: &'static str,
    ) -> Result<Vec<T>> {
        let found: Option<Vec<T>> = self.get(request, what).await?;
        Ok(found.unwrap_or_default())
    }

    /// Fetches one object; `None` when it does not exist.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        request: Request,
        what: &'static str,
    ) -> Result<Option<Versioned<T>>> {
        match self.send(request).await {
            Ok(answer) => Ok(Some(Versioned { value: answer.decode(what)?, etag: answer.etag() })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that starts an operation.
    pub(crate) async fn start(&self, request: Request) -> Result<Operation> {
        let covered_by = self.hub().ready().await;
        let answer = self.send(request).await?;
        Ok(self.started(&answer)?.covered_by(covered_by))
    }

    pub(crate) fn started(&self, answer: &Answer) -> Result<Operation> {
        match answer.reply()? {
            Reply::Async(operation) => Ok(Operation::new(self.clone(), *operation)),
            _ => Err(Error::UnexpectedReply {
                call: answer.call.clone(),
                got: "a result",
                expected: "an operation",
            }),
        }
    }

    /// Sends a request that is complete when the response arrives. If the server returns an
    /// operation instead, waits for it.
    pub(crate) async fn done(&self, request: Request) -> Result<()> {
        const DEADLINE: Duration = Duration::from_secs(300);
        let answer = self.send_slow(request).await?;
        match answer.reply()? {
            Reply::Async(operation) => {
                Operation::new(self.clone(), *operation).wait(DEADLINE).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Adds a JSON body.
pub(crate) fn with_json(request: Request, body: &impl serde::Serialize) -> Result<Request> {
    let call = Call::new(request.method().as_str(), request.path_and_query());
    request.json(body).map_err(|source| Error::BuildRequest { call, source: source.into() })
}
