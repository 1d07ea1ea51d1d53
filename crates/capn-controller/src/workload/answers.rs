//! Limits for API server responses: size, duration and the form of errors.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use capn_text::display;
use futures::future::BoxFuture;
use group_limits::weight::Weight;
use http::{Request, Response, StatusCode, Uri, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connect;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::PollSemaphore;
use tower::{BoxError, Service};

use crate::limiter::KeyedLimiter;

/// Maximum size of a response, in bytes. Lists are paginated.
pub const LONGEST_ANSWER: usize = 4 << 20;
/// Maximum size of a line in a watch, a log or metrics, in bytes.
pub const LONGEST_LINE: usize = 2 << 20;
/// Maximum number of values in a response, counted by [`Weight`]. A page of 50 nodes has 100,000 to
/// 200,000.
const HEAVIEST: usize = 600_000;
/// Maximum number of list items in a response, whatever limit was requested.
const MOST_ITEMS: usize = 2_000;
/// Maximum number of values in one event.
const HEAVIEST_LINE: usize = 200_000;
/// Number of values above which a response needs a permit, like a large one.
const LIGHT: usize = 50_000;
/// Path of API server metrics, whose response may exceed the size limit.
pub const METRICS: &str = "/metrics";
/// Maximum size of an error response that is parsed, in bytes.
const REFUSAL: usize = 64 << 10;
/// Maximum size of an error message that is shown, in bytes. Errors of the library repeat it three
/// times.
const MESSAGE: usize = 1 << 10;
/// Deadline for the response headers.
const HEAD: Duration = Duration::from_secs(30);
/// Deadline for the response body.
const WHOLE: Duration = Duration::from_secs(30);
/// Maximum silence of a watch. Kubernetes sends a bookmark about once a minute, and watches of
/// nodes end sooner. A connection through a load balancer may lead to a control plane that no
/// longer exists.
pub(super) const SILENCE: Duration = Duration::from_secs(75);
/// Size in bytes above which a response needs a permit of the namespace, so that only few of them
/// are in memory at once.
const SMALL: usize = 256 << 10;
/// Size in bytes above which an incomplete line of a watch needs a permit, too, and has to end
/// within [`WHOLE`]. Most nodes are smaller.
const SMALL_LINE: usize = 128 << 10;
/// Number of large responses per namespace at the same time.
const TURNS: usize = 2;

static LARGE: LazyLock<KeyedLimiter<String>> = LazyLock::new(|| KeyedLimiter::new(TURNS));

/// Returns the semaphore for large responses of a namespace.
pub(super) fn turns(namespace: &str) -> Arc<Semaphore> {
    LARGE.semaphore(namespace.to_owned())
}

/// Sends requests and enforces the response limits.
#[derive(Clone)]
pub(super) struct Guarded<C> {
    http: legacy::Client<C, Body>,
    silence: Duration,
    turns: Arc<Semaphore>,
}

impl<C: Clone> Guarded<C> {
    /// Creates a client for a cluster of a namespace. `silence` is the maximum silence of a watch.
    pub(super) fn new(http: legacy::Client<C, Body>, namespace: &str, silence: Duration) -> Self {
        Self { http, silence, turns: turns(namespace) }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Service<Request<Body>> for Guarded<C> {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kind = Kind::of(request.uri(), self.silence);
        let turns = self.turns.clone();
        let upgrades = request.headers().contains_key(header::UPGRADE);
        let sent = self.http.request(request);
        Box::pin(async move {
            let response = tokio::time::timeout(HEAD, sent).await.map_err(|_| {
                BoxError::from("the API server did not respond within 30 seconds")
            })??;
            match response.status() {
                status
                    if status.is_success()
                        || upgrades && status == StatusCode::SWITCHING_PROTOCOLS =>
                {
                    Ok(response.map(|body| Answer::new(body, kind, turns)))
                }
                // A redirect counts as an error.
                _ => Ok(refused(response).await),
            }
        })
    }
}

/// Kind of response.
#[derive(Clone, Copy)]
enum Kind {
    /// A complete body.
    Whole,
    /// A stream that is never silent for longer than this.
    Watch(Duration),
    /// A followed log.
    Log,
    /// Metrics, parsed line by line. The size is not limited, but the deadline of a complete body
    /// applies.
    Lines,
}

impl Kind {
    fn of(uri: &Uri, silence: Duration) -> Self {
        let query = uri.query().unwrap_or_default();
        let has = |part: &str| query.split('&').any(|found| found == part);
        if has("watch=true") || has("watch=1") {
            Self::Watch(silence)
        } else if has("follow=true") {
            Self::Log
        } else if uri.path() == METRICS {
            Self::Lines
        } else {
            Self::Whole
        }
    }
}

/// Converts an error response: a Kubernetes Status keeps its message, and anything else is
/// discarded.
async fn refused(response: Response<Incoming>) -> Response<Answer> {
    let (mut head, body) = response.into_parts();
    let body = tokio::time::timeout(WHOLE, Limited::new(body, REFUSAL).collect()).await;
    let parsed = body
        .ok()
        .and_then(Result::ok)
        .and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok())
        .filter(|status| status["kind"] == "Status" && status["apiVersion"] == "v1");
    let status = status(head.status, parsed.as_ref());
    if !(head.status.is_client_error() || head.status.is_server_error()) {
        head.status = StatusCode::BAD_GATEWAY;
    }
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::CONTENT_ENCODING);
    Response::from_parts(head, Answer::Refusal(Full::new(Bytes::from(status.to_string()))))
}

