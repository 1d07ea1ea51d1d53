//! A snapshot of etcd's data, streamed to a writer of the caller.
//!
//! `Maintenance.Snapshot` sends the database of one member, followed by its SHA-256, which etcd
//! checks when the snapshot is restored. Both are written, so that the file is identical to that of
//! `etcdctl snapshot save`. The digest is verified while it is received.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::forward::{self, Connected};
use super::{Etcd, Request, Way};

/// Path of the snapshot request.
pub const PATH: &str = "/v3/maintenance/snapshot";
/// Maximum silence of etcd between two chunks.
const SILENCE: Duration = Duration::from_secs(30);
/// Maximum length of a line, in bytes. etcd sends chunks of 32 KiB, which become 44 KiB of base64.
const LONGEST_LINE: usize = 1 << 20;
/// Maximum size of an error response, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Length of the digest at the end, in bytes.
const DIGEST: usize = 32;
/// Minimum page size of a database. etcd only expects a digest if the length is a multiple of it
/// plus a digest.
const PAGE: u64 = 512;

/// Snapshot errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// etcd is unreachable or rejects the request.
    #[error(transparent)]
    Etcd(#[from] super::Error),
    /// etcd aborted the snapshot with an error.
    #[error("etcd aborted the snapshot: {message}")]
    Ended {
        /// Error message of etcd.
        message: String,
    },
    /// etcd stopped sending.
    #[error("etcd sent nothing for {} seconds", SILENCE.as_secs())]
    Silent,
    /// The response is invalid.
    #[error("parse the snapshot stream of etcd: {problem}")]
    Answer {
        /// The problem.
        problem: String,
    },
    /// The database is larger than the limit.
    #[error("the etcd database has {size_bytes} bytes; the limit is {most_bytes}")]
    TooLarge {
        /// Size of the database.
        size_bytes: u64,
        /// The limit.
        most_bytes: u64,
    },
    /// The stream ended early.
    #[error("etcd sent {received_bytes} bytes of the snapshot but announced {announced_bytes}")]
    Truncated {
        /// Received size.
        received_bytes: u64,
        /// Announced size.
        announced_bytes: u64,
    },
    /// The digest does not match the data.
    #[error("the snapshot is corrupt: its SHA-256 does not match")]
    Digest,
    /// Writing to the sink failed.
    #[error("write the snapshot")]
    Write {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A complete snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Number of bytes written: the database and its digest.
    pub size_bytes: u64,
    /// SHA-256 of everything written, in hexadecimal.
    pub sha256: String,
}

impl Etcd {
    /// Writes a snapshot of the member on `node`. All bytes have been written when it returns. The
    /// snapshot contains what this member has received; call [`view`](Etcd::view) before to make
    /// sure that it is up to date.
    ///
    /// # Cancellation
    ///
    /// The data written so far stays, without the digest.
    ///
    /// # Errors
    ///
    /// [`Error`] if etcd does not respond, aborts, sends more than `most_bytes` or inconsistent
    /// data, or if writing to `sink` fails. The data written so far is unusable.
    pub async fn snapshot(
        &self,
        node: &str,
        most_bytes: u64,
        sink: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<Taken, Error> {
        let receiver = Receiver::new(most_bytes, sink);
        match &self.way {
            Way::Forward { client, authority } => {
                let connecting = forward::connect(client, authority, node);
                let Connected { stream, task, pod } = tokio::time::timeout(SILENCE, connecting)
                    .await
                    .map_err(|_| Error::Silent)??;
                let taken = receive(stream, &pod, receiver).await;
                drop(task);
                taken
            }
            Way::Other(answerer) => {
                let request = Request {
                    namespace: self.namespace.clone(),
                    cluster: self.cluster.clone(),
                    node: node.to_owned(),
                    path: PATH,
                    body: json!({}),
                };
                let answer = answerer(request).await?;
                let mut receiver = receiver;
                for line in answer.as_array().into_iter().flatten() {
                    receiver.line(line.to_string().as_bytes()).await?;
                }
                receiver.end().await
            }
        }
    }
}

/// Sends the request over a connection and receives the response.
async fn receive<W: AsyncWrite + Unpin + Send>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    pod: &str,
    mut receiver: Receiver<'_, W>,
) -> Result<Taken, Error> {
    let failed = |source| super::Error::Http { path: PATH, pod: pod.to_owned(), source };
    let broken = |error: &dyn std::fmt::Display| Error::Answer { problem: error.to_string() };
    let shaking = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = shaking.await.map_err(failed)?;
    let exchange = async {
        let request = forward::request(PATH, &Value::Object(serde_json::Map::new()))
            .map_err(|error| broken(&error))?;
        let asked = tokio::time::timeout(SILENCE, sender.send_request(request));
        let answer = asked.await.map_err(|_| Error::Silent)?.map_err(failed)?;
        let is_success = answer.status().is_success();
        let mut body = answer.into_body();
        if !is_success {
            let said = Limited::new(body, LONGEST_REFUSAL).collect();
            let said = tokio::time::timeout(SILENCE, said).await.map_err(|_| Error::Silent)?;
            let said = said.map_err(|error| broken(&error))?.to_bytes();
            let message = forward::message(&said);
            return Err(super::Error::Refused { path: PATH, message }.into());
        }
        loop {
            let frame = tokio::time::timeout(SILENCE, body.frame());
            match frame.await.map_err(|_| Error::Silent)? {
                None => return receiver.end().await,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        receiver.bytes(&data).await?;
                    }
                }
                // The stream ended early.
                Some(Err(source)) => return Err(failed(source).into()),
            }
        }
    };
    let driven = async {
        // The exchange reports how it ended.
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        taken = exchange => taken,
        () = driven => Err(Error::Silent),
    }
}

