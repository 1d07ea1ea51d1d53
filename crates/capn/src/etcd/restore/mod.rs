//! Restores a cluster from an etcd snapshot.
//!
//! The state is observed, a machine is [chosen](plan) without I/O and [noted](note), and the
//! restore is carried out: the control plane stops on all its machines, one of them restores the
//! data and becomes the only etcd member, and the KubeadmControlPlane recreates the others. If no
//! control plane instance is left, a [new first machine](anew) is created before that. The cluster
//! is paused meanwhile, so that nothing replaces unresponsive machines. Every step is idempotent,
//! and the note records the progress.

mod after;
mod anew;
mod check;
mod member;
mod node;
mod note;
mod plan;

use std::collections::HashSet;
use std::time::Duration;

use capi_api::{Cluster, Machine};
use capn_api::LXCMachine;
use capn_plan::{Owner, Ownership, Role};
use jiff::Timestamp;
use kube::{Client, ResourceExt as _};

use super::take::{Keeper, Unfit, fitness};
use super::{Folder, Kept, size};
use crate::Context;
use crate::cluster::{self, Existing};
use crate::error::{CommandError, Doing as _};
use crate::identity::{self, Identity};
use crate::preflight;
use crate::session;
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{self, Deadline, Objects, Scope, View};
use anew::Anew;
use node::Node;
use note::{Note, Phase};
use plan::{Candidate, Choice, Instance};

/// A restore request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The snapshot: a file, a name in the state directory, or `latest`.
    pub from: &'a str,
    /// Skip the confirmation.
    pub yes: bool,
    /// Skip plausibility checks.
    pub force: bool,
    /// Total time limit.
    pub wait: Duration,
}

/// Restores a cluster from a snapshot, or continues to.
///
/// # Errors
///
/// Returns an error if it is refused before any change, or if a step fails; the same command then
/// continues.
pub async fn restore(context: &Context, asked: &Asked<'_>) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let hint = "the restore is not complete and the cluster stays paused; run the same command again to continue";
    let work = async |client: Client| run(context, &state, &client, asked).await;
    let act = format!("cannot restore etcd of cluster `{}`", asked.name);
    let done = session::on_cluster(&state, asked.namespace, false, hint, work).await;
    done.map_err(|error| error.while_doing(act))
}

async fn run(
    context: &Context,
    state: &StateDir,
    client: &Client,
    asked: &Asked<'_>,
) -> Result<(), CommandError> {
    let Asked { name, namespace, .. } = *asked;
    let existing = cluster::existing(client, namespace, name).await?;
    let view = watch::read(client, namespace, name).await;
    let found = view.cluster.clone();
    let cluster =
        found.as_deref().ok_or_else(|| CommandError::new("the cluster no longer exists"))?;
    let folder = Keeper::of(state).folder(namespace, name)?;
    let uid = cluster.uid().unwrap_or_default();
    let begun = Note::read(&folder, &uid)?;
    match fitness(cluster, view.control_plane.as_deref()) {
        Ok(()) | Err(Unfit::Paused) => {}
        // An interrupted restore is creating the first machine.
        Err(Unfit::NotInitialized) if begun.as_ref().is_some_and(|note| note.anew.is_some()) => {}
        Err(unfit) => return Err(CommandError::new(unfit.to_string())),
    }
    let identity = cluster::identity(client, namespace, &existing, &view).await?;
    let server = identity.client()?;
    preflight::contact(&identity, &server).await?;
    let note = match begun {
        Some(note) => {
            context.ui.note(format!("continuing the restore of {}", note.snapshot));
            note
        }
        None => {
            let Some(note) =
                begin(context, client, &server, asked, &view, cluster, &folder).await?
            else {
                return Ok(());
            };
            note
        }
    };
    let work = Work {
        ui: &context.ui,
        client,
        server: &server,
        identity: &identity,
        existing: &existing,
        asked,
        cluster,
        folder: &folder,
    };
    let done = work.run(note).await;
    done.map_err(|error| {
        error.hint("the cluster stays paused until the restore is complete; run the same command again to continue")
    })
}

