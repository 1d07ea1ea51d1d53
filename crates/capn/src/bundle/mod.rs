//! A bundle: one file with everything of a cluster that helps to find out what is wrong, without secrets.
//!
//! What does not answer is named in the bundle instead of failing it; only Secrets that cannot be read end it,
//! since their values could not be taken out.

mod archive;
mod machines;
mod objects;
mod redact;
mod workload;

use camino::Utf8Path;
use jiff::Timestamp;
use kube::Client;

use crate::Context;
use crate::commands::describe;
use crate::error::{CommandError, Doing as _};
use crate::inside;
use crate::state::write_new_private;
use archive::Archive;
use redact::Learning;

/// Writes the bundle of a cluster into a new file that only this user can read.
///
/// # Errors
///
/// When the file is there already or cannot be written, or the plane does not answer.
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
            CommandError::new(format!("{file} is there already")).hint("name a file that is not")
        );
    }
    let step = context.ui.step(format!("bundle of cluster `{name}`"));
    let doing = "cannot look for secrets";
    let mut learning = Learning::new().doing(doing)?;
    objects::learn(&mut learning, client, namespace, name).await?;
    let secrets = learning.done().doing(doing)?;
    let now = Timestamp::now();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let mut archive = Archive::new(&format!("capn-{name}"), seconds);
    let found = inside::server_of(client, namespace, name).await?;
    let about = format!("cluster {namespace}/{name}, capn {}, {now}\n", env!("CARGO_PKG_VERSION"));
    let tree = format!("{about}\n{}", describe::text(&found.view));
    archive.add("describe.txt", &secrets.clean(&tree)).doing("cannot write the bundle")?;
    step.detail("objects");
    objects::add(&mut archive, &secrets, client, namespace, name).await?;
    step.detail("server");
    match found.server.server().await {
        Ok(facts) => {
            let facts = serde_json::to_value(&facts).doing("cannot write what the server is")?;
            let text = secrets.clean(&workload::server(facts)?);
            archive.add("server.yaml", &text).doing("cannot write the bundle")?;
        }
        Err(error) => archive.note(format!("the server: {}", secrets.clean(&error.to_string()))),
    }
    step.detail("workload cluster");
    workload::add(&mut archive, &secrets, client, namespace, name).await?;
    step.detail("machines");
    let ways = inside::all_of(client, namespace, name).await?;
    machines::add(&mut archive, &secrets, ways).await?;
    let missing = archive.missing();
    let bytes = archive.finish().doing("cannot write the bundle")?;
    write_new_private(file, &bytes)?;
    step.done(format!("{file}: {} KiB", bytes.len().div_ceil(1024)));
    if missing > 0 {
        context.ui.note(format!("{missing} things are missing: `missing.txt` in it says which"));
    }
    context
        .ui
        .say("keys, tokens and bootstrap data are taken out; look into it before you give it away");
    Ok(())
}
