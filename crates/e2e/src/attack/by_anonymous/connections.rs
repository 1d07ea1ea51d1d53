//! Connections that are opened but not used.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::raw::{exchange, many, open_of_plain, open_of_tls, open_plain, open_tls};
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

/// How long the opened connections are observed.
const HOLD: Duration = Duration::from_secs(1);
/// Time within which an inactive connection must be closed; the actual limits are shorter.
const TIMES: Duration = Duration::from_secs(23);
/// Maximum number of open connections of unauthenticated clients; the actual limits are lower.
const MOST_OPEN: usize = 600;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("connections", Attacker::Anonymous, Target::Serve)
        .gate("connections of strangers are counted, and idle ones make place; handshakes, headers and idle times have an end; too many open files end nothing")
        .add("1,300 connections that say nothing", |s| plain(s, 1300, b""))
        .add("1,300 idle connections with TLS", idle)
        .add("600 half handshakes", |s| plain(s, 600, HALF_HELLO))
        .add("handshakes of garbage", |s| plain(s, 600, b"GET / HTTP/1.1\r\n\r\n"))
        .add("a TLS record that says it is 64 kB", |s| plain(s, 300, b"\x16\x03\x01\xff\xff\x01"))
        .add("600 half requests", |s| tls(s, 600, b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: "))
        .add("600 requests whose body never comes", |s| {
            tls(s, 600, b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        })
        .add("600 requests that wait to be told to continue", |s| {
            tls(s, 600, b"POST /version HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n")
        })
        .add("connections that never go on", stuck)
        .add("1,500 connections one by one", churn)
        .add("1,000 handshakes that are broken off", broken_handshakes)
        .gate("headers are bounded in size and number")
        .add("headers of 30 MB", |s| {
            request(s, 10, format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{}", format!("x-a: {}\r\n", "a".repeat(8000)).repeat(400)))
        })
        .add("one header of 3 MB", |s| {
            request(s, 10, format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: {}\r\n\r\n", "a".repeat(3_000_000)))
        })
        .add("50,000 headers", |s| {
            request(s, 4, format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(50_000)))
        })
        .add("10,000 requests in one connection, without waiting", |s| {
            request(s, 2, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10_000))
        })
        .add("requests that are smuggled in bodies", smuggle)
        .who(Attacker::Tenant)
        .gate("connections of one user are counted")
        .add("700 idle connections of one tenant", tenants)
        .who(Attacker::Anonymous)
        .on(Target::Manager)
        .gate("the manager's servers have the same limits")
        .add("1,100 half requests to the manager's probes", |s| {
            probe(s, 1100, b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: ")
        })
        .add("1,300 connections to the manager's probes", idle_probes)
        .add("bodies to the manager's probes", |s| {
            probe(s, 200, b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\naaaa")
        })
        .add("endless headers to the manager's probes", endless_probe)
        .end()
}

/// The beginning of a ClientHello.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaa";

async fn plain(fixture: Arc<Fixture>, count: usize, first: &[u8]) -> AttackResult {
    open_plain(&fixture, fixture.plane, count, first).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

async fn tls(fixture: Arc<Fixture>, count: usize, first: &[u8]) -> AttackResult {
    open_tls(&fixture, &fixture.anonymous, count, first).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

/// Another user can still connect.
async fn tenants(fixture: Arc<Fixture>) -> AttackResult {
    open_tls(&fixture, &fixture.tenant, 700, b"").await;
    let other = fixture.definer.again();
    other.get("/version").await?.granted().context("another user cannot connect")?;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

/// The server closes each of them.
async fn stuck(fixture: Arc<Fixture>) -> AttackResult {
    let handshake = async {
        let mut stream = TcpStream::connect(fixture.plane).await?;
        stream.write_all(HALF_HELLO).await?;
        ended(stream, &fixture, "half a handshake").await
    };
    let request = async {
        let mut stream = fixture.anonymous.stream().await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: ").await?;
        ended(stream, &fixture, "half a request").await
    };
    let nothing =
        async { ended(fixture.anonymous.stream().await?, &fixture, "an idle connection").await };
    tokio::try_join!(handshake, request, nothing).map(drop)
}

async fn ended(mut stream: impl AsyncRead + Unpin, fixture: &Fixture, what: &str) -> AttackResult {
    let mut sink = tokio::io::sink();
    let reading = tokio::io::copy(&mut stream, &mut sink);
    // However it ends.
    let ended = timeout(TIMES * fixture.slower, reading).await.is_ok();
    ensure!(ended, "{what} is never closed");
    Ok(())
}

async fn churn(fixture: Arc<Fixture>) -> AttackResult {
    for _ in 0..1500 {
        drop(TcpStream::connect(fixture.plane).await);
    }
    Ok(())
}

async fn broken_handshakes(fixture: Arc<Fixture>) -> AttackResult {
    for _ in 0..1000 {
        if let Ok(mut stream) = TcpStream::connect(fixture.plane).await {
            drop(stream.write_all(HALF_HELLO).await);
        }
    }
    Ok(())
}

async fn request(fixture: Arc<Fixture>, connections: usize, text: String) -> AttackResult {
    many(&fixture.anonymous, connections, text.as_bytes(), Duration::from_secs(3)).await
}

/// Two requests in the body of one, where the second would run with somebody else's rights.
async fn smuggle(fixture: Arc<Fixture>) -> AttackResult {
    let inner = "GET /api/v1/namespaces/canary/secrets HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            inner.len() + 5
        ),
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        "content-length: 0\r\ncontent-length: 5\r\n\r\n".to_owned(),
        "content-length: +0\r\n\r\n".to_owned(),
    ] {
        let text = format!("POST /healthz HTTP/1.1\r\nhost: a\r\n{head}{inner}");
        let answer =
            exchange(&fixture.anonymous, text.as_bytes(), Duration::from_millis(500)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        anyhow::ensure!(!answer.contains("SecretList"), "a smuggled request was granted");
    }
    Ok(())
}

/// Most of them are closed again.
async fn idle(fixture: Arc<Fixture>) -> AttackResult {
    let open = open_of_tls(&fixture.anonymous, 1300).await;
    ensure!(open <= MOST_OPEN, "{open} connections of unauthenticated clients are open");
    Ok(())
}

async fn idle_probes(fixture: Arc<Fixture>) -> AttackResult {
    let open = open_of_plain(manager(&fixture)?, 1300).await;
    ensure!(open <= MOST_OPEN, "{open} connections to the manager's probes are open");
    Ok(())
}

fn manager(fixture: &Fixture) -> anyhow::Result<std::net::SocketAddr> {
    fixture.probes.get(1).copied().context("no manager is running")
}

async fn probe(fixture: Arc<Fixture>, count: usize, first: &[u8]) -> AttackResult {
    open_plain(&fixture, manager(&fixture)?, count, first).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

async fn endless_probe(fixture: Arc<Fixture>) -> AttackResult {
    let text = format!(
        "GET /healthz HTTP/1.1\r\nhost: a\r\n{}",
        "x-a: aaaaaaaaaaaaaaaa\r\n".repeat(50_000)
    );
    open_plain(&fixture, manager(&fixture)?, 40, text.as_bytes()).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}
