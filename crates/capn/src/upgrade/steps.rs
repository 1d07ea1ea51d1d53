//! Carries out steps in order.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Client, ResourceExt as _};

use super::apply::Target;
use super::plan::{Rollout, Source, Step};
use super::{Aim, Asked, Ready};
use crate::error::CommandError;
use crate::etcd::{self, Keeper, Reason, Wanted};
use crate::images::{self, NodeImage, NodeImageInfo};
use crate::preflight::KubernetesVersion;
use crate::ui::Ui;
use crate::watch::{self, Deadline, Objects, Scope, View};

/// An upgrade in progress.
pub(super) struct Work<'a> {
    ui: &'a Ui,
    client: &'a Client,
    asked: &'a Asked<'a>,
    ready: &'a Ready,
    keeper: &'a Keeper,
    deadline: Deadline,
    is_waiting: bool,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        ui: &'a Ui,
        client: &'a Client,
        asked: &'a Asked<'a>,
        ready: &'a Ready,
        keeper: &'a Keeper,
        wait: Duration,
    ) -> Self {
        let (deadline, is_waiting) = (Deadline::after(wait), !wait.is_zero());
        Self { ui, client, asked, ready, keeper, deadline, is_waiting }
    }

    /// Carries out all steps. Returns whether it waited for them.
    pub(super) async fn run(&self) -> Result<bool, CommandError> {
        let Ready { existing, identity, plan, .. } = self.ready;
        let target = Target {
            client: self.client,
            namespace: self.asked.namespace,
            request: existing.request.as_ref(),
            identity,
        };
        let mut found = BTreeMap::new();
        for step in &plan.steps {
            match step {
                Step::Image { version, source } => {
                    found.insert(version.clone(), self.image(version, source).await?);
                    continue;
                }
                Step::Snapshot => {
                    self.snapshot().await?;
                    continue;
                }
                Step::ControlPlane(rollout) => {
                    let image = found.get(&rollout.to);
                    target.control_plane(&rollout.object, &rollout.to, image).await?;
                }
                Step::Workers(rollout) => target.workers(&rollout.object, &rollout.to).await?,
                Step::Pool(rollout) => target.pool(&rollout.object, &rollout.to).await?,
            }
            if !self.is_waiting {
                self.ui.note("the first machines are requested; `capn serve` or this command without `--wait 0` continues");
                return Ok(false);
            }
            self.settled(step).await?;
            self.wait(step).await?;
        }
        Ok(true)
    }

    /// Takes an etcd snapshot, for `capn etcd snapshot restore`.
    async fn snapshot(&self) -> Result<(), CommandError> {
        let Asked { name, namespace, .. } = *self.asked;
        let version = &self.ready.plan.to;
        let step = self.ui.step("snapshot of etcd");
        let wanted = Wanted { namespace, cluster: name, reason: Reason::Upgrade, output: None };
        let (path, record) = self.keeper.take(self.client, wanted).await.map_err(|error| {
            error.while_doing("nothing has changed yet").hint(format!(
                "to upgrade without a snapshot, which cannot be undone: `capn upgrade {name} --kubernetes-version {version} --etcd-snapshot=false`"
            ))
        })?;
        step.done(format!("snapshot of etcd, {}: {path}", etcd::size(record.size_bytes)));
        Ok(())
    }

    /// Ensures an image, which must have the version.
    async fn image(
        &self,
        version: &KubernetesVersion,
        source: &Source,
    ) -> Result<NodeImageInfo, CommandError> {
        let Ready { server, folders, runtime, image_servers, .. } = self.ready;
        let text = version.to_string();
        let found = match source {
            Source::Named(name) => images::named(server, name).await?,
            Source::Server | Source::Folder(_) | Source::Download => {
                let wanted = NodeImage {
                    version: &text,
                    binaries: folders.iter().find(|folder| folder.version() == text),
                    runtime: runtime.as_ref(),
                    image_servers,
                };
                images::node_image(self.ui, server, &wanted).await?
            }
        };
        match &found.kubernetes_version {
            Some(is) if *is != text => Err(CommandError::new(format!(
                "the node image for {version} contains Kubernetes {is}"
            ))
            .hint("list images and versions: `capn image list`")),
            _ => Ok(found),
        }
    }

    /// Waits until the machine being rolled back is deleted: it may have failed, which would end
    /// the wait for the others.
    async fn settled(&self, step: &Step) -> Result<(), CommandError> {
        let Step::ControlPlane(rollout) = step else { return Ok(()) };
        if self.asked.aim != &Aim::Back {
            return Ok(());
        }
        let stays = |view: &View| {
            let mut machines = view.machines.iter();
            machines.any(|machine| {
                rollout.machines.contains(&machine.name_any())
                    && machine.metadata.deletion_timestamp.is_none()
            })
        };
        let Asked { name, namespace, .. } = *self.asked;
        let mut objects = Objects::of(self.client, namespace, name);
        let gone = async { while stays(&objects.changed().await) {} };
        tokio::time::timeout_at(self.deadline.at(), gone).await.map_err(|_| {
            CommandError::new(format!(
                "machine `{}` of {} is not deleted yet",
                rollout.machines.join("`, `"),
                rollout.from
            ))
            .hint(format!("see the cause: `capn describe cluster {name}`; run the same command again to continue"))
        })
    }

    /// Waits until the machines of a step are replaced.
    async fn wait(&self, step: &Step) -> Result<(), CommandError> {
        let (scope, Rollout { to, .. }) = match step {
            Step::Image { .. } | Step::Snapshot => return Ok(()),
            Step::ControlPlane(rollout) => {
                (Scope::Some { control_planes: true, deployments: Vec::new() }, rollout)
            }
            Step::Workers(rollout) => {
                let deployments = vec![rollout.object.clone()];
                (Scope::Some { control_planes: false, deployments }, rollout)
            }
            Step::Pool(rollout) => (Scope::Pool(rollout.object.clone()), rollout),
        };
        let Asked { name, namespace, .. } = *self.asked;
        let known = self.ready.known.clone();
        let mut objects = Objects::of(self.client, namespace, name).within(scope);
        let version = to.to_string();
        watch::follow_rollout(self.ui, &mut objects, &version, self.deadline, known).await.map(drop)
    }
}
