//! Port-forwarding to a pod of a workload cluster.
//!
//! The implementation in the library buffers messages of 64 MiB, and continues after its user is
//! gone.

use std::io;

use bytes::Bytes;
use capn_text::display;
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use kube::core::{Request, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_util::task::AbortOnDropHandle;

/// Maximum size of a message, in bytes. API servers send what one read of a connection returns: 32
/// KiB.
const LONGEST_MESSAGE: usize = 256 << 10;
/// Buffer size per direction, in bytes.
const BUFFER: usize = 64 << 10;
/// Maximum size of an error response, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Kubernetes' framing: the first byte of a message is the channel; each port has two channels.
const PROTOCOL: &str = "v4.channel.k8s.io";
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Port-forwarding errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The pod name cannot be used in a request.
    #[error("the name of the Pod cannot be used in a request")]
    Name {
        /// The cause.
        #[source]
        source: kube::core::request::Error,
    },
    /// The request got no response.
    #[error("the API server does not respond")]
    Request {
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server rejected the request.
    #[error("the API server responded with {status}: {said}")]
    Refused {
        /// Status of the response.
        status: StatusCode,
        /// Message of the response, in one line.
        said: String,
    },
    /// The response accepts the request but violates the WebSocket or Kubernetes protocol.
    #[error(
        "the API server does not support {PROTOCOL}: its response has an invalid {header} header"
    )]
    Protocol {
        /// The invalid header.
        header: &'static str,
    },
    /// The connection was lost before it could be used.
    #[error("the connection to the API server was lost")]
    Upgrade {
        /// The cause.
        #[source]
        source: hyper::Error,
    },
}

/// A connection to a port of a pod.
#[derive(Debug)]
pub struct Forward {
    /// Data from and to the pod.
    pub stream: DuplexStream,
    /// Task that carries the data. Dropping it closes the connection.
    pub task: AbortOnDropHandle<()>,
}

/// Connects to a port of a pod through the API server. A message of more than 256 KiB closes the
/// connection.
///
/// # Errors
///
/// [`ForwardError`] if the connection cannot be established. Later failures end the stream.
///
/// # Cancellation
///
/// Safe: the connection is closed.
pub async fn forward(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
) -> Result<Forward, ForwardError> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let request = Request::new(path).portforward(pod, &[port]);
    let (mut head, _) = request.map_err(|source| ForwardError::Name { source })?.into_parts();
    let key = generate_key();
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
    ];
    head.headers.extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    // Base64 is a valid header value.
    if let Ok(key) = HeaderValue::from_str(&key) {
        head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    let answer = client
        .send(http::Request::from_parts(head, Body::empty()))
        .await
        .map_err(|source| ForwardError::Request { source: Box::new(source) })?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_REFUSAL).collect().await;
        let said = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(ForwardError::Refused { status, said: refusal(&said) });
    }
    check(answer.headers(), &key).map_err(|header| ForwardError::Protocol { header })?;
    let upgraded =
        hyper::upgrade::on(answer).await.map_err(|source| ForwardError::Upgrade { source })?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE))
        .max_write_buffer_size(LONGEST_MESSAGE);
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
    let (stream, far) = tokio::io::duplex(BUFFER);
    let (pod, port) = (pod.to_owned(), port);
    let task = tokio::spawn(async move {
        if let Err(error) = carry(socket, far).await {
            tracing::debug!(pod, port, %error, "a port-forward failed");
        }
    });
    Ok(Forward { stream, task: AbortOnDropHandle::new(task) })
}

/// Returns the message of an API server, if it is a Status.
fn refusal(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Status>(body).map(|status| status.message);
    display::line(&said.unwrap_or_default(), 300).into_owned()
}

/// Checks the value of a header.
fn check(headers: &HeaderMap, key: &str) -> Result<(), &'static str> {
    let is = |name: header::HeaderName, value: &str| {
        let given = headers.get(name).and_then(|value| value.to_str().ok());
        given.is_some_and(|given| given.eq_ignore_ascii_case(value))
    };
    if !is(header::UPGRADE, "websocket") {
        return Err("Upgrade");
    }
    if !is(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err("Sec-WebSocket-Protocol");
    }
    let accepted = headers.get(header::SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err("Sec-WebSocket-Accept");
    }
    Ok(())
}

