//! Deletes a cluster whose server is gone or does not release a resource.

use std::time::Duration;

use capi_api::{Machine, labels};
use capn_api::keys::ORPHAN_INSTANCES_ANNOTATION;
use capn_api::{LXCCluster, LXCMachine};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::remove::Removal;
use crate::error::{CommandError, Doing as _};
use crate::exit::Exit;
use crate::identity::Identity;
use crate::preflight;
use crate::ui::Ui;
use crate::watch::{self, Deadline, Objects};

/// Time limit for deleting objects that need no request to the server.
const PROMPT: Duration = Duration::from_secs(60);
/// Time limit for the server to respond to a liveness request.
const ANSWER: Duration = Duration::from_secs(10);

/// Waits until the objects of a cluster are gone. By force, it also drops objects whose server
/// resources cannot be deleted. Returns the names of instances that remain on the server.
///
/// # Errors
///
/// Returns an error if objects remain at the deadline.
///
/// # Cancellation
///
/// The objects are being deleted; the same call continues to wait.
pub(super) async fn follow(
    ui: &Ui,
    client: &Client,
    removal: Removal<'_>,
    identity: Option<&Identity>,
) -> Result<Vec<String>, CommandError> {
    let Removal { namespace, name, wait, force } = removal;
    let mut objects = Objects::of(client, namespace, name);
    if force && let Err(error) = answers(identity, wait.min(ANSWER)).await {
        ui.note(format!("{error}; the cluster's resources there are left in place"));
    } else {
        match watch::follow_removal(ui, &mut objects, Deadline::after(wait)).await {
            Err(error) if force && error.exit() == Exit::Failed => {
                ui.note(format!("forcing deletion: {error}"));
            }
            ended => return ended.map(|()| Vec::new()),
        }
    }
    let left = leave(client, namespace, name).await?;
    // One step for the whole cluster: nothing left on the server may be reported as deleted.
    let step = ui.step(format!("delete the objects of cluster `{name}`"));
    let prompt = wait.min(PROMPT);
    match tokio::time::timeout(prompt, gone(&mut objects)).await {
        Ok(()) => step.done(format!("the objects of cluster `{name}` are deleted")),
        Err(_) => {
            step.failed(format!("the objects of cluster `{name}` are not deleted yet"));
            return Err(CommandError::new(format!("its objects still exist after {prompt:?}"))
                .hint(format!("see what blocks them: `capn describe cluster {name}`")));
        }
    }
    Ok(left)
}

/// Waits until no object of the cluster is left.
async fn gone(objects: &mut Objects) {
    loop {
        let view = objects.changed().await;
        let is_empty = view.machines.is_empty() && view.lxc_machines.is_empty();
        if is_empty && view.cluster.is_none() && view.lxc_cluster.is_none() {
            return;
        }
    }
}

/// Returns an error if the server does not respond within the time.
async fn answers(identity: Option<&Identity>, within: Duration) -> Result<(), CommandError> {
    let Some(identity) = identity else {
        return Err(CommandError::new("no Secret with the server's identity exists"));
    };
    let client = identity.client()?;
    match tokio::time::timeout(within, preflight::contact(identity, &client)).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Err(CommandError::new(format!("{} does not respond", identity.shown()))),
    }
}

/// Removes the finalizer conditions of objects, so that they are deleted without their instances.
/// Returns the names of the instances.
async fn leave(client: &Client, namespace: &str, name: &str) -> Result<Vec<String>, CommandError> {
    let view = watch::read(client, namespace, name).await;
    let orphan = json!({ ORPHAN_INSTANCES_ANNOTATION: "true" });
    for machine in &view.lxc_machines {
        annotate::<LXCMachine>(client, namespace, &machine.name_any(), &orphan).await?;
    }
    if let Some(cluster) = &view.lxc_cluster {
        annotate::<LXCCluster>(client, namespace, &cluster.name_any(), &orphan).await?;
    }
    for machine in &view.machines {
        let hooks = hooks(machine);
        if !hooks.is_empty() {
            annotate::<Machine>(client, namespace, &machine.name_any(), &hooks.into()).await?;
        }
    }
    let mut left: Vec<String> =
        view.lxc_machines.iter().map(|machine| machine.name_any()).collect();
    if view.lxc_cluster.is_some() {
        left.push("its load balancer".to_owned());
    }
    Ok(left)
}

/// Returns a patch that removes deletion hooks from a machine.
fn hooks(machine: &Machine) -> Map<String, Value> {
    let is_hook = |key: &&String| {
        [labels::PRE_DRAIN_HOOK_PREFIX, labels::PRE_TERMINATE_HOOK_PREFIX]
            .into_iter()
            .any(|prefix| key.starts_with(prefix))
    };
    machine.annotations().keys().filter(is_hook).map(|key| (key.clone(), Value::Null)).collect()
}

/// Sets annotations on an object. Succeeds if the object is gone.
async fn annotate<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    annotations: &Value,
) -> Result<(), CommandError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).doing(format!("cannot change {} `{name}`", K::kind(&()))),
    }
}

/// Prints what remains on the server.
pub(super) fn left(
    removal: Removal<'_>,
    identity: Option<&Identity>,
    left: &[String],
) -> CommandError {
    let Removal { namespace, name, .. } = removal;
    let there = identity.map_or_else(|| "its server".to_owned(), Identity::shown);
    let mut command = format!("capn delete cluster {name}");
    if namespace != "default" {
        command.push_str(&format!(" -n {namespace}"));
    }
    command.push_str(" --from-server");
    if identity.is_none_or(|identity| identity.socket().is_none()) {
        command.push_str(" --remote REMOTE");
    }
    if let Some(project) = identity.and_then(|identity| identity.project.as_ref()) {
        command.push_str(&format!(" --project {}", crate::identity::word(project)));
    }
    CommandError::new(format!(
        "the objects of the cluster are deleted, but {there} may still have: {}",
        left.join(", ")
    ))
    .hint(format!("when the server responds again: `{command}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_listed_with_the_command_that_deletes_them() {
        let removal = Removal { namespace: "team", name: "demo", wait: PROMPT, force: true };
        let identity =
            Identity { project: Some("lab".into()), ..crate::identity::testing::local() };
        let text = left(removal, Some(&identity), &["a".into(), "b".into()])
            .render(|_, text| text.to_owned());
        assert_eq!(
            text,
            "Error: the objects of the cluster are deleted, but the server at unix:///var/lib/incus/unix.socket, \
             project `lab` may still have: a, b\n\
             Hint: when the server responds again: `capn delete cluster demo -n team --from-server --project lab`\n"
        );
    }
}
