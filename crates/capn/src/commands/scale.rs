//! `capn scale`

use std::time::Duration;

use capi_api::MachineDeployment;
use clap::Args;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;
use crate::watch::{self, Asked, Deadline, Objects};

/// Options of `scale`.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Name of the cluster
    pub name: String,
    /// Number of worker machines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=999), required = true)]
    pub workers: u32,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until the machines are there or gone
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub wait: Duration,
}

pub(super) async fn run(context: &Context, args: ScaleArgs) -> Result<(), CommandError> {
    let ScaleArgs { name, workers, namespace, wait } = args;
    let namespace = namespace.namespace;
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let need = if state.database().exists() { Need::Controllers } else { Need::Objects };
    let mut session = Session::open(&state, need).await?;
    let client = session.client().clone();
    let work = async {
        let existing = cluster::existing(&client, &namespace, &name).await?;
        let deployment = existing
            .request
            .as_ref()
            .map_or_else(|| format!("{name}-md-0"), |request| request.workers_name());
        let before = watch::read(&client, &namespace, &name).await;
        let known = watch::reached(&before, &Asked::by(&before));
        let deployments: Api<MachineDeployment> = Api::namespaced(client.clone(), &namespace);
        let patch = Patch::Merge(json!({ "spec": { "replicas": workers } }));
        deployments
            .patch(&deployment, &PatchParams::default(), &patch)
            .await
            .doing(format!("cannot change the MachineDeployment `{deployment}`"))?;
        if wait.is_zero() {
            return Ok(());
        }
        let mut objects = Objects::of(&client, &namespace, &name);
        let deadline = Deadline::after(wait);
        watch::follow_wanted(&context.ui, &mut objects, deadline, known).await?;
        context.ui.say(format!("cluster `{name}` has {workers} workers"));
        Ok(())
    };
    let result = tokio::select! {
        result = session.while_running(work) => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("the number is recorded: the same command continues")),
    };
    let closed = session.close().await;
    result.map_err(|error| error.while_doing(format!("cannot scale cluster `{name}`"))).and(closed)
}
