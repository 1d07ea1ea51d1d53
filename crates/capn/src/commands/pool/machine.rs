//! `capn delete machine`

use std::time::Duration;

use capi_api::{KubeadmControlPlane, Machine, MachineDeployment, labels};
use clap::Args;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::at_work;
use crate::Context;
use crate::cluster::{self, pools};
use crate::commands::{NamespaceArg, duration};
use crate::error::{CommandError, Doing as _};
use crate::exit::Exit;
use crate::session;
use crate::state::StateDir;
use crate::watch::{self, Deadline, Objects, Scope};

/// Annotation value on a marked machine: the replica count to set, so that a restarted command does
/// not reduce it twice.
const SCALED_TO: &str = "scaled-to-";

/// Options of `delete machine`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The node is drained first. A new machine replaces it unless --scale-down is given.\n\nExample:\n  capn delete machine demo-md-0-ks9lf-k6n8v --scale-down"
)]
pub struct DeleteMachineArgs {
    /// Name of the machine, as shown by `capn get machines`
    pub name: String,
    /// Reduce the size of its pool instead of replacing the machine
    #[arg(long)]
    pub scale_down: bool,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until it is deleted and replaced
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub wait: Duration,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: DeleteMachineArgs,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let namespace = args.namespace.namespace.as_str();
    let name = args.name.as_str();
    let work = async |client: Client| remove(context, &client, &args).await;
    session::on_cluster(&state, namespace, false, "", work).await.map_err(|error| {
        match error.exit() {
            Exit::Usage => error,
            Exit::Interrupted => error.hint("run the same command again to continue"),
            _ => error.while_doing(format!("cannot delete machine `{name}`")),
        }
    })
}

async fn remove(
    context: &Context,
    client: &Client,
    args: &DeleteMachineArgs,
) -> Result<(), CommandError> {
    let namespace = args.namespace.namespace.as_str();
    let name = args.name.as_str();
    let machines: Api<Machine> = Api::namespaced(client.clone(), namespace);
    let doing = || format!("cannot look up machine `{name}`");
    let Some(machine) = machines.get_opt(name).await.doing(doing())? else {
        context.ui.say(format!(
            "machine `{name}` does not exist: nothing to delete; list machines: `capn get machines`"
        ));
        return Ok(());
    };
    let cluster = machine.spec.cluster_name.clone();
    let existing = cluster::existing(client, namespace, &cluster).await?;
    at_work(&existing, &cluster)?;
    let before = watch::read(client, namespace, &cluster).await;
    let machine_owner = machine_owner(&machine, before.control_plane.as_deref(), args.scale_down)?;
    let scope = match &machine_owner {
        MachineOwner::ControlPlane => Scope::Some { control_planes: true, deployments: Vec::new() },
        MachineOwner::Pool(deployment) => {
            Scope::Some { control_planes: false, deployments: vec![deployment.clone()] }
        }
    };
    let view = scope.narrow(before);
    let known = watch::reached(&view, &watch::DesiredState::by(&view));
    let was_available = watch::is_available(&view);
    match &machine_owner {
        MachineOwner::Pool(deployment) if args.scale_down => {
            scale_down(client, namespace, deployment, &machine).await?;
        }
        _ => {
            machines
                .delete(name, &DeleteParams::background())
                .await
                .doing("the plane refused the change")?;
        }
    }
    let mut objects = Objects::of(client, namespace, &cluster).within(scope);
    let deadline = Deadline::after(args.wait);
    let followed = watch::follow_applied(&context.ui, &mut objects, deadline, known).await;
    let view = followed.map_err(|error| {
        error.hint(format!(
            "see what blocks it: `capn describe cluster {cluster}`; run the same command again to continue"
        ))
    })?;
    if machines.get_opt(name).await.doing(doing())?.is_some() {
        // An earlier command marked it, and the replica count has changed since.
        return Err(CommandError::new(
            "the machine was not deleted because the number of machines changed in the meantime",
        )
        .hint(format!("to replace it: `capn delete machine {name}`")));
    }
    if was_available {
        watch::settle(&context.ui, &mut objects, view, deadline).await;
    }
    context.ui.say(match (&machine_owner, args.scale_down) {
        (MachineOwner::Pool(deployment), true) => {
            let pool = pools::shown(&cluster, deployment);
            format!("machine `{name}` is deleted; pool `{pool}` has one machine fewer")
        }
        _ => format!("machine `{name}` is deleted and replaced"),
    });
    Ok(())
}

/// Owner of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MachineOwner {
    ControlPlane,
    /// The MachineDeployment.
    Pool(String),
}

