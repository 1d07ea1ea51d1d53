//! `--orphans`: lists server resources of unknown clusters.

use crate::Context;
use crate::commands::image::ServerArgs;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::orphans::{self, ClusterKey, DeleteRequest, Plan, held, plan};
use crate::output::Format;
use crate::preflight;
use crate::state::StateDir;

/// Lists orphans and the commands that delete them.
pub(super) async fn run(
    context: &Context,
    identity: &Identity,
    server: &ServerArgs,
    format: Format,
) -> Result<(), CommandError> {
    let client = identity.client()?;
    preflight::contact(identity, &client).await?;
    let resources = match &identity.project {
        Some(project) => orphans::of_project(&client, Some(project)).await?,
        None => orphans::of_projects(&client).await?,
    };
    let state = StateDir::of(context)?;
    let known = held(context, &state).await?;
    let Plan { orphans: found, .. } = plan(resources, &known, None);
    let ui = &context.ui;
    let for_people = matches!(format, Format::Table | Format::Wide);
    if found.is_empty() && for_people {
        ui.say(format!("{} has no resources of unknown clusters", identity.shown()));
        return Ok(());
    }
    orphans::print(ui, &found, format)?;
    if for_people {
        ui.note("a management cluster or a state directory on another machine may still own them; if not:");
        let mut places: Vec<(Option<&str>, &ClusterKey)> = found
            .iter()
            .map(|orphan| (orphan.resource.project.as_deref(), &orphan.cluster_key))
            .collect();
        places.sort();
        places.dedup();
        for (project, cluster_key) in places {
            let remote = server.remote.as_deref();
            let project = project.filter(|project| *project != "default" || remote.is_some());
            ui.say(format!(
                "  {}",
                DeleteRequest { cluster_key, remote, project, yes: false }.command()
            ));
        }
    }
    Ok(())
}
