//! Images and their aliases.

mod export;
mod fingerprint;
mod multipart;
mod upload;

pub use upload::{ImageFiles, ImageUpload, ImportedImage, UploadProgress};

use incus_api::{Image, ImageAliasesEntry, ImageAliasesPost, ImagePut, ImagesPost, Request};

use crate::call::with_json;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::operations::Operation;
use crate::versioned::Versioned;

impl Client {
    /// Images of the project.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn images(&self) -> Result<Vec<Image>> {
        let request = Request::get(&["images"]).query("recursion", "1");
        self.list(self.scoped(request), "a list of images").await
    }

    /// Looks up an image by fingerprint or by a unique prefix; `None` when there is none.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn image(&self, fingerprint: &str) -> Result<Option<Versioned<Image>>> {
        self.find(self.scoped(Request::get(&["images", fingerprint])), "an image").await
    }

    /// Looks up an image by alias; `None` when the alias does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn image_by_alias(&self, alias: &str) -> Result<Option<Image>> {
        let Some(entry) = self.image_alias(alias).await? else {
            return Ok(None);
        };
        Ok(self.image(&entry.target).await?.map(|found| found.value))
    }

    /// Looks up an alias; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn image_alias(&self, alias: &str) -> Result<Option<Versioned<ImageAliasesEntry>>> {
        self.find(self.scoped(Request::get(&["images", "aliases", alias])), "an image alias").await
    }

    /// Creates an alias for an image.
    ///
    /// # Errors
    /// [`is_conflict`](Error::is_conflict) when the alias exists, whatever it points to.
    pub async fn create_image_alias(&self, post: &ImageAliasesPost) -> Result<()> {
        self.done(with_json(self.scoped(Request::post(&["images", "aliases"])), post)?).await
    }

    /// Makes `alias` point to the image. Nothing changes if it already does.
    ///
    /// # Errors
    /// [`Error::AliasTaken`] when it points to another image.
    pub async fn ensure_image_alias(&self, alias: &str, fingerprint: &str) -> Result<()> {
        let image = self.image(fingerprint).await?;
        let post = ImageAliasesPost {
            name: alias.to_owned(),
            target: fingerprint.to_owned(),
            image_type: image.map(|image| image.value.image_type).unwrap_or_default(),
            ..ImageAliasesPost::default()
        };
        let Err(error) = self.create_image_alias(&post).await else {
            return Ok(());
        };
        // Whatever the error was: it does not matter if the alias points to the image.
        match self.image_alias(alias).await? {
            Some(entry) if entry.target == fingerprint => Ok(()),
            Some(entry) => Err(Error::AliasTaken {
                alias: alias.to_owned(),
                found: entry.target.clone(),
                wanted: fingerprint.to_owned(),
            }),
            None => Err(error),
        }
    }

    /// Moves an existing alias to another image.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the alias does not exist.
    pub async fn move_image_alias(&self, alias: &str, fingerprint: &str) -> Result<()> {
        let request = self.scoped(Request::put(&["images", "aliases", alias]));
        let body = serde_json::json!({ "target": fingerprint, "description": "" });
        self.done(with_json(request, &body)?).await
    }

    /// Deletes an alias, but not its image.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when it does not exist.
    pub async fn delete_image_alias(&self, alias: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["images", "aliases", alias]))).await
    }

    /// Replaces the changeable fields of an image.
    ///
    /// # Errors
    /// [`is_precondition_failed`](Error::is_precondition_failed) when `etag` is given and outdated.
    pub async fn put_image(
        &self,
        fingerprint: &str,
        put: &ImagePut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::put(&["images", fingerprint])).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Deletes an image and its aliases. Instances that were created from it stay.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when it does not exist.
    pub async fn delete_image(&self, fingerprint: &str) -> Result<Operation> {
        self.start(self.scoped(Request::delete(&["images", fingerprint]))).await
    }

    /// Makes the server copy an image from another server or a URL, or publish an instance as an
    /// image. [`Operation::wait_with`] reports the progress ([`incus_api::Operation::progress`]).
    ///
    /// # Errors
    /// [`Error::Api`] when the server rejects the request. If the source cannot be reached, the
    /// operation fails.
    pub async fn copy_image(&self, post: &ImagesPost) -> Result<Operation> {
        self.start(with_json(self.scoped(Request::post(&["images"])), post)?).await
    }
}