/// Validates, plans and asks for confirmation. Only writes the note. `None` if the user declines.
async fn begin(
    context: &Context,
    plane: &Client,
    server: &incus_client::Client,
    asked: &Asked<'_>,
    view: &View,
    cluster: &Cluster,
    folder: &Folder,
) -> Result<Option<Note>, CommandError> {
    let Asked { name, namespace, .. } = *asked;
    let uid = cluster.uid().unwrap_or_default();
    let kept = check::find(folder, asked.from, &uid)?;
    let step = context.ui.step(format!("check {}", kept.path));
    let path = kept.path.clone();
    let reading = tokio::task::spawn_blocking(move || check::read(&path));
    let content = reading.await.doing("cannot read the snapshot")??;
    let version = view.control_plane.as_ref().map(|found| found.spec.version.as_str());
    let subject =
        check::Subject { namespace, name, uid: &uid, version: version.unwrap_or_default() };
    check::verdict(&content, kept.record.as_ref(), subject, asked.force)?;
    step.done(format!("{} is complete, {}", kept.path, size(content.size_bytes)));
    let candidates = candidates(server, view, cluster).await?;
    let (choice, anew) = match (anew::lost(&candidates), view.control_plane.as_deref()) {
        (Some(lost), Some(control_plane)) => {
            anew::check(plane, namespace, name).await?;
            let anew = anew::observe(plane, namespace, control_plane, name, lost).await?;
            (Choice::default(), Some(anew))
        }
        _ => (plan::choose(name, &candidates)?, None),
    };
    tell(&context.ui, name, &kept, &choice, anew.as_ref());
    if !asked.yes {
        match context.ui.ask("Restore the snapshot?") {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => {
                return Err(CommandError::usage(
                    "the restore asks for confirmation, but there is no terminal",
                )
                .hint(format!(
                    "restore without asking: `capn etcd snapshot restore {name} --from {} --yes`",
                    asked.from
                )));
            }
        }
    }
    let Choice { machine, instance, others } = choice;
    let note = Note {
        id: Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string(),
        uid,
        snapshot: kept.path,
        sha256: content.sha256,
        machine,
        instance,
        others,
        was_paused: cluster.spec.paused == Some(true),
        phase: if anew.is_some() { Phase::First } else { Phase::Data },
        started: None,
        anew,
    };
    note.write(folder)?;
    Ok(Some(note))
}

/// Prints what will be done and its consequences.
fn tell(ui: &Ui, name: &str, kept: &Kept, choice: &Choice, anew: Option<&Anew>) {
    let taken = kept.taken().strftime("%Y-%m-%d %H:%M:%SZ");
    ui.say(format!(
        "cluster `{name}` will be restored to {taken}: later changes in its API are lost, and it is unavailable during the restore"
    ));
    if let Some(anew) = anew {
        ui.say("  no instance of the control plane is left: a new first machine runs `kubeadm init` and restores the data");
        if !anew.lost.is_empty() {
            ui.say(format!(
                "  machines whose instances are gone are deleted: {}",
                anew.lost.join(", ")
            ));
        }
        if anew.replicas.is_some_and(|replicas| replicas > 1) {
            ui.say("  the other control plane machines join after it");
        }
        return;
    }
    ui.say(format!("  `{}` restores the data and becomes the only etcd member", choice.instance));
    if !choice.others.is_empty() {
        ui.say(format!(
            "  other control plane machines are replaced: {}",
            choice.others.join(", ")
        ));
    }
}

/// Returns the state of the control plane machines.
async fn candidates(
    server: &incus_client::Client,
    view: &View,
    cluster: &Cluster,
) -> Result<Vec<Candidate>, CommandError> {
    let mut candidates = Vec::new();
    for machine in view.machines.iter().filter(|machine| machine.is_control_plane()) {
        let lxc_machine = view.lxc_machine(machine);
        let name = machine.spec.infrastructure_ref.name.clone();
        let instance = match lxc_machine {
            None => Instance::Missing,
            Some(lxc_machine) => look(server, machine, lxc_machine, cluster).await?,
        };
        candidates.push(Candidate {
            machine: machine.name_any(),
            name,
            created: machine.creation_timestamp().map(|at| at.0).unwrap_or_default(),
            is_leaving: machine.metadata.deletion_timestamp.is_some(),
            instance,
        });
    }
    Ok(candidates)
}

