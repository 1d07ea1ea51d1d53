//! Profiles.

use incus_api::{Profile, ProfilePut, ProfilesPost, Request};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Lists the profiles of the project.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn profiles(&self) -> Result<Vec<Profile>> {
        let request = Request::get(&["profiles"]).query("recursion", "1");
        self.list(self.scoped(request), "a list of profiles").await
    }

    /// Looks up a profile; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn profile(&self, name: &str) -> Result<Option<Versioned<Profile>>> {
        self.find(self.scoped(Request::get(&["profiles", name])), "a profile").await
    }

    /// Creates a profile.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_profile(&self, post: &ProfilesPost) -> Result<()> {
        self.done(with_json(self.scoped(Request::post(&["profiles"])), post)?).await
    }

    /// Replaces a profile's content.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_profile(
        &self,
        name: &str,
        put: &ProfilePut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::put(&["profiles", name])).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Deletes an unused profile.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_profile(&self, name: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["profiles", name]))).await
    }
}
