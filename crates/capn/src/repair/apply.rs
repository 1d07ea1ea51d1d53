//! Carries out repairs. The only module that writes.

use std::time::Duration;

use capi_api::{Machine, labels};
use incus_client::api::InstanceAction;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::etcd::{self, EtcdStep};
use super::plan::{Finding, Remedy};
use super::survivor;
use crate::error::{CommandError, Doing as _};
use crate::ui::Ui;
use crate::watch::Deadline;

/// Time limit for the server to start an instance.
const START: Duration = Duration::from_secs(120);
const NOT_FOUND: u16 = 404;

/// What repairs are applied to.
pub(super) struct Target<'a> {
    pub(super) ui: &'a Ui,
    pub(super) client: &'a Client,
    pub(super) server: &'a incus_client::Client,
    pub(super) namespace: &'a str,
    pub(super) deadline: Deadline,
}

impl Target<'_> {
    /// Applies a repair. Does nothing for repairs that controllers carry out.
    ///
    /// # Errors
    ///
    /// Returns an error that describes the obstacle.
    ///
    /// # Cancellation
    ///
    /// Every repair is idempotent.
    pub(super) async fn carry_out(&self, work: &Finding) -> Result<(), CommandError> {
        match &work.remedy {
            Remedy::AwaitBalancer | Remedy::AwaitStart | Remedy::AwaitGone => Ok(()),
            Remedy::Start { instance } => self.set_state(instance, InstanceAction::Start).await,
            Remedy::Thaw { instance } => self.set_state(instance, InstanceAction::Unfreeze).await,
            Remedy::StartUnits { instance } => etcd::start_units(self.server, instance).await,
            Remedy::NewEtcd { instance, .. } => {
                survivor::make_alone(self.ui, self.server, instance, self.deadline).await
            }
            Remedy::Replace { machine, is_gone } => self.replace(machine, *is_gone).await,
            Remedy::Clean { instance } => {
                etcd::carry_out(self.server, instance, EtcdStep::Clean, "").await
            }
        }
    }

    async fn set_state(&self, instance: &str, to: InstanceAction) -> Result<(), CommandError> {
        let doing = || format!("cannot start instance `{instance}`");
        let started =
            self.server.set_state(instance, to, false, Some(START)).await.doing(doing())?;
        started.wait(START).await.map(drop).doing(doing())
    }

    /// Deletes the Machine. If its instance is gone, its pods cannot be drained.
    async fn replace(&self, name: &str, is_gone: bool) -> Result<(), CommandError> {
        let doing = || format!("cannot delete the Machine `{name}`");
        let api: Api<Machine> = Api::namespaced(self.client.clone(), self.namespace);
        if is_gone {
            let annotations = json!({ labels::EXCLUDE_NODE_DRAINING: "" });
            let change = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
            gone_is_fine(api.patch(name, &PatchParams::default(), &change).await).doing(doing())?;
        }
        gone_is_fine(api.delete(name, &DeleteParams::default()).await).doing(doing())
    }
}

fn gone_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(()),
        other => other.map(drop),
    }
}
