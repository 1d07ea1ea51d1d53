//! Instances: list, look up, create, change, start, stop, delete.

use std::time::Duration;

use incus_api::{
    Instance, InstanceAction, InstanceFilter, InstanceFull, InstancePost, InstancePut,
    InstanceState, InstanceStatePut, InstancesPost, Request,
};
use serde::Serialize;

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::operations::Operation;
use crate::versioned::Versioned;

impl Client {
    /// Lists the instances of the project that match the filter, without their state.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instances(&self, filter: &InstanceFilter) -> Result<Vec<Instance>> {
        let found: Vec<Instance> = self.filtered(filter, "1").await?;
        Ok(found.into_iter().filter(|instance| filter.matches(instance)).collect())
    }

    /// Lists the instances of every project that this client may see, without their state. A server
    /// without the extension `instance_all_projects` returns only those of this client's project.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instances_of_all_projects(&self) -> Result<Vec<Instance>> {
        if !self.supports("instance_all_projects").await? {
            return self.instances(&InstanceFilter::new()).await;
        }
        let request =
            Request::get(&["instances"]).query("recursion", "1").query("all-projects", "true");
        let found: Option<Vec<Instance>> =
            self.send_slow(request).await?.decode("a list of instances")?;
        Ok(found.unwrap_or_default())
    }

    /// Lists the instances of the project that match the filter, with state and addresses.
    ///
    /// The server queries every running instance for its state, which is much more work than
    /// [`Client::instances`].
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instances_full(&self, filter: &InstanceFilter) -> Result<Vec<InstanceFull>> {
        let found: Vec<InstanceFull> = self.filtered(filter, "2").await?;
        Ok(found.into_iter().filter(|instance| filter.matches(instance)).collect())
    }

    async fn filtered<T>(&self, filter: &InstanceFilter, recursion: &str) -> Result<Vec<T>>
    where
        T: serde::de::DeserializeOwned + Default,
    {
        let mut request = Request::get(&["instances"]).query("recursion", recursion);
        if let Some(expression) = filter.expression()
            && self.supports("api_filtering").await?
        {
            request = request.query("filter", expression);
        }
        let found: Option<Vec<T>> =
            self.send_slow(self.scoped(request)).await?.decode("a list of instances")?;
        Ok(found.unwrap_or_default())
    }

    /// Looks up an instance; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instance(&self, name: &str) -> Result<Option<Versioned<Instance>>> {
        self.find(self.scoped(Request::get(&["instances", name])), "an instance").await
    }

    /// Looks up an instance with its state and addresses, in one request if the server has the
    /// extension `instance_get_full`; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instance_full(&self, name: &str) -> Result<Option<InstanceFull>> {
        let request = self.scoped(Request::get(&["instances", name])).query("recursion", "1");
        let found = self.find::<InstanceFull>(request, "an instance with its state").await?;
        let Some(mut full) = found.map(|found| found.value) else { return Ok(None) };
        if full.state.is_none() && full.is_running() && !self.supports("instance_get_full").await? {
            full.state = self.instance_state(name).await?;
        }
        Ok(Some(full))
    }

    /// Finds the instance whose own configuration has `key` set to `value`, whatever its current
    /// name. If several match, returns the first by name.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn find_instance(&self, key: &str, value: &str) -> Result<Option<Instance>> {
        let mut found = self.instances(&InstanceFilter::new().config(key, value)).await?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found.into_iter().next())
    }

    /// Returns the state of an instance; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instance_state(&self, name: &str) -> Result<Option<InstanceState>> {
        let request = self.scoped(Request::get(&["instances", name, "state"]));
        Ok(self.find(request, "an instance state").await?.map(|found| found.value))
    }

    /// Creates an instance, on the cluster member (or `@group`) `target` if given.
    ///
    /// # Guarantees
    /// A name is created once: a second call fails with a conflict, in the response or in the
    /// operation, and [`Client::operations_for`] finds a creation that is still running.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_instance(
        &self,
        post: &InstancesPost,
        target: Option<&str>,
    ) -> Result<Operation> {
        let request = Request::post(&["instances"]).query_opt("target", target);
        self.start(with_json(self.scoped(request), post)?).await
    }

    /// Starts, stops, restarts, freezes or unfreezes an instance.
    ///
    /// `timeout` is how long the server waits for a clean stop before the operation fails; `None`
    /// means no limit. With `force` it does not wait at all.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) when the instance is already in that state.
    pub async fn set_state(
        &self,
        name: &str,
        action: InstanceAction,
        force: bool,
        timeout: Option<Duration>,
    ) -> Result<Operation> {
        let timeout = timeout.map_or(-1, |t| i64::try_from(t.as_secs().max(1)).unwrap_or(i64::MAX));
        let body = InstanceStatePut { action, timeout, force, stateful: false };
        let request = self.scoped(Request::put(&["instances", name, "state"]));
        self.start(with_json(request, &body)?).await
    }

    /// Deletes a stopped instance.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist. The server refuses to
    /// delete a running instance.
    pub async fn delete_instance(&self, name: &str) -> Result<Operation> {
        self.start(self.scoped(Request::delete(&["instances", name]))).await
    }

    /// Changes parts of an instance: `changes` is an object with some of the fields of
    /// [`InstancePut`]. The given configuration keys and devices are set, others stay.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn patch_instance(
        &self,
        name: &str,
        changes: &impl Serialize,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::patch(&["instances", name])).if_match(etag);
        self.done(with_json(request, changes)?).await
    }

    /// Replaces everything that can be changed of an instance. Start from [`Instance::to_put`],
    /// since `volatile.*` keys must stay.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_instance(
        &self,
        name: &str,
        put: &InstancePut,
        etag: Option<&str>,
    ) -> Result<Operation> {
        let request = self.scoped(Request::put(&["instances", name])).if_match(etag);
        self.start(with_json(request, put)?).await
    }

    /// Renames a stopped instance.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the new name is taken.
    pub async fn rename_instance(&self, name: &str, new_name: &str) -> Result<Operation> {
        let request = self.scoped(Request::post(&["instances", name]));
        let body = InstancePost { name: new_name.to_owned() };
        self.start(with_json(request, &body)?).await
    }

    /// Returns a log file of the instance, such as `lxc.log`; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn instance_log(&self, name: &str, file: &str) -> Result<Option<Vec<u8>>> {
        let request = self.scoped(Request::get(&["instances", name, "logs", file]));
        match self.send(request).await {
            Ok(answer) => Ok(Some(answer.body.to_vec())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the console output of the instance since boot, as far as the server keeps it.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn console_log(&self, name: &str) -> Result<Vec<u8>> {
        let request = self.scoped(Request::get(&["instances", name, "console"]));
        Ok(self.send(request).await?.body.to_vec())
    }
}
