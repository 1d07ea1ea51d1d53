//! Connections that only send part of a request.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attack::client::ApiClient;
use crate::attack::fixture::Fixture;
use crate::attack::table::AttackResult;

/// Time limit for connecting. A refused connection is skipped.
const CONNECT: Duration = Duration::from_secs(2);
/// How long to wait for a connection to be closed.
const LOOK: Duration = Duration::from_millis(500);
/// Number of connections opened concurrently.
const AT_ONCE: usize = 64;

/// Opens connections without TLS, sends `first` on each, and keeps them open.
pub(crate) async fn open_plain(fixture: &Fixture, address: SocketAddr, count: usize, first: &[u8]) {
    let make = |_| async move {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(first).await.ok()?;
        Some(stream)
    };
    keep(fixture, count, make).await;
}

/// The same with TLS.
pub(crate) async fn open_tls(fixture: &Fixture, caller: &ApiClient, count: usize, first: &[u8]) {
    let make = |_| async move {
        let mut stream = caller.stream().await.ok()?;
        stream.write_all(first).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    };
    keep(fixture, count, make).await;
}

async fn keep<S: Send + 'static, F>(fixture: &Fixture, count: usize, make: impl Fn(usize) -> F)
where
    F: Future<Output = Option<S>>,
{
    made(count, make).await.into_iter().for_each(|stream| fixture.keep(stream));
}

async fn made<S, F>(count: usize, make: impl Fn(usize) -> F) -> Vec<S>
where
    F: Future<Output = Option<S>>,
{
    use futures::StreamExt as _;
    futures::stream::iter(0..count)
        .map(|number| timeout(CONNECT, make(number)))
        .buffer_unordered(AT_ONCE)
        .filter_map(async |made| made.ok().flatten())
        .collect()
        .await
}

/// Opens connections with TLS. Returns how many are still open after the last one was made.
pub(crate) async fn open_of_tls(caller: &ApiClient, count: usize) -> usize {
    still_open(made(count, |_| async { caller.stream().await.ok() }).await).await
}

/// The same without TLS, counting connections on which a request was answered.
pub(crate) async fn open_of_plain(address: SocketAddr, count: usize) -> usize {
    let make = |_| async move {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await.ok()? == 0 {
                return None;
            }
        }
        Some(stream)
    };
    still_open(made(count, make).await).await
}

async fn still_open<S: AsyncRead + Unpin>(mut streams: Vec<S>) -> usize {
    // Read earlier responses to their end, or until the connection closes.
    let looks = streams.iter_mut().map(|stream| async {
        let mut sink = tokio::io::sink();
        timeout(LOOK, tokio::io::copy(stream, &mut sink)).await.is_err()
    });
    futures::future::join_all(looks).await.into_iter().filter(|open| *open).count()
}

/// Sends bytes over TLS and reads the response for a while.
pub(crate) async fn exchange(caller: &ApiClient, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchanging = async {
        let stream = caller.stream().await.ok()?;
        let (reader, mut writer) = tokio::io::split(stream);
        let reading = reader.take(1 << 20);
        tokio::pin!(reading);
        let (page, read) =
            tokio::join!(write(&mut writer, bytes), reading.read_to_end(&mut answer));
        page.and(read.map(drop)).ok()
    };
    // What was received until then is the response.
    drop(timeout(patience, exchanging).await);
    answer
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Sends the same bytes over many connections concurrently.
pub(crate) async fn many(
    caller: &ApiClient,
    count: usize,
    bytes: &[u8],
    patience: Duration,
) -> AttackResult {
    let all = (0..count).map(|_| exchange(caller, bytes, patience));
    futures::future::join_all(all).await;
    Ok(())
}
