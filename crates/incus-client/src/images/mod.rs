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
    /// When the server cannot be reached or refuses.
    pub async fn images(&self) -> Result<Vec<Image>> {
        let request = Request::get(&["images"]).query("recursion", "1");
        self.list(self.scoped(request), "a list of images").await
    }

    /// One image by fingerprint, or by a prefix of it that fits one image only; `None` when there
    /// is none.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn image(&self, fingerprint: &str) -> Result<Option<Versioned<Image>>> {
        self.find(self.scoped(Request::get(&["images", fingerprint])), "an image").await
    }

    /// One image by alias; `None` when there is no such alias.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn image_by_alias(&self, alias: &str) -> Result<Option<Image>> {
        let Some(entry) = self.image_alias(alias).await? else {
            return Ok(None);
        };
        Ok(self.image(&entry.target).await?.map(|found| found.value))
    }

    /// What an alias points to; `None` when there is no such alias.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
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

    /// Lets `alias` point to the image; one that does so already is fine.
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
        // Whatever the refusal was called: it is fine if the alias is what it should be.
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

    /// Lets an existing alias point to another image.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is no such alias.
    pub async fn move_image_alias(&self, alias: &str, fingerprint: &str) -> Result<()> {
        let request = self.scoped(Request::put(&["images", "aliases", alias]));
        let body = serde_json::json!({ "target": fingerprint, "description": "" });
        self.done(with_json(request, &body)?).await
    }

    /// Deletes an alias; the image stays.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn delete_image_alias(&self, alias: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["images", "aliases", alias]))).await
    }

    /// Replaces what can be changed of an image.
    ///
    /// # Errors
    /// [`is_precondition_failed`](Error::is_precondition_failed) when `etag` is given and no
    /// longer the image's.
    pub async fn put_image(
        &self,
        fingerprint: &str,
        put: &ImagePut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::put(&["images", fingerprint])).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Deletes an image and its aliases. Instances made from it stay.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    pub async fn delete_image(&self, fingerprint: &str) -> Result<Operation> {
        self.start(self.scoped(Request::delete(&["images", fingerprint]))).await
    }

    /// Lets the server fetch an image from elsewhere (an image server, a URL) or make one of an
    /// instance. [`Operation::wait_with`] shows its progress
    /// ([`incus_api::Operation::progress`]).
    ///
    /// # Errors
    /// When the server refuses; a source that cannot be reached fails the operation.
    pub async fn copy_image(&self, post: &ImagesPost) -> Result<Operation> {
        self.start(with_json(self.scoped(Request::post(&["images"])), post)?).await
    }
}
