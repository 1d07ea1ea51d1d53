//! Support bundle: one file with everything that helps to diagnose a cluster, without secrets.
//!
//! Failures to collect something are noted in the bundle. Only unreadable Secrets abort it, since
//! their values could not be redacted.

mod archive;
mod machines;
mod objects;
mod redact;
mod workload;

use camino::Utf8Path;
use jiff::Timestamp;
use kube::Client;

use crate::Context;
use crate::cluster;
use crate::commands::describe;
use crate::error::{CommandError, Doing as _};
use crate::machine_exec;
use crate::state::write_new_private;
use crate::watch;
use archive::Archive;
use redact::SecretCollector;

/// Writes the bundle of a cluster to a new file that only this user can read.
///
/// # Errors
///
/// Returns an error if the file exists or cannot be written, or if the plane does not respond.
///
/// # Cancellation
///
/// No file is left.
pub(crate) async fn write(
    context: &Context,
    client: &Client,
    namespace: &str,
    name: &str,
    file: &Utf8Path,
) -> Result<(), CommandError> {
    if file.exists() {
        return Err(
            CommandError::new(format!("{file} already exists")).hint("choose another file name")
        );
    }
    let step = context.ui.step(format!("bundle of cluster `{name}`"));
    let doing = "cannot compile the redaction patterns";
    let mut learning = SecretCollector::new().doing(doing)?;
    objects::learn(&mut learning, client, namespace, name).await?;
    let secrets = learning.done().doing(doing)?;
    let now = Timestamp::now();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let mut archive = Archive::new(&format!("capn-{name}"), seconds);
    cluster::existing(client, namespace, name).await?;
    let view = watch::read(client, namespace, name).await;
    let about = format!("cluster {namespace}/{name}, capn {}, {now}\n", env!("CARGO_PKG_VERSION"));
    let tree = format!("{about}\n{}", describe::text(&view));
    archive.add("describe.txt", &secrets.clean(&tree)).doing("cannot write the bundle")?;
    step.detail("objects");
    objects::add(&mut archive, &secrets, client, namespace, name).await?;
    step.detail("server");
    match server_facts(client, namespace, name).await {
        Ok(facts) => {
            let text = secrets.clean(&workload::server(facts)?);
            archive.add("server.yaml", &text).doing("cannot write the bundle")?;
        }
        Err(error) => archive.note(format!("the server: {}", secrets.clean(&error.to_string()))),
    }
    step.detail("workload cluster");
    workload::add(&mut archive, &secrets, client, namespace, name).await?;
    step.detail("machines");
    match machine_exec::all_of(client, namespace, name).await {
        Ok(ways) => machines::add(&mut archive, &secrets, ways).await?,
        Err(error) => archive.note(format!("the machines: {}", secrets.clean(&error.to_string()))),
    }
    let missing = archive.missing();
    let bytes = archive.finish().doing("cannot write the bundle")?;
    write_new_private(file, &bytes)?;
    step.done(format!("{file}: {} KiB", bytes.len().div_ceil(1024)));
    if missing > 0 {
        context.ui.note(format!("{missing} items are missing; see `missing.txt` in the bundle"));
    }
    context
        .ui
        .say("keys, tokens and bootstrap data are redacted; review the bundle before you share it");
    Ok(())
}

/// Returns the information of the cluster's server.
async fn server_facts(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<serde_json::Value, CommandError> {
    let found = machine_exec::server_of(client, namespace, name).await?;
    let facts = found.server.server().await.doing("cannot read the server's information")?;
    serde_json::to_value(&facts).doing("cannot write the server's information")
}
