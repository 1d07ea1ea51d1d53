//! Repairs a cluster that lost machines, its load balancer or its etcd quorum.
//!
//! Objects, instances, nodes and etcd are [observed](observe), repairs are [planned](plan) without
//! I/O, and due repairs are [applied](apply); then everything is observed again, until there are no
//! problems. No state is kept between rounds, so an interrupted command can be repeated.
//!
//! Controllers do most of the work: they start instances, recreate the load balancer, and create
//! Machines for deleted ones. This module adds what they cannot do: it decides that a machine is
//! lost even if no health check says so, and it restarts [etcd] from its last member.

mod apply;
pub mod etcd;
pub mod observation;
mod observe;
pub mod obstacle;
pub mod plan;
pub mod quorum;
mod run;
mod show;
mod survivor;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;

use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::output::Format;
use crate::preflight;
use crate::session::{self, Need, Session};
use crate::state::StateDir;
use crate::watch::{self, Deadline};
use observe::{ClusterHandle, observe};
use run::Run;

/// Twice the node startup timeout of the health checks created by `capn up`.
const STARTUP: SignedDuration = SignedDuration::from_mins(20);

/// A repair request.
#[derive(Clone, Copy, Debug)]
pub struct RepairRequest<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The user confirmed irreversible steps.
    pub consents: bool,
    /// Total time limit.
    pub timeout: Duration,
}

/// State that stays constant during a repair.
struct Ready {
    server: incus_client::Client,
    startup: SignedDuration,
}

/// Prints what [`repair`] would do, without changing anything.
///
/// # Errors
///
/// Returns an error if the plane or the server does not respond.
pub async fn show(
    context: &Context,
    asked: &RepairRequest<'_>,
    format: Format,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let client = session.client().clone();
    let work = async {
        let ready = ready(&client, asked).await?;
        let view = watch::read(&client, asked.namespace, asked.name).await;
        let plan = plan::plan(&observe(&handle(&client, asked, &ready), &view).await?);
        context.ui.say(match plan.is_empty() {
            true => format!("cluster `{}`: nothing to repair", asked.name),
            false => show::summary(asked.name, &plan),
        });
        let is_table = matches!(format, Format::Table | Format::Wide | Format::Name);
        match plan.is_empty() && is_table {
            true => Ok(()),
            false => show::print(context, asked.name, &plan, format),
        }
    };
    let result = work.await;
    session.close().await?;
    result
}

/// Repairs a cluster, or continues to, and waits until it is Available.
///
/// # Errors
///
/// Returns an error if something cannot be repaired or the time limit passes. Completed repairs are
/// kept, and the same command continues.
pub async fn repair(context: &Context, asked: &RepairRequest<'_>) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let hint = "completed repairs are kept; run the same command again to continue";
    let work = async |client: Client| {
        let ready = ready(&client, asked).await?;
        let run = Run {
            ui: &context.ui,
            handle: handle(&client, asked, &ready),
            deadline: Deadline::after(asked.timeout),
            consents: asked.consents,
        };
        run.run().await
    };
    session::on_cluster(&state, asked.namespace, false, hint, work)
        .await
        .map_err(|error| error.while_doing(format!("cannot repair cluster `{}`", asked.name)))
}

async fn ready(client: &Client, asked: &RepairRequest<'_>) -> Result<Ready, CommandError> {
    let RepairRequest { name, namespace, .. } = *asked;
    let existing = cluster::existing(client, namespace, name).await?;
    let view = watch::read(client, namespace, name).await;
    let identity = cluster::identity(client, namespace, &existing, &view).await?;
    let server = identity.client()?;
    preflight::contact(&identity, &server).await?;
    let factor = existing.request.as_ref().map_or(1, |request| request.timeouts.factor());
    let factor = i32::try_from(factor).unwrap_or(i32::MAX);
    Ok(Ready { server, startup: STARTUP.saturating_mul(factor) })
}

fn handle<'a>(
    client: &'a Client,
    asked: &RepairRequest<'a>,
    ready: &'a Ready,
) -> ClusterHandle<'a> {
    ClusterHandle {
        client,
        server: &ready.server,
        namespace: asked.namespace,
        cluster: asked.name,
        began: Timestamp::now(),
        startup: ready.startup,
    }
}
