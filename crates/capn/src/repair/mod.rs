//! Bringing a cluster back that lost machines, its load balancer, or the quorum of its etcd.
//!
//! Objects, instances, nodes and etcd are [observed](observe), [planned](plan) without I/O, and what is due
//! is [carried out](apply); then all is observed again, until nothing is wrong. Nothing is remembered
//! between two rounds, so that the same command goes on wherever it was ended.
//!
//! Most of the work is the controllers': they start instances, make a load balancer again, and make
//! Machines for those that are deleted. What they cannot do is done here: to decide that a machine is
//! lost although no health check says so, and to begin [etcd] anew from its last member.

mod apply;
pub mod etcd;
mod observe;
pub mod obstacle;
pub mod plan;
pub mod quorum;
mod run;
pub mod seen;
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
use observe::{Place, observe};
use run::Run;

/// Twice what the health checks of `capn up` give a machine to become a node.
const STARTUP: SignedDuration = SignedDuration::from_mins(20);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The user has said yes to what cannot be undone.
    pub consents: bool,
    /// How long to wait in all.
    pub timeout: Duration,
}

/// What does not change while a cluster is repaired.
struct Ready {
    server: incus_client::Client,
    startup: SignedDuration,
}

/// Prints what [`repair`] would do, and changes nothing.
///
/// # Errors
///
/// When the plane or the server does not answer.
pub async fn show(
    context: &Context,
    asked: &Asked<'_>,
    format: Format,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let client = session.client().clone();
    let work = async {
        let ready = ready(&client, asked).await?;
        let view = watch::read(&client, asked.namespace, asked.name).await;
        let plan = plan::plan(&observe(&place(&client, asked, &ready), &view).await?);
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
/// When something cannot be mended, or takes longer than it may. What was done stays: the same command
/// continues from there.
pub async fn repair(context: &Context, asked: &Asked<'_>) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let hint = "what is mended stays mended: the same command continues";
    let work = async |client: Client| {
        let ready = ready(&client, asked).await?;
        let run = Run {
            ui: &context.ui,
            place: place(&client, asked, &ready),
            deadline: Deadline::after(asked.timeout),
            consents: asked.consents,
        };
        run.run().await
    };
    session::on_cluster(&state, asked.namespace, false, hint, work)
        .await
        .map_err(|error| error.while_doing(format!("cannot repair cluster `{}`", asked.name)))
}

async fn ready(client: &Client, asked: &Asked<'_>) -> Result<Ready, CommandError> {
    let Asked { name, namespace, .. } = *asked;
    let existing = cluster::existing(client, namespace, name).await?;
    let view = watch::read(client, namespace, name).await;
    let identity = cluster::identity(client, namespace, &existing, &view).await?;
    let server = identity.client()?;
    preflight::contact(&identity, &server).await?;
    let factor = existing.request.as_ref().map_or(1, |request| request.timeouts.factor());
    let factor = i32::try_from(factor).unwrap_or(i32::MAX);
    Ok(Ready { server, startup: STARTUP.saturating_mul(factor) })
}

fn place<'a>(client: &'a Client, asked: &Asked<'a>, ready: &'a Ready) -> Place<'a> {
    Place {
        client,
        server: &ready.server,
        namespace: asked.namespace,
        cluster: asked.name,
        began: Timestamp::now(),
        startup: ready.startup,
    }
}