/// Returns the owner of the machine, if the machine may be deleted.
fn machine_owner(
    machine: &Machine,
    control_plane: Option<&KubeadmControlPlane>,
    scale_down: bool,
) -> Result<MachineOwner, CommandError> {
    let cluster = &machine.spec.cluster_name;
    if machine.is_control_plane() {
        let Some(control_plane) = control_plane else {
            return Err(CommandError::new(
                "the machine is not managed by a KubeadmControlPlane, so nothing would replace it",
            )
            .hint(format!("delete the whole cluster: `capn delete cluster {cluster}`")));
        };
        if scale_down {
            return Err(CommandError::usage(
                "`--scale-down` only supports workers: the number of control planes must be odd",
            )
            .hint(format!("`capn scale {cluster} --control-planes N`")));
        }
        if control_plane.spec.replicas.unwrap_or(1) < 2 {
            return Err(CommandError::new(
                "it is the only control plane machine, and its etcd contains the cluster's data",
            )
            .hint(format!("add more first: `capn scale {cluster} --control-planes 3`"))
            .hint(format!("if it is broken: `capn repair {cluster}`")));
        }
        return Ok(MachineOwner::ControlPlane);
    }
    match machine.labels().get(labels::DEPLOYMENT_NAME) {
        Some(deployment) => Ok(MachineOwner::Pool(deployment.clone())),
        None => Err(CommandError::new("it does not belong to a pool, so nothing would replace it")
            .hint(format!(
                "to delete it anyway: `kubectl delete machine {}` against `capn serve`",
                machine.name_any()
            ))),
    }
}

/// Marks a machine for deletion and reduces the replicas of its MachineDeployment by one. Both
/// writes are idempotent.
async fn scale_down(
    client: &Client,
    namespace: &str,
    deployment: &str,
    machine: &Machine,
) -> Result<(), CommandError> {
    let doing = || format!("cannot look up the MachineDeployment `{deployment}`");
    let deployments: Api<MachineDeployment> = Api::namespaced(client.clone(), namespace);
    let found = deployments.get(deployment).await.doing(doing())?;
    let is = found.spec.replicas.unwrap_or(1);
    let mark = machine.annotations().get(labels::DELETE_MACHINE);
    let wanted = wanted(mark.map(String::as_str), is);
    let machines: Api<Machine> = Api::namespaced(client.clone(), namespace);
    let value = format!("{SCALED_TO}{wanted}");
    let patch =
        Patch::Merge(json!({ "metadata": { "annotations": { labels::DELETE_MACHINE: value } } }));
    let name = machine.name_any();
    machines
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .doing(format!("cannot mark machine `{name}`"))?;
    if wanted < is {
        let wanted = u32::try_from(wanted).unwrap_or(0);
        pools::set_replicas::<MachineDeployment>(client, namespace, deployment, wanted).await?;
    }
    Ok(())
}

/// Returns the desired replicas: the marked value if an earlier command set one.
fn wanted(mark: Option<&str>, is: i32) -> i32 {
    let begun = mark.and_then(|mark| mark.strip_prefix(SCALED_TO)?.parse::<i32>().ok());
    match begun {
        // The count was already reduced, by this command or by another user.
        Some(begun) if begun >= is => is,
        _ => (is - 1).max(0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn machine(labels: Value) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "m", "labels": labels },
            "spec": { "clusterName": "demo", "bootstrap": {},
                "infrastructureRef": { "apiGroup": "a", "kind": "B", "name": "c" } },
        }))
        .unwrap()
    }

    fn control_plane(replicas: i32) -> KubeadmControlPlane {
        serde_json::from_value(json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
            "metadata": { "name": "demo" },
            "spec": { "version": "v1.37.0", "replicas": replicas, "machineTemplate": { "spec": {
                "infrastructureRef": { "apiGroup": "a", "kind": "B", "name": "c" } } } },
        }))
        .unwrap()
    }

    #[test]
    fn a_machine_without_an_owner_is_not_deleted() {
        let worker = machine(json!({ "cluster.x-k8s.io/deployment-name": "demo-md-0" }));
        let master = machine(json!({ "cluster.x-k8s.io/control-plane": "" }));
        let (one, three) = (control_plane(1), control_plane(3));
        let pool = Some(MachineOwner::Pool("demo-md-0".to_owned()));
        for (machine, of, scale_down, expected) in [
            (&worker, Some(&one), false, pool.clone()),
            (&worker, None, true, pool),
            (&machine(json!({})), Some(&one), false, None),
            (&master, Some(&three), false, Some(MachineOwner::ControlPlane)),
            (&master, Some(&three), true, None),
            (&master, Some(&one), false, None),
            (&master, None, false, None),
        ] {
            assert_eq!(machine_owner(machine, of, scale_down).ok(), expected);
        }
    }

    #[test]
    fn replicas_are_reduced_once() {
        for (mark, is, expected) in [
            (None, 3, 2),
            (None, 0, 0),
            (Some(""), 3, 2),
            (Some("yes"), 3, 2),
            // Interrupted after the mark, and after the count.
            (Some("scaled-to-2"), 3, 2),
            (Some("scaled-to-2"), 2, 2),
            // Another user reduced the pool meanwhile.
            (Some("scaled-to-2"), 1, 1),
            // Or enlarged it.
            (Some("scaled-to-2"), 5, 4),
        ] {
            assert_eq!(wanted(mark, is), expected, "{mark:?} {is}");
        }
    }
}
