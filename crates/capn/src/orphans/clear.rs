//! `capn delete cluster NAME --from-server`: deletes a cluster whose state is lost.

use super::{ClusterKey, Orphan, Plan, apply, held, of_project, plan};
use crate::Context;
use crate::error::CommandError;
use crate::identity::{self, Identity};
use crate::preflight;
use crate::signal::Interrupt;
use crate::state::StateDir;

/// What to delete, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeleteRequest<'a> {
    /// The cluster.
    pub(crate) cluster_key: &'a ClusterKey,
    /// Remote in the client configuration; `None` is the local socket.
    pub(crate) remote: Option<&'a str>,
    /// Project; `None` is the remote's project.
    pub(crate) project: Option<&'a str>,
    /// Skip the confirmation.
    pub(crate) yes: bool,
}

impl DeleteRequest<'_> {
    /// Returns the command that performs this request.
    pub(crate) fn command(&self) -> String {
        let mut command = format!("capn delete cluster {}", self.cluster_key.name);
        if self.cluster_key.namespace != "default" {
            command.push_str(&format!(" -n {}", self.cluster_key.namespace));
        }
        command.push_str(" --from-server");
        for (flag, value) in [("--remote", self.remote), ("--project", self.project)] {
            if let Some(value) = value {
                command.push_str(&format!(" {flag} {value}"));
            }
        }
        command
    }
}

/// Deletes server resources of a cluster whose owner is in no state directory of this machine.
///
/// # Errors
///
/// Returns an error if the server or a state directory cannot be read, if the user declines, or if
/// something remains.
///
/// # Cancellation
///
/// Remaining resources are kept, and the same command continues.
pub(crate) async fn clear(
    context: &Context,
    state: &StateDir,
    asked: &DeleteRequest<'_>,
) -> Result<(), CommandError> {
    let identity = identity::resolve(&context.environment, asked.remote, asked.project)?;
    let server = identity.client()?;
    preflight::contact(&identity, &server).await?;
    let resources = of_project(&server, identity.project.as_deref()).await?;
    let known = held(context, state).await?;
    let Plan { orphans, kept } = plan(resources, &known, Some(asked.cluster_key));
    let (ui, name, there) = (&context.ui, &asked.cluster_key.name, identity.shown());
    for (resource, why) in &kept {
        ui.note(format!("{} `{}` stays: {why}", resource.kind.as_str(), resource.name));
    }
    if orphans.is_empty() && kept.is_empty() {
        ui.say(format!("{there} has no resources of cluster `{name}`"));
        return Ok(());
    }
    if orphans.is_empty() {
        return Err(CommandError::new(format!(
            "{there} has no orphaned resources of cluster `{name}`"
        ))
        .hint(format!(
            "to delete a cluster known to a state directory: `capn delete cluster {name}`"
        )));
    }
    if !agreed(context, asked, &identity, &orphans)? {
        return Err(CommandError::new("nothing was deleted"));
    }
    let mut interrupt = Interrupt::listen()?;
    let deleted = tokio::select! {
        deleted = apply::delete(ui, &server, &orphans) => deleted,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    };
    deleted.map_err(|error| error.hint(format!("continue with `{}`", asked.command())))?;
    ui.say(format!("cluster `{name}` is deleted from {there}: {}", counted(&orphans)));
    Ok(())
}

/// Lists what would be deleted and asks for confirmation.
fn agreed(
    context: &Context,
    asked: &DeleteRequest<'_>,
    identity: &Identity,
    orphans: &[Orphan],
) -> Result<bool, CommandError> {
    let ui = &context.ui;
    ui.say(format!(
        "no state directory on this machine has the owners of these resources on {}:",
        identity.shown()
    ));
    for Orphan { resource, .. } in orphans {
        let made = resource.created_at.split('T').next().filter(|day| !day.is_empty());
        let facts: Vec<String> =
            [Some(resource.status.to_lowercase()), made.map(|day| format!("created {day}"))]
                .into_iter()
                .flatten()
                .filter(|fact| !fact.is_empty())
                .collect();
        let facts =
            if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        ui.say(format!("  {} `{}`{facts}", resource.kind.as_str(), resource.name));
    }
    if asked.yes {
        return Ok(true);
    }
    ui.note("a management cluster or a state directory on another machine may still own them");
    let question = format!("Delete them, with all data of cluster `{}`?", asked.cluster_key.name);
    ui.ask(&question).ok_or_else(|| {
        CommandError::usage("`--from-server` asks for confirmation, but there is no terminal")
            .hint(format!("delete without asking: `{} --yes`", asked.command()))
    })
}

/// Counts resources by kind.
fn counted(orphans: &[Orphan]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for orphan in orphans {
        let what = orphan.resource.kind.as_str();
        match counts.iter_mut().find(|(other, _)| *other == what) {
            Some((_, count)) => *count += 1,
            None => counts.push((what, 1)),
        }
    }
    let words = counts.iter().map(|(what, count)| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    });
    words.collect::<Vec<_>>().join(", ")
}
