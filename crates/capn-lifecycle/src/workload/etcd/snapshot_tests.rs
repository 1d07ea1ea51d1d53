use std::convert::Infallible;

use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};

use super::*;

const MOST: u64 = 1 << 20;

/// A database with this many pages.
fn database(pages: u8) -> Vec<u8> {
    (0..pages).flat_map(|page| vec![page; 512]).collect()
}

fn line(remaining: usize, blob: &[u8]) -> String {
    let blob = STANDARD.encode(blob);
    let value = match remaining {
        // Like etcd's gateway.
        0 => json!({ "result": { "blob": blob, "version": "3.6.0" } }),
        n => json!({ "result": { "remaining_bytes": n.to_string(), "blob": blob } }),
    };
    format!("{value}\n")
}

/// The lines that etcd sends for a database, in chunks of three quarters of a page.
fn lines(database: &[u8], digest: &[u8]) -> Vec<String> {
    let mut sent = 0;
    let mut lines: Vec<String> = Vec::new();
    for piece in database.chunks(384) {
        sent += piece.len();
        lines.push(line(database.len() - sent, piece));
    }
    lines.push(line(0, digest));
    lines
}

fn whole(database: &[u8]) -> Vec<String> {
    lines(database, &Sha256::digest(database))
}

/// What the server does with the connection at the end.
#[derive(Clone, Copy)]
enum After {
    End,
    Break,
}

/// Runs a snapshot against a server that responds with these bytes, split in the middle of lines.
async fn answered(status: u16, text: String, after: After) -> (Result<Taken, Error>, Vec<u8>) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        assert_eq!((request.method(), request.uri().path()), (&http::Method::POST, PATH));
        let mut frames: Vec<Result<Frame<Bytes>, std::io::Error>> = text
            .as_bytes()
            .chunks(100)
            .map(|part| Ok(Frame::data(Bytes::copy_from_slice(part))))
            .collect();
        if let After::Break = after {
            frames.push(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        let body = StreamBody::new(futures::stream::iter(frames));
        let answer = http::Response::builder().status(status).body(body).unwrap();
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let server =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
    let mut sink = Vec::new();
    let taken = tokio::select! {
        taken = receive(ours, "etcd-a", Receiver::new(MOST, &mut sink)) => taken,
        _ = async { drop(server.await); std::future::pending::<()>().await } => unreachable!(),
    };
    (taken, sink)
}

#[tokio::test]
async fn a_snapshot_is_written_with_its_digest() {
    let database = database(5);
    let (taken, sink) = answered(200, whole(&database).concat(), After::End).await;
    let taken = taken.unwrap();
    assert_eq!(sink[..database.len()], database[..]);
    assert_eq!(sink[database.len()..], Sha256::digest(&database)[..]);
    assert_eq!(taken.size_bytes, 5 * 512 + 32);
    assert_eq!(taken.sha256, hex::encode(Sha256::digest(&sink)));
}

#[tokio::test]
async fn an_incomplete_snapshot_is_an_error() {
    let database = database(4);
    let good = whole(&database);
    let cut = |lines: usize| good[..lines].concat();
    let wrong = lines(&database, &[7; 32]).concat();
    let mut early = good.clone();
    early.remove(2);
    let refused = "{\"error\":{\"code\":13,\"message\":\"etcdserver: no leader\"}}\n";
    let table: [(&str, String, After, &str); 10] = [
        ("no digest", cut(good.len() - 1), After::End, "etcd sent 2048 bytes"),
        (
            "ends in the middle",
            cut(3),
            After::End,
            "etcd sent 1152 bytes of the snapshot but announced 2080",
        ),
        ("breaks in the middle", cut(3), After::Break, "send /v3/maintenance/snapshot"),
        ("a piece is missing", early.concat(), After::End, "etcd sent 1696 bytes"),
        ("wrong digest", wrong, After::End, "its SHA-256 does not match"),
        ("nothing", String::new(), After::End, "etcd sent 0 bytes"),
        ("no JSON", "oops\n".to_owned(), After::End, "parse the snapshot stream of etcd"),
        (
            "no base64",
            "{\"result\":{\"blob\":\"*\"}}\n".to_owned(),
            After::End,
            "parse the snapshot stream of etcd",
        ),
        ("an endless line", "x".repeat(LONGEST_LINE + 1), After::End, "a line has more than"),
        (
            "gives up",
            format!("{}{refused}", cut(2)),
            After::End,
            "aborted the snapshot: etcdserver: no leader",
        ),
    ];
    for (what, text, after, said) in table {
        let error = answered(200, text, after).await.0.unwrap_err();
        assert!(error.to_string().contains(said), "{what}: {error}");
    }
    let said = "{\"code\":16,\"message\":\"permission denied\"}".to_owned();
    let error = answered(403, said, After::End).await.0.unwrap_err();
    assert_eq!(error.to_string(), "etcd refused /v3/maintenance/snapshot: permission denied");
}

#[tokio::test]
async fn a_snapshot_over_the_limit_is_rejected_before_it_is_written() {
    let announced = line(2 << 20, &[0; 512]);
    let (taken, sink) = answered(200, announced, After::End).await;
    assert!(
        matches!(taken, Err(Error::TooLarge { size_bytes, most_bytes: MOST }) if size_bytes == (2 << 20) + 512)
    );
    assert!(sink.is_empty());
    let silent: String = std::iter::repeat_n(line(0, &vec![0; 300_000]), 5).collect();
    let (taken, sink) = answered(200, silent, After::End).await;
    assert!(matches!(taken, Err(Error::TooLarge { .. })), "{taken:?}");
    assert!(sink.len() as u64 <= MOST);
}
