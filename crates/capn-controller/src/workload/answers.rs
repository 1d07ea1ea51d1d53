//! What an API server may answer: so much, within so long, and in Kubernetes' words where it refuses.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use capn_text::shown;
use futures::future::BoxFuture;
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

use super::weight::Weight;

/// Longest answer, in bytes. Lists are asked for in pages.
pub const LONGEST_ANSWER: usize = 4 << 20;
/// Longest line of an answer that lasts, a watch or a log, or of metrics, in bytes: one event.
pub const LONGEST_LINE: usize = 2 << 20;
/// Most values of an answer, in [`Weight`]. A page of 50 nodes has 100,000 to 200,000.
const HEAVIEST: usize = 600_000;
/// Most objects of a list in one answer, whatever was asked for.
const MOST_ITEMS: usize = 2_000;
/// Most values of one event.
const HEAVIEST_LINE: usize = 200_000;
/// An answer with more values takes its turn as a long one does.
const LIGHT: usize = 50_000;
/// What API servers say of themselves, which can be longer than an answer.
pub const METRICS: &str = "/metrics";
/// Longest refusal that is looked at, in bytes.
const REFUSAL: usize = 64 << 10;
/// Longest message of a refusal that is shown, in bytes: errors of the library have it three times.
const MESSAGE: usize = 1 << 10;
/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(30);
/// How long an answer may take to come in.
const WHOLE: Duration = Duration::from_secs(30);
/// How long a watch may be silent. Kubernetes sends a bookmark in about a minute, and those of nodes end
/// sooner. A connection over a load balancer may be to a control plane that is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(75);
/// An answer longer than this takes its turn with those of other clusters, so that not all of them are
/// in memory at once.
const SMALL: usize = 256 << 10;
/// How many large answers come in at once.
const TURNS: usize = 2;

static LARGE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(TURNS)));

/// Sends requests, and bounds what is answered.
#[derive(Clone)]
pub(super) struct Guarded<C> {
    http: legacy::Client<C, Body>,
    silence: Duration,
}

impl<C: Clone> Guarded<C> {
    /// `silence`: how long a watch may be silent.
    pub(super) fn new(http: legacy::Client<C, Body>, silence: Duration) -> Self {
        Self { http, silence }
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
        let upgrades = request.headers().contains_key(header::UPGRADE);
        let sent = self.http.request(request);
        Box::pin(async move {
            let response = tokio::time::timeout(HEAD, sent)
                .await
                .map_err(|_| BoxError::from("the API server did not answer within 30 seconds"))??;
            match response.status() {
                status
                    if status.is_success()
                        || upgrades && status == StatusCode::SWITCHING_PROTOCOLS =>
                {
                    Ok(response.map(|body| Answer::new(body, kind)))
                }
                // A redirect is a refusal here.
                _ => Ok(refused(response).await),
            }
        })
    }
}

/// What kind of answer a request has.
#[derive(Clone, Copy)]
enum Kind {
    /// It comes in as a whole.
    Whole,
    /// It lasts, but is not silent for longer than this.
    Watch(Duration),
    /// It lasts: a log that is followed.
    Log,
    /// It is read line by line, and may be as long as comes in within the time of a whole one: metrics.
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

/// A refusal in Kubernetes' form: its own words where it has that form, and else none of them.
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
        shown::line(text, longest).into_owned()
    };
    let message = match text("message", MESSAGE) {
        said if said.is_empty() => {
            format!(
                "the API server answered {} with what is no Status of Kubernetes",
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

/// The body of an answer.
pub(super) enum Answer {
    /// As it comes in.
    Bounded(Box<Bounded>),
    /// One that was read already.
    Refusal(Full<Bytes>),
}

/// A body with its bounds.
pub(super) struct Bounded {
    body: Incoming,
    kind: Kind,
    /// When it is too late, as far as there is such a time.
    until: Option<Pin<Box<Sleep>>>,
    /// Bytes of it, or of its line.
    seen: usize,
    /// Values of it, or of its line.
    weight: Weight,
    turn: PollSemaphore,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Answer {
    fn new(body: Incoming, kind: Kind) -> Self {
        let within = match kind {
            Kind::Whole | Kind::Lines => Some(WHOLE),
            Kind::Watch(silence) => Some(silence),
            Kind::Log => None,
        };
        Self::Bounded(Box::new(Bounded {
            body,
            kind,
            until: within.map(|within| Box::pin(tokio::time::sleep(within))),
            seen: 0,
            weight: Weight::default(),
            turn: PollSemaphore::new(LARGE.clone()),
            permit: None,
        }))
    }
}

impl Bounded {
    fn count(&mut self, data: &[u8]) -> Result<(), BoxError> {
        let is_whole = matches!(self.kind, Kind::Whole);
        let longest = if is_whole { LONGEST_ANSWER } else { LONGEST_LINE };
        let broken = data.iter().rposition(|byte| *byte == b'\n').filter(|_| !is_whole);
        self.seen = match broken {
            Some(at) if self.seen.saturating_add(at) <= longest => data.len() - at - 1,
            _ => self.seen.saturating_add(data.len()),
        };
        if self.seen > longest {
            return Err(format!("the API server's answer is longer than {longest} bytes").into());
        }
        self.weigh(data, broken)
    }

    /// What is not JSON has no values: logs and metrics.
    fn weigh(&mut self, data: &[u8], broken: Option<usize>) -> Result<(), BoxError> {
        let heaviest = match self.kind {
            Kind::Whole => HEAVIEST,
            Kind::Watch(_) => HEAVIEST_LINE,
            Kind::Log | Kind::Lines => return Ok(()),
        };
        let rest = match broken {
            // Lines that ended within this piece are bounded by its size.
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
            return Err(
                format!("the API server's answer lists more than {MOST_ITEMS} objects").into()
            );
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            let late = match self.kind {
                Kind::Watch(_) => {
                    "the watch of the API server sent nothing for too long; the connection is closed"
                }
                Kind::Whole | Kind::Lines | Kind::Log => {
                    "the API server's answer did not come in within 30 seconds"
                }
            };
            return Poll::Ready(Some(Err(late.into())));
        }
        let is_large = self.seen > SMALL || self.weight.values > LIGHT;
        if matches!(self.kind, Kind::Whole) && is_large && self.permit.is_none() {
            self.permit = ready!(self.turn.poll_acquire(cx));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let (Kind::Watch(silence), Some(until)) = (self.kind, &mut self.until) {
            until.as_mut().reset(Instant::now() + silence);
        }
        if let Some(data) = frame.data_ref()
            && let Err(error) = self.count(&data.clone())
        {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

fn too_heavy(heaviest: usize) -> BoxError {
    format!("the API server's answer has more than {heaviest} values").into()
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