/// Returns the state of an instance.
async fn look(
    server: &incus_client::Client,
    machine: &Machine,
    lxc_machine: &LXCMachine,
    cluster: &Cluster,
) -> Result<Instance, CommandError> {
    let name = lxc_machine.name_any();
    let found = server.instance(&name).await.doing(format!("cannot read instance `{name}`"))?;
    let Some(found) = found else { return Ok(Instance::Missing) };
    let role = if machine.is_control_plane() { Role::ControlPlane } else { Role::Worker };
    let owner = Owner {
        namespace: cluster.namespace().unwrap_or_default(),
        uid: lxc_machine.uid().unwrap_or_default(),
        cluster: cluster.name_any(),
        machine: Some(machine.name_any()),
        name: name.clone(),
        role,
    };
    let is_vouched = lxc_machine.spec.provider_id.is_some();
    if let Ownership::Foreign(whose) = owner.of(&found.value.config, is_vouched) {
        return Ok(Instance::Foreign(whose));
    }
    if !found.value.is_running() {
        return Ok(Instance::Stopped);
    }
    if role == Role::Worker {
        return Ok(Instance::WithoutEtcd);
    }
    let node = Node { server, instance: &name, exec: None };
    Ok(if node.is_true(node::HAS_ETCD).await? { Instance::Fit } else { Instance::WithoutEtcd })
}

/// A restore in progress.
struct Work<'a> {
    ui: &'a Ui,
    client: &'a Client,
    server: &'a incus_client::Client,
    identity: &'a Identity,
    existing: &'a Existing,
    asked: &'a Asked<'a>,
    cluster: &'a Cluster,
    folder: &'a Folder,
}

