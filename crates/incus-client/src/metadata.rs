//! Image metadata and templates of an instance.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use incus_api::{ImageMetadata, Request};

use crate::call::with_json;
use crate::client::Client;
use crate::error::{Call, Result};
use crate::versioned::Versioned;

impl Client {
    /// Returns the metadata of an instance: that of its image, and the files that the server writes
    /// into it.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn metadata(&self, name: &str) -> Result<Versioned<ImageMetadata>> {
        let request = self.scoped(Request::get(&["instances", name, "metadata"]));
        let answer = self.send(request).await?;
        Ok(Versioned { value: answer.decode("instance metadata")?, etag: answer.etag() })
    }

    /// Replaces the metadata of an instance.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn set_metadata(
        &self,
        name: &str,
        metadata: &ImageMetadata,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::put(&["instances", name, "metadata"])).if_match(etag);
        self.done(with_json(request, metadata)?).await
    }

    /// Names of the template files of an instance.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when the instance does not exist.
    pub async fn template_files(&self, name: &str) -> Result<Vec<String>> {
        let request = self.scoped(Request::get(&["instances", name, "metadata", "templates"]));
        self.list(request, "a list of template files").await
    }

    /// Returns the content of a template file; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn template_file(&self, name: &str, file: &str) -> Result<Option<Bytes>> {
        match self.send(self.template_request(Request::get, name, file)).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a template file, creating or replacing it.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when the instance does not exist.
    pub async fn put_template_file(&self, name: &str, file: &str, content: Bytes) -> Result<()> {
        let request = self.template_request(Request::post, name, file);
        let call = Call::new(request.method().as_str(), request.path_and_query());
        let builder =
            http::Request::builder().header(http::header::CONTENT_TYPE, "application/octet-stream");
        let body = Full::new(content).map_err(|never| match never {}).boxed_unsync();
        let wire = &self.shared.wire;
        wire.send_body(&request, call, builder, body, wire.request_timeout).await?.reply()?;
        Ok(())
    }

    /// Deletes a template file.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_template_file(&self, name: &str, file: &str) -> Result<()> {
        self.done(self.template_request(Request::delete, name, file)).await
    }

    fn template_request(&self, method: fn(&[&str]) -> Request, name: &str, file: &str) -> Request {
        let request = method(&["instances", name, "metadata", "templates"]);
        self.scoped(request.query("path", file))
    }
}