/// Copies data in both directions until one side ends.
async fn carry<S>(socket: S, mut local: DuplexStream) -> Result<(), WebSocketError>
where
    S: Stream<Item = Result<Message, WebSocketError>>
        + futures::Sink<Message, Error = WebSocketError>,
{
    let (mut to_pod, mut from_pod) = socket.split();
    let mut channels = Channels::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            message = from_pod.next() => match message.transpose()? {
                Some(Message::Binary(message)) => {
                    if let Some(data) = channels.read(&message)? {
                        local.write_all(data).await?;
                    }
                }
                Some(Message::Close(_)) | None => return Ok(()),
                Some(_) => {}
            },
            read = local.read(&mut buffer) => match read? {
                0 => return to_pod.send(Message::Close(None)).await,
                read => {
                    let mut message = Vec::with_capacity(read + 1);
                    message.push(DATA);
                    message.extend_from_slice(&buffer[..read]);
                    to_pod.send(Message::Binary(Bytes::from(message))).await?;
                }
            },
        }
    }
}

/// Channels that have announced their port: the first message of each is two bytes.
#[derive(Default)]
struct Channels([bool; 2]);

impl Channels {
    /// Returns the data of a message, if it has any.
    fn read<'a>(&mut self, message: &'a [u8]) -> io::Result<Option<&'a [u8]>> {
        let Some((&channel @ (DATA | ERROR), data)) = message.split_first() else {
            return Err(io::Error::other("received a message on an unknown channel"));
        };
        if !std::mem::replace(&mut self.0[usize::from(channel)], true) {
            return match data.len() {
                2 => Ok(None),
                _ => Err(io::Error::other("the first message of a channel is not the port")),
            };
        }
        match channel {
            DATA => Ok(Some(data).filter(|data| !data.is_empty())),
            _ => {
                let said = String::from_utf8_lossy(data);
                Err(io::Error::other(display::line(&said, 300).into_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn channels_say_their_port_then_carry_data_or_an_error() {
        let mut channels = Channels::default();
        assert_eq!(channels.read(&[DATA, 75, 9]).unwrap(), None);
        assert_eq!(channels.read(&[ERROR, 75, 9]).unwrap(), None);
        assert_eq!(channels.read(&[DATA, 1, 2]).unwrap(), Some(&[1, 2][..]));
        assert_eq!(channels.read(&[DATA]).unwrap(), None);
        let refused = channels.read(b"\x01connection refused\x1b[2J").unwrap_err();
        assert!(refused.to_string().starts_with("connection refused"), "{refused}");
        assert!(!refused.to_string().contains('\u{1b}'));
        for bad in [&[][..], &[2, 0, 0][..], &[255][..]] {
            channels.read(bad).unwrap_err();
        }
        Channels::default().read(&[DATA, 1, 2, 3]).unwrap_err();
    }

    #[test]
    fn an_answer_is_one_to_this_request() {
        let key = base64::engine::general_purpose::STANDARD.encode([7; 16]);
        let accept = derive_accept_key(key.as_bytes());
        let good = [
            ("upgrade", "WebSocket"),
            ("sec-websocket-protocol", PROTOCOL),
            ("sec-websocket-accept", &accept),
        ];
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &str)| {
                (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            };
            pairs.iter().map(pair).collect()
        };
        assert_eq!(check(&headers(&good), &key), Ok(()));
        for (at, wrong) in
            ["Upgrade", "Sec-WebSocket-Protocol", "Sec-WebSocket-Accept"].into_iter().enumerate()
        {
            let mut bad = good;
            bad[at].1 = "x";
            assert_eq!(check(&headers(&bad), &key), Err(wrong));
        }
    }

    #[tokio::test]
    async fn an_oversized_message_ends_the_stream() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE));
        let client = WebSocketStream::from_raw_socket(near, Role::Client, Some(config)).await;
        let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let (mut stream, local) = tokio::io::duplex(BUFFER);
        let carried = tokio::spawn(carry(client, local));
        for message in [vec![DATA, 1, 2], b"\0hello".to_vec(), vec![0; LONGEST_MESSAGE + 1]] {
            server.send(Message::Binary(message.into())).await.unwrap();
        }
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"hello");
        assert!(matches!(carried.await.unwrap(), Err(WebSocketError::Capacity(_))));
    }
}