impl Work<'_> {
    async fn run(&self, mut note: Note) -> Result<(), CommandError> {
        let Asked { name, namespace, wait, .. } = *self.asked;
        let deadline = Deadline::after(wait);
        let exec = self.identity.exec_command();
        if note.phase == Phase::First {
            self.first(&mut note, deadline).await?;
        }
        let node = Node { server: self.server, instance: &note.instance, exec: exec.as_deref() };
        if note.phase == Phase::Data {
            after::pause(self.client, namespace, name, true).await?;
            let started = self.data(&note, &node).await?;
            let step = self.ui.step("API server");
            after::served(self.client, self.cluster).await?;
            step.done("API server responds with the snapshot");
            (note.phase, note.started) = (Phase::Machines, Some(started));
            note.write(self.folder)?;
        }
        let node = Node { server: self.server, instance: &note.instance, exec: exec.as_deref() };
        let workload = after::served(self.client, self.cluster).await?;
        self.nodes(&note, &node, &workload).await?;
        after::replace(self.client, namespace, &note.others).await?;
        if let Some(anew) = &note.anew {
            anew::replicas(self.client, namespace, anew).await?;
        }
        if !note.was_paused {
            after::pause(self.client, namespace, name, false).await?;
            self.machines(&note, deadline).await?;
        }
        if let Some(anew) = &note.anew {
            anew::health_checks(self.client, namespace, anew, false).await?;
        }
        node.clean().await?;
        Note::delete(self.folder)?;
        self.ui.say(format!("cluster `{name}` is restored from snapshot {}", note.snapshot));
        self.ui.say(format!(
            "  the previous data is kept in `{}`: /var/lib/etcd.before-{}; delete it when it is no longer needed",
            note.instance, note.id
        ));
        if note.was_paused {
            self.ui.note(format!(
                "it is still paused, as before; resume it to recreate the other machines: `capn resume {name}`"
            ));
        }
        Ok(())
    }

    /// Creates a new first machine, and notes it as the one that restores the data.
    async fn first(&self, note: &mut Note, deadline: Deadline) -> Result<(), CommandError> {
        let Asked { name, namespace, .. } = *self.asked;
        let anew = note.anew.clone().unwrap_or_default();
        after::pause(self.client, namespace, name, true).await?;
        anew::ask(self.client, namespace, self.cluster, &anew).await?;
        after::pause(self.client, namespace, name, false).await?;
        let mut objects = Objects::of(self.client, namespace, name);
        after::gone(&mut objects, &anew.lost, deadline).await?;
        let scope = Scope::Some { control_planes: true, deployments: Vec::new() };
        let mut objects = Objects::of(self.client, namespace, name).within(scope);
        let view = watch::follow_wanted(self.ui, &mut objects, deadline, HashSet::new()).await?;
        let choice = plan::choose(name, &candidates(self.server, &view, self.cluster).await?)?;
        after::pause(self.client, namespace, name, true).await?;
        (note.machine, note.instance) = (choice.machine, choice.instance);
        (note.others, note.phase) = (choice.others, Phase::Data);
        note.write(self.folder)
    }

    /// Stops all control planes and starts one from the restored data. Returns the start time.
    async fn data(&self, note: &Note, node: &Node<'_>) -> Result<Timestamp, CommandError> {
        let view = watch::read(self.client, self.asked.namespace, self.asked.name).await;
        for one in candidates(self.server, &view, self.cluster).await? {
            let is_chosen = one.name == note.instance;
            match &one.instance {
                Instance::Fit => {}
                // It runs no control plane, or does not belong to the cluster.
                _ if !is_chosen => continue,
                other => {
                    return Err(CommandError::new(format!("the instance `{}` {other}", one.name))
                        .hint(format!(
                            "start it and run the command again: `{} {}`",
                            identity::incus("start", self.server),
                            one.name
                        )));
                }
            }
            let step = self.ui.step(format!("stop the control plane in `{}`", one.name));
            let other = Node { server: self.server, instance: &one.name, exec: node.exec };
            other.stop().await.map_err(|error| match is_chosen {
                true => error,
                false => error.hint(format!(
                    "or stop the instance, which will be replaced: `{} --force {}`",
                    identity::incus("stop", self.server),
                    one.name
                )),
            })?;
            step.done(format!("control plane in `{}` stopped", one.name));
        }
        let member = node.member().await?;
        let step = self.ui.step(format!("restore the snapshot in `{}`", note.instance));
        if !node.is_restored(note, &member).await? {
            node.send(note).await?;
            node.restore(note, &member).await?;
        }
        step.done(format!("snapshot restored in `{}`", note.instance));
        let started = node.now().await?;
        node.start().await?;
        Ok(started)
    }

    /// Restarts kubelets, and deletes nodes that no longer exist.
    async fn nodes(
        &self,
        note: &Note,
        chosen: &Node<'_>,
        workload: &Client,
    ) -> Result<(), CommandError> {
        let view = watch::read(self.client, self.asked.namespace, self.asked.name).await;
        let since = chosen.now().await?;
        let (mut staying, mut all) = (Vec::new(), Vec::new());
        let step = self.ui.step("nodes");
        for machine in &view.machines {
            all.extend(machine.node_name().map(str::to_owned));
            if note.others.contains(&machine.name_any()) {
                continue;
            }
            let (Some(lxc_machine), Some(name)) = (view.lxc_machine(machine), machine.node_name())
            else {
                continue;
            };
            match look(self.server, machine, lxc_machine, self.cluster).await? {
                Instance::Fit | Instance::WithoutEtcd => {}
                Instance::Missing | Instance::Stopped | Instance::Foreign(_) => continue,
            }
            let instance = lxc_machine.name_any();
            let node = Node { server: self.server, instance: &instance, exec: None };
            node.restart_kubelet().await?;
            staying.push(name.to_owned());
        }
        let gone = after::forget_nodes(workload, &all).await?;
        after::heard_of(workload, &staying, since).await?;
        let machine = view.machines.iter().find(|machine| machine.name_any() == note.machine);
        if let Some(name) = machine.and_then(|machine| machine.node_name()) {
            after::mark(workload, name).await?;
            after::pods_ready(workload, name, note.started.unwrap_or(since)).await?;
        }
        step.done(format!("nodes are Ready: {}", staying.join(", ")));
        if !gone.is_empty() {
            self.ui.note(format!("deleted nodes without a machine: {}", gone.join(", ")));
        }
        Ok(())
    }

    /// Waits for the replaced machines and their nodes.
    async fn machines(&self, note: &Note, deadline: Deadline) -> Result<(), CommandError> {
        let Asked { name, namespace, .. } = *self.asked;
        let mut objects = Objects::of(self.client, namespace, name);
        let before = watch::read(self.client, namespace, name).await;
        let known = watch::reached(&before, &watch::DesiredState::by(&before));
        after::gone(&mut objects, &note.others, deadline).await?;
        let mut objects = Objects::of(self.client, namespace, name);
        watch::follow_wanted(self.ui, &mut objects, deadline, known).await?;
        let mut objects = Objects::of(self.client, namespace, name);
        let available = after::available(&mut objects, deadline).await;
        available.map_err(|error| {
            error.hint(format!(
                "see why: `capn describe cluster {name}`; run the same command again to continue waiting"
            ))
        })?;
        match &self.existing.request {
            None => Ok(()),
            Some(request) => {
                cluster::prove_services(self.ui, self.client, request, self.identity, deadline)
                    .await
            }
        }
    }
}
