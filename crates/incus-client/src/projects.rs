//! Projects.

use incus_api::{Config, Project, ProjectPut, ProjectsPost, Request};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Lists the projects that this client may see.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn projects(&self) -> Result<Vec<Project>> {
        let request = Request::get(&["projects"]).query("recursion", "1");
        self.list(request, "a list of projects").await
    }

    /// Looks up a project, including `default`; `None` when it does not exist.
    ///
    /// [`Client::project`] returns the project of the client instead.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn get_project(&self, name: &str) -> Result<Option<Versioned<Project>>> {
        self.find(Request::get(&["projects", name]), "a project").await
    }

    /// Creates a project.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_project(&self, post: &ProjectsPost) -> Result<()> {
        self.done(with_json(Request::post(&["projects"]), post)?).await
    }

    /// Replaces a project's configuration and description.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_project(
        &self,
        name: &str,
        put: &ProjectPut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = Request::put(&["projects", name]).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Changes configuration keys of a project; an empty value unsets a key.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) when a key or value is invalid.
    pub async fn patch_project(&self, name: &str, config: &Config) -> Result<()> {
        let body = serde_json::json!({ "config": config });
        self.done(with_json(Request::patch(&["projects", name]), &body)?).await
    }

    /// Deletes an empty project.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_project(&self, name: &str) -> Result<()> {
        self.done(Request::delete(&["projects", name])).await
    }
}
