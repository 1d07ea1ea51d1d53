//! Exporting an image to local files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use http::header;
use http_body_util::{BodyExt, BodyStream};
use hyper::body::Incoming;
use incus_api::{Method, Request};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::upload::ImageFiles;
use crate::call::{Body, refusal};
use crate::client::Client;
use crate::error::{Call, Error, Result};
use crate::observer::RequestOutcome;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Chunks = BoxStream<'static, Result<Bytes, Failure>>;

/// Names of the exported files. The parts of a split image are recognized by their names in the
/// response, which both servers send.
const METADATA: &str = "metadata";
const ROOT: &str = "rootfs";
const DISK: &str = "rootfs.img";
const UNIFIED: &str = "image";
/// Maximum size of an error response, in bytes.
const ERROR_BODY_LIMIT: usize = 1 << 20;

impl Client {
    /// Writes the files of an image into an existing directory, within `deadline`. Calls `progress`
    /// with the number of bytes written so far.
    ///
    /// # Guarantees
    /// Files are streamed; memory use does not depend on their size. The SHA-256 of their
    /// concatenation is the fingerprint of the image; the caller must check it.
    ///
    /// # Cancellation
    /// Leaves incomplete files behind.
    ///
    /// # Errors
    /// * [`is_not_found`](Error::is_not_found) when there is no such image.
    /// * [`Error::WriteFile`] when a file cannot be written.
    /// * [`Error::ReadAnswer`] when the connection breaks.
    pub async fn export_image(
        &self,
        fingerprint: &str,
        directory: &Path,
        deadline: Duration,
        progress: impl Fn(u64) + Send + Sync,
    ) -> Result<ImageFiles> {
        let request = self.scoped(Request::get(&["images", fingerprint, "export"]));
        let call = Call::new(Method::Get.as_str(), request.path_and_query());
        let started = Instant::now();
        let export = self.export(&request, call.clone(), directory, &progress);
        let result = match tokio::time::timeout(deadline, export).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { call: call.clone(), after: deadline }),
        };
        let outcome = match &result {
            Ok(_) => RequestOutcome::Status(200),
            Err(error) => RequestOutcome::of(error),
        };
        self.shared.wire.observer.request(&call, outcome, started);
        result
    }

    async fn export(
        &self,
        request: &Request,
        call: Call,
        directory: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<ImageFiles> {
        let wire = &self.shared.wire;
        let asking = http::Request::builder()
            .method(request.method().as_str())
            .uri(wire.uri(&call, &request.path_and_query())?)
            .header(header::USER_AGENT, concat!("incus-client/", env!("CARGO_PKG_VERSION")))
            .body(Body::default())
            .map_err(|source| Error::BuildRequest { call: call.clone(), source: source.into() })?;
        let response =
            wire.http.request(asking).await.map_err(|source| wire.failed(&call, source))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let body = http_body_util::Limited::new(response.into_body(), ERROR_BODY_LIMIT);
            let body = body
                .collect()
                .await
                .map_err(|source| Error::ReadAnswer { call: call.clone(), source })?;
            return Err(wire.untrusted.redact(refusal(call, status, &body.to_bytes())));
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(kind).ok();
        let chunks = chunks(response.into_body());
        let mut writing = Writing { call, directory, progress, written: 0 };
        match boundary {
            None => Ok(ImageFiles::Unified(writing.file(UNIFIED, chunks).await?)),
            Some(boundary) => writing.parts(multer::Multipart::new(chunks, boundary)).await,
        }
    }
}

fn chunks(body: Incoming) -> Chunks {
    let frames = TryStreamExt::map_err(BodyStream::new(body), Failure::from);
    // Ignore trailers.
    Box::pin(frames.try_filter_map(|frame| async move { Ok(frame.into_data().ok()) }))
}

struct Writing<'a> {
    call: Call,
    directory: &'a Path,
    progress: &'a (dyn Fn(u64) + Send + Sync),
    written: u64,
}

impl Writing<'_> {
    async fn parts(&mut self, mut parts: multer::Multipart<'static>) -> Result<ImageFiles> {
        let (mut metadata, mut rootfs, mut disk) = (None, None, None);
        loop {
            let part = parts.next_field().await.map_err(|error| self.broken(error.into()))?;
            let Some(part) = part else { break };
            let (name, place) = match part.name() {
                Some("metadata") => (METADATA, &mut metadata),
                Some("rootfs") => (ROOT, &mut rootfs),
                Some("rootfs.img") => (DISK, &mut disk),
                // Not part of an image.
                _ => continue,
            };
            let chunks = Box::pin(part.map_err(Failure::from));
            *place = Some(self.file(name, chunks).await?);
        }
        match (metadata, rootfs, disk) {
            (Some(metadata), Some(rootfs), None) => Ok(ImageFiles::Split { metadata, rootfs }),
            (Some(metadata), None, Some(disk)) => Ok(ImageFiles::SplitVm { metadata, disk }),
            _ => Err(self.broken("it lacks the metadata or the root filesystem".into())),
        }
    }

    async fn file(&mut self, name: &str, mut chunks: Chunks) -> Result<PathBuf> {
        let path = self.directory.join(name);
        let failed = |source| Error::WriteFile { path: path.clone(), source };
        let mut file = File::create(&path).await.map_err(failed)?;
        loop {
            let chunk = chunks.try_next().await.map_err(|source| self.broken(source))?;
            let Some(chunk) = chunk else { break };
            file.write_all(&chunk).await.map_err(failed)?;
            self.written += chunk.len() as u64;
            (self.progress)(self.written);
        }
        file.flush().await.map_err(failed)?;
        Ok(path)
    }

    fn broken(&self, source: Failure) -> Error {
        Error::ReadAnswer { call: self.call.clone(), source }
    }
}