/// A message of the stream: the gateway writes one JSON object per line.
#[derive(Deserialize)]
struct Line {
    result: Option<Message>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Message {
    /// Remaining bytes of the database. Omitted if zero.
    #[serde(alias = "remainingBytes")]
    remaining_bytes: Option<String>,
    #[serde(default)]
    blob: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

/// Receives lines, writes their data, and verifies it.
struct Receiver<'a, W> {
    most_bytes: u64,
    sink: &'a mut W,
    rest: BytesMut,
    /// The last bytes so far, which may be the digest.
    tail: Vec<u8>,
    database: Sha256,
    file: Sha256,
    received_bytes: u64,
    /// Size of the database, from the first message.
    announced_bytes: Option<u64>,
    remaining_bytes: u64,
}

impl<'a, W: AsyncWrite + Unpin + Send> Receiver<'a, W> {
    fn new(most_bytes: u64, sink: &'a mut W) -> Self {
        Self {
            most_bytes,
            sink,
            rest: BytesMut::new(),
            tail: Vec::new(),
            database: Sha256::new(),
            file: Sha256::new(),
            received_bytes: 0,
            announced_bytes: None,
            remaining_bytes: 0,
        }
    }

    /// Receives a chunk, which need not end with a line.
    async fn bytes(&mut self, bytes: &Bytes) -> Result<(), Error> {
        let from = self.rest.len();
        self.rest.extend_from_slice(bytes);
        let mut searched = from;
        while let Some(end) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(searched + end);
            self.rest.advance(1);
            searched = 0;
            self.line(&line).await?;
        }
        match self.rest.len() > LONGEST_LINE {
            true => {
                Err(Error::Answer { problem: format!("a line has more than {LONGEST_LINE} bytes") })
            }
            false => Ok(()),
        }
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        let unreadable =
            |error: &dyn std::fmt::Display| Error::Answer { problem: error.to_string() };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        if line.len() > LONGEST_LINE {
            return Err(unreadable(&format!("a line has more than {LONGEST_LINE} bytes")));
        }
        let line: Line = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
        if let Some(Refusal { message }) = line.error {
            let message =
                capn_text::display::line(&message, capn_text::display::SERVER_TEXT).into_owned();
            return Err(Error::Ended { message });
        }
        let Some(message) = line.result else { return Err(unreadable(&"a line without a result")) };
        let remaining = message.remaining_bytes.as_deref().unwrap_or("0");
        let remaining: u64 = remaining.parse().map_err(|error| unreadable(&error))?;
        let blob = STANDARD.decode(&message.blob).map_err(|error| unreadable(&error))?;
        let length = u64::try_from(blob.len()).unwrap_or(u64::MAX);
        let announced = *self.announced_bytes.get_or_insert(remaining.saturating_add(length));
        self.remaining_bytes = remaining;
        self.received_bytes = self.received_bytes.saturating_add(length);
        // The received size counts, not the announced one.
        let size_bytes = announced.max(self.received_bytes.saturating_sub(DIGEST as u64));
        if size_bytes > self.most_bytes {
            return Err(Error::TooLarge { size_bytes, most_bytes: self.most_bytes });
        }
        self.tail.extend_from_slice(&blob);
        let sure = self.tail.len().saturating_sub(DIGEST);
        self.database.update(&self.tail[..sure]);
        self.tail.drain(..sure);
        self.file.update(&blob);
        self.sink.write_all(&blob).await.map_err(|source| Error::Write { source })
    }

    async fn end(mut self) -> Result<Taken, Error> {
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest).await?;
        let announced = self.announced_bytes.unwrap_or(0).saturating_add(DIGEST as u64);
        let is_whole = self.remaining_bytes == 0 && self.received_bytes == announced;
        if !is_whole || self.announced_bytes.is_none() {
            let received_bytes = self.received_bytes;
            return Err(Error::Truncated { received_bytes, announced_bytes: announced });
        }
        let is_database = self.received_bytes % PAGE == DIGEST as u64;
        if !is_database || self.database.finalize().as_slice() != self.tail {
            return Err(Error::Digest);
        }
        self.sink.flush().await.map_err(|source| Error::Write { source })?;
        let sha256 = hex::encode(self.file.finalize());
        Ok(Taken { size_bytes: self.received_bytes, sha256 })
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
