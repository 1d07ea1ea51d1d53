//! Files of an instance, running or stopped.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use incus_api::{FileHeaders, FileKind, Method, Request};

use crate::call::Answer;
use crate::client::Client;
use crate::error::{Call, Result};

/// How a path is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Permission bits; `None` is the server's choice (0644 for files, 0755 for directories).
    pub mode: Option<u32>,
    /// Owner; `None` is root.
    pub uid: Option<u32>,
    /// Group; `None` is root.
    pub gid: Option<u32>,
    /// Make missing directories on the way, 0755 and root's.
    pub make_parents: bool,
}

/// What a path of an instance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledFile {
    /// Kind, owner and mode.
    pub headers: FileHeaders,
    /// A file's content, or a link's target. Empty for a directory.
    pub content: Bytes,
}

/// Time for a file; they are small here, but a stopped instance is mounted first.
const FILE_TIMEOUT: Duration = Duration::from_secs(120);

impl Client {
    /// Writes a file, whether it exists or not.
    ///
    /// The servers set owner and mode only on a file they create. When an existing file has
    /// others than asked for, it is deleted and written anew; in between it does not exist.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when the instance or, without `make_parents`, a
    /// directory on the way does not exist.
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

    /// Makes a directory; one that exists stays as it is.
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

    /// Makes a symbolic link at `path` that points to `target`. One that does so already stays;
    /// one that points elsewhere is replaced.
    ///
    /// # Errors
    /// As [`Client::push_file`]; also when something that is not a link is in the way.
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

    /// Reads a file, or the target of a link, which both servers make absolute; `None` when
    /// there is nothing at that path (or no such instance).
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn pull_file(&self, instance: &str, path: &str) -> Result<Option<PulledFile>> {
        let Some(answer) = self.ask_file(Method::Get, instance, path).await? else {
            return Ok(None);
        };
        let headers = headers_of(&answer);
        let content = if headers.kind == FileKind::Directory { Bytes::new() } else { answer.body };
        Ok(Some(PulledFile { headers, content }))
    }

    /// Kind, owner and mode of a path; `None` when there is nothing (or no such instance).
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn file_headers(&self, instance: &str, path: &str) -> Result<Option<FileHeaders>> {
        let head = self.supports("instance_file_head").await?;
        let method = if head { Method::Head } else { Method::Get };
        Ok(self.ask_file(method, instance, path).await?.as_ref().map(headers_of))
    }

    /// Names in a directory, sorted; `None` when there is none at that path (or no such instance).
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
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

    /// Deletes a file, a link or an empty directory; nothing there is fine.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses (a directory that is not empty).
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
