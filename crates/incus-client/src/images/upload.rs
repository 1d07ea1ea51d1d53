//! Uploading an image from local files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header;
use incus_api::{Config, ImageAlias, ImagePut, Request, request::form_encode};

use super::fingerprint::fingerprint;
use super::multipart::Upload;
use crate::client::Client;
use crate::error::{Call, Error, Result};

/// Files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFiles {
    /// Metadata and root filesystem in separate files.
    Split {
        /// Tarball with `metadata.yaml` and `templates/`.
        metadata: PathBuf,
        /// Tarball or squashfs of the root filesystem.
        rootfs: PathBuf,
    },
    /// Metadata and root filesystem of a virtual machine.
    SplitVm {
        /// Tarball with `metadata.yaml` and `templates/`.
        metadata: PathBuf,
        /// qcow2 disk.
        disk: PathBuf,
    },
    /// One tarball with everything.
    Unified(PathBuf),
}

impl ImageFiles {
    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Split { metadata, rootfs } => vec![metadata.clone(), rootfs.clone()],
            Self::SplitVm { metadata, disk } => vec![metadata.clone(), disk.clone()],
            Self::Unified(path) => vec![path.clone()],
        }
    }

    async fn upload(&self) -> Result<Upload> {
        match self {
            Self::Split { metadata, rootfs } => {
                Upload::form(&[("metadata", metadata), ("rootfs", rootfs)]).await
            }
            Self::SplitVm { metadata, disk } => {
                Upload::form(&[("metadata", metadata), ("rootfs.img", disk)]).await
            }
            Self::Unified(path) => Upload::file(path).await,
        }
    }
}

/// An image to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUpload {
    /// Its files.
    pub files: ImageFiles,
    /// Whether the image is readable by every client of the server.
    pub public: bool,
    /// Properties, in addition to those in its metadata.
    pub properties: Config,
    /// Aliases to create.
    pub aliases: Vec<ImageAlias>,
}

/// Progress of an import. Bytes are those of the files or, when sending, of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadProgress {
    /// Reading the files to compute the fingerprint.
    Hashing {
        /// Bytes read.
        bytes: u64,
        /// Total bytes.
        total: u64,
    },
    /// Sending the files.
    Sending {
        /// Bytes sent.
        bytes: u64,
        /// Total bytes.
        total: u64,
    },
    /// The server is processing the upload.
    Importing,
}

/// An imported image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedImage {
    /// Fingerprint.
    pub fingerprint: String,
    /// Whether the server already had the image. Nothing was sent in that case.
    pub existed: bool,
}

impl Client {
    /// Imports an image with its properties and aliases, within `deadline`.
    ///
    /// # Guarantees
    /// * The same files give the same image: an existing one is not sent again, and missing
    ///   properties and aliases are added. The same call completes an interrupted import.
    /// * Files are streamed; memory use does not depend on their size.
    ///
    /// # Errors
    /// * [`Error::ReadFile`] when a file cannot be read.
    /// * [`Error::AliasTaken`] when an alias points to another image. The image has been imported
    ///   then.
    /// * [`Error::OperationFailed`] when the server rejects the files: not an image, no space left,
    ///   or the wrong architecture.
    pub async fn import_image(
        &self,
        image: &ImageUpload,
        deadline: Duration,
        progress: impl Fn(UploadProgress) + Send + Sync + 'static,
    ) -> Result<ImportedImage> {
        let progress: Arc<dyn Fn(UploadProgress) + Send + Sync> = Arc::new(progress);
        let fingerprint = hash(image.files.paths(), Arc::clone(&progress)).await?;
        let existed = self.image(&fingerprint).await?.is_some();
        if !existed {
            self.upload(image, &fingerprint, deadline, progress).await?;
        }
        self.ensure_properties(&fingerprint, image).await?;
        for alias in &image.aliases {
            self.ensure_image_alias(&alias.name, &fingerprint).await?;
        }
        Ok(ImportedImage { fingerprint, existed })
    }

