//! A process without file descriptors, so this test needs a process of its own.

use std::{convert::Infallible, time::Duration};

use bounded_http::{Limits, serve};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

#[tokio::test]
async fn the_server_recovers_from_file_descriptor_exhaustion() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let make_service = |_| {
        tower::service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"here"))))
        })
    };
    let server = tokio::spawn(serve(
        listener,
        None,
        Limits::default(),
        make_service,
        std::future::pending(),
    ));
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum }).unwrap();
    // Both ends are in this process: when no more can be opened, none can be accepted either.
    let mut idle = Vec::new();
    while let Ok(stream) = TcpStream::connect(address).await {
        idle.push(stream);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let response = loop {
        assert!(Instant::now() < deadline && !server.is_finished(), "the server answers");
        idle.pop();
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let mut response = String::new();
        let read = async {
            stream.write_all(request).await.ok();
            stream.read_to_string(&mut response).await.ok();
        };
        tokio::time::timeout(Duration::from_secs(5), read).await.ok();
        if !response.is_empty() {
            break response;
        }
        sleep(Duration::from_millis(5)).await;
    };
    assert!(response.ends_with("here"), "{response}");
}
