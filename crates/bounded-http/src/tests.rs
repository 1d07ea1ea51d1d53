//! Tests over real sockets with small limits.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{Limits, Peer, serve};

/// Deadline of all waits; the results are immediate or never come.
const DEADLINE: Duration = Duration::from_secs(30);

struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; 1 << 16])))))
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// `/NAME` authenticates the connection as that user, `/root` as an operator, and returns whether a
/// slot was free; `/` leaves it unauthenticated.
async fn response(peer: Peer, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let text = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    Ok(Response::new(match request.uri().path() {
        "/" => text("unauthenticated".to_owned()),
        "/slow" => std::future::pending().await,
        "/endless" => Endless.boxed_unsync(),
        "/large" => text("x".repeat(1 << 20)),
        user => text(peer.identify(user, user == "/root").to_string()),
    }))
}

async fn server(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let make_service =
        |peer: Peer| tower::service_fn(move |request| response(peer.clone(), request));
    tokio::spawn(serve(listener, None, limits, make_service, std::future::pending()));
    address
}

fn small() -> Limits {
    Limits {
        unauthenticated: 4,
        unauthenticated_per_address: 4,
        authenticated: 3,
        authenticated_per_user: 2,
        operators: 1,
        ..Limits::default()
    }
}

/// The last word of a response; empty if the connection was closed.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return String::new();
    }
    let mut buffer = [0; 1024];
    let read = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("an answer or the end");
    let text = String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned();
    text.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Waits until the other side has closed the connection.
async fn closed(mut stream: TcpStream) {
    let mut rest = vec![0; 1 << 16];
    let end = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    timeout(DEADLINE, end).await.expect("the connection is closed");
}

#[tokio::test]
async fn unauthenticated_connections_are_evicted_and_users_are_not() {
    let address = server(small()).await;
    let mut authenticated = connect(address).await;
    assert_eq!(ask(&mut authenticated, "/jane").await, "true");
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = connect(address).await;
        assert_eq!(ask(&mut stream, "/").await, "unauthenticated");
        idle.push(stream);
    }
    assert_eq!(ask(&mut authenticated, "/jane").await, "true");
    let mut open = 0;
    for stream in &mut idle {
        open += usize::from(ask(stream, "/").await == "unauthenticated");
    }
    assert!(open <= 4, "{open} unauthenticated connections");
}

#[tokio::test]
async fn the_newest_connection_is_kept() {
    let address = server(small()).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut first = connect(address).await;
        assert_eq!(ask(&mut first, "/").await, "unauthenticated");
        // Three other connections arrive before it sends again; a fourth would evict it.
        for _ in 0..3 {
            let mut stream = connect(address).await;
            assert_eq!(ask(&mut stream, "/").await, "unauthenticated");
            idle.push(stream);
        }
        assert_eq!(ask(&mut first, "/").await, "unauthenticated");
        idle.push(first);
    }
}

#[tokio::test]
async fn connections_are_limited_per_user_and_operators_have_their_own() {
    let address = server(small()).await;
    let mut streams = Vec::new();
    for (user, has) in [
        ("/jane", "true"),
        ("/jane", "true"),
        ("/jane", "false"),
        ("/joe", "true"),
        ("/jim", "false"),
        ("/root", "true"),
        ("/root", "false"),
    ] {
        let mut stream = connect(address).await;
        assert_eq!(ask(&mut stream, user).await, has, "{user}");
        streams.push(stream);
    }
    // Two unauthenticated slots are taken by users without a slot of their own.
    drop(streams.remove(0));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while ask(&mut connect(address).await, "/jane").await != "true" {
        assert!(tokio::time::Instant::now() < deadline, "the place is free again");
    }
}

#[tokio::test]
async fn incomplete_requests_close_the_connection() {
    let limits = Limits { unauthenticated_idle: Duration::from_millis(50), ..small() };
    let address = server(limits).await;
    let mut half = connect(address).await;
    half.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut half2 = connect(address).await;
    half2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    closed(half).await;
    closed(half2).await;
    closed(connect(address).await).await;
}

#[tokio::test]
async fn unread_responses_close_the_connection() {
    let limits = Limits { write_timeout: Duration::from_millis(50), ..small() };
    let address = server(limits).await;
    let mut stream = connect(address).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    // Reads nothing while the server keeps the connection.
    let ended = async {
        while stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, ended).await.expect("the connection is closed");
}

/// An HTTP/2 connection whose streams accept one byte, with a request on the first of them.
fn narrow(path: &str) -> Vec<u8> {
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS: INITIAL_WINDOW_SIZE is 1.
    sent.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1]);
    // HEADERS, the whole request: the static entries GET and http, and a literal path.
    let length = u8::try_from(path.len()).unwrap();
    let headers = [&[0x82, 0x86, 0x04, length], path.as_bytes()].concat();
    sent.extend([0, 0, u8::try_from(headers.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    sent.extend(headers);
    sent
}

#[tokio::test]
async fn an_unread_stream_closes_its_connection() {
    for path in ["/large", "/endless"] {
        // Requests that run are looked at after the shortest idle time.
        let (write_timeout, idle) = (Duration::from_millis(200), Duration::from_secs(1));
        let limits = Limits { write_timeout, unauthenticated_idle: idle, ..small() };
        let address = server(limits).await;
        let mut stream = connect(address).await;
        stream.write_all(&narrow(path)).await.unwrap();
        let mut received = Vec::new();
        let ended = timeout(DEADLINE, stream.read_to_end(&mut received)).await;
        drop(ended.expect("the connection is closed"));
        assert!(received.len() < 4096, "{path}: {} bytes", received.len());
    }
}

#[tokio::test]
async fn a_body_counts_as_running_until_it_is_read() {
    let slots = crate::slots::Slots::new(small());
    let (slot, _) = slots.take(std::net::Ipv4Addr::LOCALHOST.into());
    let large = Bytes::from(vec![7; 40_000]);
    let mut body = crate::response_body::TrackedBody::new(Full::new(large.clone()), slot.begin());
    assert_eq!(body.size_hint().exact(), Some(40_000));
    let mut read = Vec::new();
    for size in [16_384, 16_384, 7_232] {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(chunk.len(), size);
        read.extend_from_slice(&chunk);
        assert!(slot.unread_until().is_some() && slot.idle_until().is_none());
        assert!(!body.is_end_stream(), "the end would be sent with the chunk");
    }
    assert_eq!(read, large);
    assert!(body.frame().await.is_none());
    assert!(slot.unread_until().is_none());
    drop(body);
    assert!(slot.idle_until().is_some());
}

#[tokio::test]
async fn slow_responses_close_the_connection() {
    let limits = Limits { response: Some(Duration::from_millis(50)), ..small() };
    let address = server(limits).await;
    let mut stream = connect(address).await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    closed(stream).await;
}

#[tokio::test]
async fn request_headers_are_size_limited() {
    let address = server(Limits { header_bytes: 16 << 10, ..small() }).await;
    let mut stream = connect(address).await;
    let long = "x".repeat(20 << 10);
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {long}\r\n\r\n");
    // The server may close before everything is written.
    stream.write_all(request.as_bytes()).await.ok();
    let mut buffer = [0; 64];
    let read = timeout(DEADLINE, stream.read(&mut buffer)).await.unwrap().unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
}

#[test]
fn limits_shrink_with_the_file_limit() {
    let limits = Limits::default().within(1024);
    assert!(limits.connections() <= 512 && limits.operators > 0, "{limits:?}");
    assert_eq!(Limits::default().within(u64::MAX), Limits::default());
    assert!(Limits::default().within(4).unauthenticated > 0);
}