    async fn upload(
        &self,
        image: &ImageUpload,
        fingerprint: &str,
        deadline: Duration,
        progress: Arc<dyn Fn(UploadProgress) + Send + Sync>,
    ) -> Result<()> {
        let upload = image.files.upload().await?;
        let covered_by = self.hub().ready().await;
        let request = self.upload_request(image, fingerprint);
        let call = Call::new(request.method().as_str(), request.path_and_query());
        let builder = http::Request::builder()
            .header(header::CONTENT_TYPE, upload.content_type.as_str())
            .header(header::CONTENT_LENGTH, upload.length);
        let total = upload.length;
        let notify = Arc::clone(&progress);
        let body = upload.into_body(Arc::new(move |bytes| {
            notify(UploadProgress::Sending { bytes, total });
        }));
        let started = tokio::time::Instant::now();
        let wire = &self.shared.wire;
        let answer = wire.send_body(&request, call, builder, body, deadline).await?;
        progress(UploadProgress::Importing);
        let left = deadline.saturating_sub(started.elapsed());
        match self.started(&answer)?.covered_by(covered_by).wait(left).await {
            // Another client has imported the same image in the meantime.
            Err(error) if error.is_conflict() && self.image(fingerprint).await?.is_some() => Ok(()),
            // The end of the operation was missed; the image tells the result.
            Err(Error::OperationLost { .. }) if self.image(fingerprint).await?.is_some() => Ok(()),
            other => other.map(drop),
        }
    }

    fn upload_request(&self, image: &ImageUpload, fingerprint: &str) -> Request {
        let properties =
            form_encode(image.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let name = match &image.files {
            ImageFiles::Unified(path) => path.as_path(),
            ImageFiles::Split { rootfs, .. } => rootfs.as_path(),
            ImageFiles::SplitVm { disk, .. } => disk.as_path(),
        };
        let mut request = self.scoped(Request::post(&["images"]));
        for prefix in ["X-Incus-", "X-LXD-"] {
            request = request
                .header(format!("{prefix}fingerprint"), fingerprint)
                .header(format!("{prefix}public"), image.public.to_string());
            if let Some(file) = header_text(name) {
                request = request.header(format!("{prefix}filename"), file);
            }
            if !properties.is_empty() {
                request = request.header(format!("{prefix}properties"), properties.as_str());
            }
        }
        request
    }

    async fn ensure_properties(&self, fingerprint: &str, image: &ImageUpload) -> Result<()> {
        let Some(found) = self.image(fingerprint).await? else {
            return Ok(());
        };
        let mut properties = found.properties.clone();
        properties.extend(image.properties.clone());
        if properties == found.properties && found.public == image.public {
            return Ok(());
        }
        let put = ImagePut {
            auto_update: found.auto_update,
            properties,
            public: image.public,
            expires_at: found.expires_at.clone(),
            profiles: found.profiles.clone(),
        };
        self.put_image(fingerprint, &put, found.etag.as_deref()).await
    }
}

/// Returns the name of a file, if it is valid in a header.
fn header_text(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.chars().all(|c| c.is_ascii_graphic()).then(|| name.to_owned())
}

async fn hash(
    paths: Vec<PathBuf>,
    progress: Arc<dyn Fn(UploadProgress) + Send + Sync>,
) -> Result<String> {
    let first = paths.first().cloned().unwrap_or_default();
    let mut total = 0;
    for path in &paths {
        let metadata = tokio::fs::metadata(path).await;
        total += metadata.map_err(|source| Error::ReadFile { path: path.clone(), source })?.len();
    }
    let hashing = tokio::task::spawn_blocking(move || {
        fingerprint(&paths, |bytes| progress(UploadProgress::Hashing { bytes, total }))
    });
    match hashing.await {
        Ok(result) => result,
        Err(source) => Err(Error::ReadFile { path: first, source: std::io::Error::other(source) }),
    }
}
