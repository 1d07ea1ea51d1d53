//! Files of a running or stopped instance.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use incus_api::{FileHeaders, FileKind, Method, Request};

use crate::call::Answer;
use crate::client::Client;
use crate::error::{Call, Result};

/// Options for creating a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Permission bits; `None` is the default of the server (0644 for files, 0755 for directories).
    pub mode: Option<u32>,
    /// Owner; `None` is root.
    pub uid: Option<u32>,
    /// Group; `None` is root.
    pub gid: Option<u32>,
    /// Create missing parent directories, owned by root with mode 0755.
    pub make_parents: bool,
}

/// Content of a path in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledFile {
    /// Kind, owner and mode.
    pub headers: FileHeaders,
    /// Content of a file, or target of a link. Empty for a directory.
    pub content: Bytes,
}

/// Timeout of a file request. Files are small, but a stopped instance is mounted first.
const FILE_TIMEOUT: Duration = Duration::from_secs(120);

impl Client {
    /// Writes a file, creating or replacing it.
    ///
    /// The servers set owner and mode only on files that they create. When an existing file has
    /// others than requested, it is deleted and written again; in between it does not exist.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when the instance or, without `make_parents`, a
    /// parent directory does not exist.
    pub async fn push_file(
        &self,
        instance: &str,
        path: &str,
        content: impl Into<Bytes>,
        options: &FileOptions,
    ) -> Result<()> {
        let content = content.into();
        self.make_path(instance, path, FileKind::File, content.clone(), options).await?;
        if options.mode.is_none() && options.uid.is_none() && options.gid.is_none() {
            return Ok(());
        }
        let fits = self.file_headers(instance, path).await?.is_some_and(|found| {
            let same = |wanted: Option<u32>, found| wanted.is_none() || wanted == found;
            same(options.mode, found.mode)
                && same(options.uid, found.uid)
                && same(options.gid, found.gid)
        });
        if !fits {
            self.delete_file(instance, path).await?;
            self.make_path(instance, path, FileKind::File, content, options).await?;
        }
        Ok(())
    }

    /// Creates a directory. An existing directory is left unchanged.
    ///
    /// # Errors
    /// As [`Client::push_file`].
    pub async fn make_directory(
        &self,
        instance: &str,
        path: &str,
        options: &FileOptions,
    ) -> Result<()> {
        if self.is_directory(instance, path).await? {
            return Ok(());
        }
        self.make_path(instance, path, FileKind::Directory, Bytes::new(), options).await
    }

    /// Creates a symbolic link at `path` that points to `target`. A link with another target is
    /// replaced.
    ///
    /// # Errors
    /// As [`Client::push_file`]; also when `path` exists and is not a link.
    pub async fn symlink(
        &self,
        instance: &str,
        path: &str,
        target: &str,
        options: &FileOptions,
    ) -> Result<()> {
        if let Some(found) = self.pull_file(instance, path).await?
            && found.headers.kind == FileKind::Symlink
        {
            if found.content == target.as_bytes() {
                return Ok(());
            }
            self.delete_file(instance, path).await?;
        }
        let content = Bytes::copy_from_slice(target.as_bytes());
        self.make_path(instance, path, FileKind::Symlink, content, options).await
    }

    /// Reads a file, or the target of a link, which both servers make absolute; `None` when the
    /// path or the instance does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn pull_file(&self, instance: &str, path: &str) -> Result<Option<PulledFile>> {
        let Some(answer) = self.ask_file(Method::Get, instance, path).await? else {
            return Ok(None);
        };
        let headers = headers_of(&answer);
        let content = if headers.kind == FileKind::Directory { Bytes::new() } else { answer.body };
        Ok(Some(PulledFile { headers, content }))
    }

    /// Returns the kind, owner and mode of a path; `None` when the path or the instance does not
    /// exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn file_headers(&self, instance: &str, path: &str) -> Result<Option<FileHeaders>> {
        let head = self.supports("instance_file_head").await?;
        let method = if head { Method::Head } else { Method::Get };
        Ok(self.ask_file(method, instance, path).await?.as_ref().map(headers_of))
    }

    /// Returns the sorted names in a directory; `None` when the directory or the instance does not
    /// exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn list_dir(&self, instance: &str, path: &str) -> Result<Option<Vec<String>>> {
        let Some(answer) = self.ask_file(Method::Get, instance, path).await? else {
            return Ok(None);
        };
        if headers_of(&answer).kind != FileKind::Directory {
            return Ok(None);
        }
        let names: Option<Vec<String>> = answer.decode("a list of names")?;
        let mut names = names.unwrap_or_default();
        names.sort();
        Ok(Some(names))
    }

    /// Deletes a file, a link or an empty directory. A missing path is not an error.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) when the directory is not empty.
    pub async fn delete_file(&self, instance: &str, path: &str) -> Result<()> {
        match self.done(self.file_request(Method::Delete, instance, path)).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn is_directory(&self, instance: &str, path: &str) -> Result<bool> {
        let found = self.file_headers(instance, path).await?;
        Ok(found.is_some_and(|headers| headers.kind == FileKind::Directory))
    }

    async fn make_path(
        &self,
        instance: &str,
        path: &str,
        kind: FileKind,
        content: Bytes,
        options: &FileOptions,
    ) -> Result<()> {
        let headers = FileHeaders { kind, mode: options.mode, uid: options.uid, gid: options.gid };
        match self.post_path(instance, path, headers, content.clone()).await {
            Err(error) if options.make_parents && error.is_not_found() => {
                self.make_parents(instance, path).await?;
                self.post_path(instance, path, headers, content).await
            }
            other => other,
        }
    }

    async fn make_parents(&self, instance: &str, path: &str) -> Result<()> {
        let headers = FileHeaders {
            kind: FileKind::Directory,
            mode: Some(0o755),
            uid: Some(0),
            gid: Some(0),
        };
        let ends = path.match_indices('/').map(|(end, _)| end).filter(|end| *end > 0);
        for end in ends {
            let parent = &path[..end];
            if !self.is_directory(instance, parent).await? {
                self.post_path(instance, parent, headers, Bytes::new()).await?;
            }
        }
        Ok(())
    }

    async fn post_path(
        &self,
        instance: &str,
        path: &str,
        headers: FileHeaders,
        content: Bytes,
    ) -> Result<()> {
        let mut request = self.file_request(Method::Post, instance, path);
        for (key, value) in headers.to_headers() {
            request = request.header(key, value);
        }
        let call = Call::new(request.method().as_str(), request.path_and_query());
        let builder =
            http::Request::builder().header(http::header::CONTENT_TYPE, "application/octet-stream");
        let body = Full::new(content).map_err(|never| match never {}).boxed_unsync();
        let wire = &self.shared.wire;
        let timeout = wire.request_timeout.max(FILE_TIMEOUT);
        wire.send_body(&request, call, builder, body, timeout).await?.reply()?;
        Ok(())
    }

    async fn ask_file(&self, method: Method, instance: &str, path: &str) -> Result<Option<Answer>> {
        match self.send_slow(self.file_request(method, instance, path)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file_request(&self, method: Method, instance: &str, path: &str) -> Request {
        self.scoped(Request::new(method, &["instances", instance, "files"]).query("path", path))
    }
}

fn headers_of(answer: &Answer) -> FileHeaders {
    FileHeaders::from_headers(|name| answer.headers.get(name)?.to_str().ok())
}
