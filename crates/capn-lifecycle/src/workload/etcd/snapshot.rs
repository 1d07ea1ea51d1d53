//! A snapshot of etcd's data, written piece by piece to where the caller wants it.
//!
//! `Maintenance.Snapshot` sends the database of one member and last the SHA-256 of it, which etcd looks
//! for when the snapshot is restored. Both are written, so that the file is what `etcdctl snapshot save`
//! makes; that they fit is checked on the way.

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

/// What is asked of the gateway.
pub const PATH: &str = "/v3/maintenance/snapshot";
/// How long etcd may be silent between two pieces.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest line of the answer. etcd sends pieces of 32 KiB, which are 44 KiB as text.
const LONGEST_LINE: usize = 1 << 20;
/// Longest refusal.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Length of the digest at the end.
const DIGEST: usize = 32;
/// A database consists of pages, and no page is smaller: what is not a multiple of it with a digest
/// behind has no digest, as etcd sees it.
const PAGE: u64 = 512;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// etcd is not reached, or refuses.
    #[error(transparent)]
    Etcd(#[from] super::Error),
    /// etcd broke off and said why.
    #[error("etcd ended the snapshot: {message}")]
    Ended {
        /// What it said.
        message: String,
    },
    /// etcd is silent.
    #[error("etcd sent nothing for {} seconds", SILENCE.as_secs())]
    Silent,
    /// The answer makes no sense.
    #[error("read what etcd sent: {problem}")]
    Answer {
        /// What is wrong with it.
        problem: String,
    },
    /// The database is larger than the caller takes.
    #[error("the database of etcd has {size_bytes} bytes, and at most {most_bytes} are taken")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
        /// The most.
        most_bytes: u64,
    },
    /// Something is missing at the end.
    #[error("etcd sent {received_bytes} bytes of the snapshot, and announced {announced_bytes}")]
    Truncated {
        /// What came.
        received_bytes: u64,
        /// What was to come.
        announced_bytes: u64,
    },
    /// The data is not what etcd sent.
    #[error("the snapshot is damaged: its SHA-256 is not the one at its end")]
    Digest,
    /// What came cannot be kept.
    #[error("write the snapshot")]
    Write {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A snapshot that was written as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Length of what was written: the database and its digest.
    pub size_bytes: u64,
    /// SHA-256 of all that was written, in hexadecimal.
    pub sha256: String,
}

impl Etcd {
    /// Writes a snapshot of the member on `node`, and has the last byte written when it returns. What
    /// the member has is what it has heard of: a [`view`](Etcd::view) of it before says that it keeps up.
    ///
    /// # Cancellation
    ///
    /// What was written stays, without an end.
    ///
    /// # Errors
    ///
    /// When etcd does not answer, breaks off, sends more than `most_bytes` or something else than it
    /// says, or `sink` does not take it. What was written until then is worth nothing.
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
                let Connected { stream, forwarder, pod } =
                    tokio::time::timeout(SILENCE, connecting)
                        .await
                        .map_err(|_| Error::Silent)??;
                let taken = receive(stream, &pod, receiver).await;
                drop(forwarder);
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

/// Asks over a connection, and takes what comes.
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
                // Before all of it was there.
                Some(Err(source)) => return Err(failed(source).into()),
            }
        }
    };
    let driven = async {
        // How it ended is what the exchange meets.
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        taken = exchange => taken,
        () = driven => Err(Error::Silent),
    }
}

/// One message of the stream, as the gateway writes it: one JSON object a line.
#[derive(Deserialize)]
struct Line {
    result: Option<Message>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Message {
    /// Bytes of the database that are still to come; left out where it is zero.
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

/// Takes lines, writes what is in them, and checks it.
struct Receiver<'a, W> {
    most_bytes: u64,
    sink: &'a mut W,
    rest: BytesMut,
    /// What may be the digest: the last bytes so far.
    tail: Vec<u8>,
    database: Sha256,
    file: Sha256,
    received_bytes: u64,
    /// Length of the database, as the first message says it.
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

    /// Takes bytes that need not end with a line.
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
            let message = capn_text::shown::line(&message, capn_text::shown::SAID).into_owned();
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
        // Whatever was announced: what comes counts.
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
