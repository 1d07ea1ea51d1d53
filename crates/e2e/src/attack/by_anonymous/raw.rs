//! Connections of which only a part is sent.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attack::client::Caller;
use crate::attack::scene::Scene;
use crate::attack::table::Done;

/// How long one connection may take to be made. Where there is no place for it, it is given up.
const CONNECT: Duration = Duration::from_secs(2);
/// How long is waited for the end of one.
const LOOK: Duration = Duration::from_millis(500);
/// How many are made at the same time.
const AT_ONCE: usize = 64;

/// Opens connections without TLS, sends `first` over each, and keeps them.
pub(crate) async fn open_plain(scene: &Scene, address: SocketAddr, count: usize, first: &[u8]) {
    let make = |_| async move {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(first).await.ok()?;
        Some(stream)
    };
    keep(scene, count, make).await;
}

/// The same with TLS.
pub(crate) async fn open_tls(scene: &Scene, caller: &Caller, count: usize, first: &[u8]) {
    let make = |_| async move {
        let mut stream = caller.stream().await.ok()?;
        stream.write_all(first).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    };
    keep(scene, count, make).await;
}

async fn keep<S: Send + 'static, F>(scene: &Scene, count: usize, make: impl Fn(usize) -> F)
where
    F: Future<Output = Option<S>>,
{
    made(count, make).await.into_iter().for_each(|stream| scene.keep(stream));
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

/// Of so many connections with TLS those that are still open when the last was made.
pub(crate) async fn open_of_tls(caller: &Caller, count: usize) -> usize {
    still_open(made(count, |_| async { caller.stream().await.ok() }).await).await
}

/// The same without TLS, of those over which a request was answered.
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
    // What was answered before is read to its end, or to that of the connection.
    let looks = streams.iter_mut().map(|stream| async {
        let mut sink = tokio::io::sink();
        timeout(LOOK, tokio::io::copy(stream, &mut sink)).await.is_err()
    });
    futures::future::join_all(looks).await.into_iter().filter(|open| *open).count()
}

/// Sends bytes over TLS and reads what comes, for a while.
pub(crate) async fn exchange(caller: &Caller, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchanging = async {
        let stream = caller.stream().await.ok()?;
        let (reader, mut writer) = tokio::io::split(stream);
        let reading = reader.take(1 << 20);
        tokio::pin!(reading);
        let (written, read) =
            tokio::join!(write(&mut writer, bytes), reading.read_to_end(&mut answer));
        written.and(read.map(drop)).ok()
    };
    // What came until then is the answer.
    drop(timeout(patience, exchanging).await);
    answer
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Sends the same bytes over many connections at once.
pub(crate) async fn many(caller: &Caller, count: usize, bytes: &[u8], patience: Duration) -> Done {
    let all = (0..count).map(|_| exchange(caller, bytes, patience));
    futures::future::join_all(all).await;
    Ok(())
}
