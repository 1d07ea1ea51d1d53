//! Body of an upload: files streamed from disk.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::call::Body;
use crate::error::{Error, Result};

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A body of known length.
pub(crate) struct Upload {
    pub(crate) content_type: String,
    pub(crate) length: u64,
    chunks: Vec<Chunks>,
}

/// Large enough for few system calls, small enough for smooth progress.
const CHUNK_SIZE: usize = 256 << 10;

impl Upload {
    /// One file without any wrapping.
    pub(crate) async fn file(path: &Path) -> Result<Self> {
        let (length, chunks) = open(path).await?;
        Ok(Self { content_type: "application/octet-stream".into(), length, chunks: vec![chunks] })
    }

    /// Named files as `multipart/form-data`, in this order.
    pub(crate) async fn form(parts: &[(&str, &Path)]) -> Result<Self> {
        let boundary = format!("incus-client-{}", uuid::Uuid::new_v4().simple());
        let mut upload = Self {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            length: 0,
            chunks: Vec::new(),
        };
        for (name, path) in parts {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let file: String =
                file.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
            upload.text(format!(
                "--{boundary}\r\n\
                 Content-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            ));
            let (length, chunks) = open(path).await?;
            upload.length += length;
            upload.chunks.push(chunks);
            upload.text("\r\n".to_owned());
        }
        upload.text(format!("--{boundary}--\r\n"));
        Ok(upload)
    }

    fn text(&mut self, text: String) {
        self.length += text.len() as u64;
        self.chunks.push(Box::pin(stream::once(async { Ok(Bytes::from(text)) })));
    }

    /// Converts to a body. Calls `sent` with the number of bytes sent so far.
    pub(crate) fn into_body(self, sent: Arc<dyn Fn(u64) + Send + Sync>) -> Body {
        let mut total = 0;
        let frames = stream::iter(self.chunks).flatten().map(move |chunk| {
            let bytes = chunk?;
            total += bytes.len() as u64;
            sent(total);
            Ok(Frame::data(bytes))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

async fn open(path: &Path) -> Result<(u64, Chunks)> {
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    let file = File::open(path).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    Ok((length, Box::pin(ReaderStream::with_capacity(file, CHUNK_SIZE))))
}
