//! A scripted server, with or without TLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::attack::tls::{CertifiedKey, own_address, self_signed, serving};

/// Maximum number of bytes sent per connection.
const MOST: usize = 2 << 30;
/// Maximum number of bytes read of a request.
const HEAD: usize = 1 << 20;

/// Response to a request.
pub(crate) enum Reply {
    /// These bytes, then close.
    Whole(Vec<u8>),
    /// The first bytes, then the second ones repeatedly.
    Endless(Vec<u8>, Vec<u8>),
    /// The first bytes, then one byte of the second ones per second.
    Slow(Vec<u8>, Vec<u8>),
    /// Nothing; keeps the connection open.
    Silent,
    /// Completes a WebSocket handshake, then sends the bytes repeatedly.
    WebSocket(Vec<u8>),
    /// Completes a WebSocket handshake, then sends the bytes once and keeps the connection open.
    FirstMessage(Vec<u8>),
}

type Script = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// A scripted server, until it is dropped.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    pub(crate) pair: CertifiedKey,
    heard: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

/// One of the open connections.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hostile {
    /// With TLS; the script receives the request path.
    pub(crate) async fn start(
        script: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::open(own_address(), true, Arc::new(script)).await
    }

    /// With TLS, on the loopback address.
    pub(crate) async fn on_loopback(
        script: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::open(Ipv4Addr::LOCALHOST.into(), true, Arc::new(script)).await
    }

    /// Without TLS.
    pub(crate) async fn plain(
        script: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::open(own_address(), false, Arc::new(script)).await
    }

    async fn open(at: IpAddr, tls: bool, script: Script) -> anyhow::Result<Self> {
        let pair = self_signed("hostile", &[])?;
        let acceptor = match tls {
            true => Some(TlsAcceptor::from(serving(&pair)?)),
            false => None,
        };
        let listener = TcpListener::bind((at, 0)).await?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (ears, counter) = (Arc::clone(&heard), Arc::clone(&connections));
        let open = Arc::new(AtomicUsize::new(0));
        let open_now = Arc::clone(&open);
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            // Connections end with the server.
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let (acceptor, script, ears) =
                    (acceptor.clone(), Arc::clone(&script), Arc::clone(&ears));
                let counted = Counted::new(&open_now);
                running.spawn(async move {
                    let _counted = counted;
                    // The client may disconnect at any time.
                    match acceptor {
                        None => drop(answer(stream, &script, &ears).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(answer(stream, &script, &ears).await);
                            }
                        }
                    }
                });
            }
        }));
        Ok(Self { address, pair, heard, connections, open, _accepting: accepting })
    }

    /// All requests so far.
    pub(crate) fn heard(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Number of connections that are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    ears: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    ears.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&head);
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    match script(path) {
        Reply::Whole(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Reply::Endless(first, again) => {
            stream.write_all(&first).await?;
            repeat(&mut stream, &again).await
        }
        Reply::Slow(first, rest) => {
            stream.write_all(&first).await?;
            for byte in rest {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Reply::Silent => std::future::pending().await,
        Reply::WebSocket(again) => {
            stream.write_all(&switching(&head)).await?;
            repeat(&mut stream, &again).await
        }
        Reply::FirstMessage(bytes) => {
            stream.write_all(&switching(&head)).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
        }
    }
}

async fn repeat(stream: &mut (impl AsyncWrite + Unpin), again: &[u8]) -> std::io::Result<()> {
    let mut sent = 0;
    while sent < MOST && !again.is_empty() {
        stream.write_all(again).await?;
        sent += again.len();
    }
    std::future::pending().await
}

/// Response that completes a WebSocket handshake.
fn switching(head: &str) -> Vec<u8> {
    let accept = accept_key(head);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

fn accept_key(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap_or_default());
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// A response with a body.
pub(crate) fn reply(status: &str, content_type: &str, body: &[u8]) -> Reply {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Reply::Whole([head.as_bytes(), body].concat())
}

pub(crate) fn json_reply(body: &str) -> Reply {
    reply("200 OK", "application/json", body.as_bytes())
}
