//! Connections that are opened and not used.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::raw::{exchange, many, open_of_plain, open_of_tls, open_plain, open_tls};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};

/// For as long as what was opened is looked at.
const HOLD: Duration = Duration::from_secs(1);
/// Within which one that does not go on is ended; the times of the limits are shorter.
const TIMES: Duration = Duration::from_secs(23);
/// Connections of strangers at the same time, at most; the limits are lower.
const MOST_OPEN: usize = 600;

pub(super) fn all() -> Vec<Attack> {
    Class::new("connections", Who::Anonymous, On::Serve)
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
        .add("1,500 connections one after the other", churn)
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
        .who(Who::Tenant)
        .gate("connections of one user are counted")
        .add("700 idle connections of one tenant", tenants)
        .who(Who::Anonymous)
        .on(On::Manager)
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

/// The begin of a ClientHello.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaa";

async fn plain(scene: Arc<Scene>, count: usize, first: &[u8]) -> Done {
    open_plain(&scene, scene.plane, count, first).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

async fn tls(scene: Arc<Scene>, count: usize, first: &[u8]) -> Done {
    open_tls(&scene, &scene.anonymous, count, first).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

/// Somebody else still finds a place.
async fn tenants(scene: Arc<Scene>) -> Done {
    open_tls(&scene, &scene.tenant, 700, b"").await;
    let other = scene.definer.again();
    other.get("/version").await?.granted().context("another user finds no place")?;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

/// The other side ends each of them.
async fn stuck(scene: Arc<Scene>) -> Done {
    let handshake = async {
        let mut stream = TcpStream::connect(scene.plane).await?;
        stream.write_all(HALF_HELLO).await?;
        ended(stream, &scene, "half a handshake").await
    };
    let request = async {
        let mut stream = scene.anonymous.stream().await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: ").await?;
        ended(stream, &scene, "half a request").await
    };
    let nothing =
        async { ended(scene.anonymous.stream().await?, &scene, "an idle connection").await };
    tokio::try_join!(handshake, request, nothing).map(drop)
}

async fn ended(mut stream: impl AsyncRead + Unpin, scene: &Scene, what: &str) -> Done {
    let mut sink = tokio::io::sink();
    let reading = tokio::io::copy(&mut stream, &mut sink);
    // However it ends.
    let ended = timeout(TIMES * scene.slower, reading).await.is_ok();
    ensure!(ended, "{what} has no end");
    Ok(())
}

async fn churn(scene: Arc<Scene>) -> Done {
    for _ in 0..1500 {
        drop(TcpStream::connect(scene.plane).await);
    }
    Ok(())
}

async fn broken_handshakes(scene: Arc<Scene>) -> Done {
    for _ in 0..1000 {
        if let Ok(mut stream) = TcpStream::connect(scene.plane).await {
            drop(stream.write_all(HALF_HELLO).await);
        }
    }
    Ok(())
}

async fn request(scene: Arc<Scene>, connections: usize, text: String) -> Done {
    many(&scene.anonymous, connections, text.as_bytes(), Duration::from_secs(3)).await
}

/// Two requests where one was sent, of which the second would be looked at as somebody's.
async fn smuggle(scene: Arc<Scene>) -> Done {
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
        let answer = exchange(&scene.anonymous, text.as_bytes(), Duration::from_millis(500)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        anyhow::ensure!(!answer.contains("SecretList"), "a smuggled request was granted");
    }
    Ok(())
}

/// Most of them lose their place again.
async fn idle(scene: Arc<Scene>) -> Done {
    let open = open_of_tls(&scene.anonymous, 1300).await;
    ensure!(open <= MOST_OPEN, "{open} connections of strangers are open");
    Ok(())
}

async fn idle_probes(scene: Arc<Scene>) -> Done {
    let open = open_of_plain(manager(&scene)?, 1300).await;
    ensure!(open <= MOST_OPEN, "{open} connections to the manager's probes are open");
    Ok(())
}

fn manager(scene: &Scene) -> anyhow::Result<std::net::SocketAddr> {
    scene.probes.get(1).copied().context("there is no manager")
}

async fn probe(scene: Arc<Scene>, count: usize, first: &[u8]) -> Done {
    open_plain(&scene, manager(&scene)?, count, first).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}

async fn endless_probe(scene: Arc<Scene>) -> Done {
    let text = format!(
        "GET /healthz HTTP/1.1\r\nhost: a\r\n{}",
        "x-a: aaaaaaaaaaaaaaaa\r\n".repeat(50_000)
    );
    open_plain(&scene, manager(&scene)?, 40, text.as_bytes()).await;
    tokio::time::sleep(HOLD).await;
    Ok(())
}
