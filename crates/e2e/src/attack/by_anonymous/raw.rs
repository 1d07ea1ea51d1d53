//! Connections of which only a part is sent.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attack::client::Caller;
use crate::attack::scene::Scene;
use crate::attack::table::Done;

/// How long one connection may take to be made. Where there is no place for it, it is given up.
const CONNECT: Duration = Duration::from_secs(2);
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
    use futures::StreamExt as _;
    let mut all = futures::stream::iter(0..count)
        .map(|number| timeout(CONNECT, make(number)))
        .buffer_unordered(AT_ONCE);
    while let Some(made) = all.next().await {
        if let Ok(Some(stream)) = made {
            scene.keep(stream);
        }
    }
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