fn status(code: StatusCode, said: Option<&Value>) -> Value {
    let text = |field: &str, longest| {
        let text = said.and_then(|said| said[field].as_str()).unwrap_or_default();
        display::line(text, longest).into_owned()
    };
    let message = match text("message", MESSAGE) {
        said if said.is_empty() => {
            format!(
                "the API server responded with {} and a body that is not a Kubernetes Status",
                code.as_u16()
            )
        }
        said => said,
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": text("reason", 100), "code": code.as_u16(),
    })
}

/// Response body.
pub(super) enum Answer {
    /// Passed through with limits.
    Bounded(Box<Bounded>),
    /// An error that has already been read.
    Refusal(Full<Bytes>),
}

/// A response body with limits.
pub(super) struct Bounded {
    body: Incoming,
    kind: Kind,
    /// Deadline, if there is one.
    until: Option<Pin<Box<Sleep>>>,
    /// Bytes of the body or of the current line.
    observed: usize,
    /// Values of the body or of the current line.
    weight: Weight,
    turn: PollSemaphore,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Answer {
    fn new(body: Incoming, kind: Kind, turns: Arc<Semaphore>) -> Self {
        let within = match kind {
            Kind::Whole | Kind::Lines => Some(WHOLE),
            Kind::Watch(silence) => Some(silence),
            Kind::Log => None,
        };
        Self::Bounded(Box::new(Bounded {
            body,
            kind,
            until: within.map(|within| Box::pin(tokio::time::sleep(within))),
            observed: 0,
            weight: Weight::default(),
            turn: PollSemaphore::new(turns),
            permit: None,
        }))
    }
}

impl Bounded {
    fn count(&mut self, data: &[u8]) -> Result<(), BoxError> {
        let is_whole = matches!(self.kind, Kind::Whole);
        let longest = if is_whole { LONGEST_ANSWER } else { LONGEST_LINE };
        let broken = data.iter().rposition(|byte| *byte == b'\n').filter(|_| !is_whole);
        self.observed = match broken {
            Some(at) if self.observed.saturating_add(at) <= longest => data.len() - at - 1,
            _ => self.observed.saturating_add(data.len()),
        };
        if self.observed > longest {
            return Err(
                format!("the response of the API server is longer than {longest} bytes").into()
            );
        }
        self.weigh(data, broken)
    }

    /// Only JSON has values, so logs and metrics are not counted.
    fn weigh(&mut self, data: &[u8], broken: Option<usize>) -> Result<(), BoxError> {
        let heaviest = match self.kind {
            Kind::Whole => HEAVIEST,
            Kind::Watch(_) => HEAVIEST_LINE,
            Kind::Log | Kind::Lines => return Ok(()),
        };
        let rest = match broken {
            // The size of this chunk bounds the lines that ended in it.
            Some(at) => {
                self.weight.add(data.get(..at).unwrap_or_default());
                let ended = std::mem::take(&mut self.weight);
                if ended.values > heaviest {
                    return Err(too_heavy(heaviest));
                }
                data.get(at + 1..).unwrap_or_default()
            }
            None => data,
        };
        self.weight.add(rest);
        if self.weight.values > heaviest {
            return Err(too_heavy(heaviest));
        }
        if matches!(self.kind, Kind::Whole) && self.weight.items > MOST_ITEMS {
            return Err(format!(
                "the response of the API server lists more than {MOST_ITEMS} objects"
            )
            .into());
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let is_large = self.observed > SMALL || self.weight.values > LIGHT;
        let waits = match self.kind {
            Kind::Whole => is_large,
            Kind::Watch(_) => self.observed > SMALL_LINE,
            Kind::Log | Kind::Lines => false,
        };
        if waits && self.permit.is_none() {
            self.permit = ready!(self.turn.poll_acquire(cx));
            // Earlier responses hold the permits.
            if let Some(until) = &mut self.until {
                until.as_mut().reset(Instant::now() + WHOLE);
            }
        }
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            let late = match self.kind {
                Kind::Watch(_) => {
                    "the watch of the API server sent no complete event for too long; the connection is closed"
                }
                Kind::Whole | Kind::Lines | Kind::Log => {
                    "the response of the API server was not complete within 30 seconds"
                }
            };
            return Poll::Ready(Some(Err(late.into())));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref()
            && let Err(error) = self.count(&data.clone())
        {
            return Poll::Ready(Some(Err(error)));
        }
        if let (Kind::Watch(silence), Some(until)) = (self.kind, &mut self.until) {
            if self.observed <= SMALL_LINE {
                self.permit = None;
            }
            // A line with a permit has to end, and bytes do not prolong it.
            if self.permit.is_none() {
                until.as_mut().reset(Instant::now() + silence);
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

fn too_heavy(heaviest: usize) -> BoxError {
    format!("the response of the API server has more than {heaviest} values").into()
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Bounded(bounded) => bounded.poll(cx),
            Self::Refusal(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bounded(bounded) => bounded.body.is_end_stream(),
            Self::Refusal(body) => body.is_end_stream(),
        }
    }
}
