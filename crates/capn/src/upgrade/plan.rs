//! What an upgrade does, in which order, or why it is refused. Pure: no I/O, no clock.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;

use super::refusal::Refusal;
use super::removed::RemovedApi;
use super::seen::{Group, Seen, TemplateImage};
use crate::preflight::KubernetesVersion;

/// How many minor versions a kubelet may be older than an API server, since Kubernetes 1.28
/// (kubernetes.io/releases/version-skew-policy).
pub const SKEW: u32 = 3;

/// Where a node image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The server has it.
    Server,
    /// It is built from a folder of binaries, unless the server has the same.
    Folder(Utf8PathBuf),
    /// From the image server, or built from the official downloads.
    Download,
    /// An image that a template names.
    Named(String),
}

/// One step. Each can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The node image of a version is made sure of.
    Image {
        /// The version.
        version: KubernetesVersion,
        /// Where it comes from.
        source: Source,
    },
    /// A snapshot of etcd is taken: what a newer API server has written, an older one does not understand.
    Snapshot,
    /// The machines of the control plane are replaced, one after the other.
    ControlPlane(Rollout),
    /// The machines of a MachineDeployment are replaced.
    Workers(Rollout),
}

/// Machines that are replaced by machines of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Name of the KubeadmControlPlane or MachineDeployment.
    pub object: String,
    /// The version before.
    pub from: KubernetesVersion,
    /// The version after.
    pub to: KubernetesVersion,
    /// How many machines are replaced.
    pub count: usize,
    /// Their names, where they are known: a later step replaces machines that are not made yet.
    pub machines: Vec<String>,
}

/// All that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The oldest version that runs.
    pub from: KubernetesVersion,
    /// The version that is asked for.
    pub to: KubernetesVersion,
    /// The steps in their order; none if everything is of the version.
    pub steps: Vec<Step>,
    /// How many minor versions kubelets are older than the API servers, at most, on the way.
    pub skew: u32,
}

impl Plan {
    /// How many machines are replaced.
    pub fn replacements(&self) -> usize {
        let count = |step: &Step| match step {
            Step::Image { .. } | Step::Snapshot => 0,
            Step::ControlPlane(rollout) | Step::Workers(rollout) => rollout.count,
        };
        self.steps.iter().map(count).sum()
    }
}

/// Decides.
///
/// # Errors
///
/// The first reason against it.
pub fn plan(seen: &Seen, target: &KubernetesVersion) -> Result<Plan, Refusal> {
    if seen.is_leaving {
        return Err(Refusal::Leaving);
    }
    if seen.is_stopped {
        return Err(Refusal::Stopped);
    }
    if seen.has_topology {
        return Err(Refusal::Topology);
    }
    let control_plane = seen.control_plane.as_ref().ok_or(Refusal::NoControlPlane)?;
    let groups = || std::iter::once(control_plane).chain(&seen.deployments);
    if let Some(newer) = groups().find(|group| group.version > *target) {
        let (object, is) = (newer.name.clone(), newer.version.clone());
        return Err(Refusal::Downgrade { object, is, target: target.clone() });
    }
    let too_old =
        |version: &KubernetesVersion| version.minor().saturating_add(SKEW) < target.minor();
    let alone = |member: &&super::seen::Member| member.version.as_ref().is_some_and(too_old);
    if let Some(found) = seen.alone.iter().find(alone) {
        return Err(Refusal::TooOld { machine: found.name.clone(), target: target.clone() });
    }
    let mut plan = Plan {
        from: groups().map(Group::oldest).min().unwrap_or(target).clone(),
        to: target.clone(),
        steps: Vec::new(),
        skew: 0,
    };
    let is_done = |group: &Group| group.version == *target && group.is_rolled_out();
    if groups().all(is_done) {
        return Ok(plan);
    }
    if seen.is_paused {
        return Err(Refusal::Paused);
    }
    // What an upgrade that was interrupted has begun is not Available for a while.
    if let Some(complaint) = &seen.unavailable
        && groups().all(Group::is_rolled_out)
    {
        return Err(Refusal::Unavailable { complaint: complaint.clone() });
    }
    for group in groups().filter(|group| !is_done(group)) {
        if let TemplateImage::Fixed(image) = &group.image {
            return Err(Refusal::FixedImage { object: group.name.clone(), image: image.clone() });
        }
        if let Some(held) = group.held {
            return Err(Refusal::Held { deployment: group.name.clone(), held });
        }
    }
    let gone = |api: &&RemovedApi| {
        control_plane.version.minor() < api.minor && api.minor <= target.minor()
    };
    let apis: Vec<RemovedApi> = seen.removed_apis.iter().filter(gone).cloned().collect();
    if !apis.is_empty() {
        return Err(Refusal::RemovedApis { apis, target: target.clone() });
    }
    let path = path(seen, &control_plane.version, target)?;
    let rollouts = rollouts(control_plane, &seen.deployments, &path, &mut plan);
    plan.steps = images(seen, &rollouts, groups());
    // An upgrade that is continued took it before.
    if seen.takes_snapshot && !path.is_empty() {
        plan.steps.push(Step::Snapshot);
    }
    plan.steps.extend(rollouts);
    Ok(plan)
}

/// The versions of the control plane on the way: kubeadm upgrades it by one minor version at a time.
fn path(
    seen: &Seen,
    from: &KubernetesVersion,
    target: &KubernetesVersion,
) -> Result<Vec<KubernetesVersion>, Refusal> {
    let mut path = Vec::new();
    for minor in from.minor().saturating_add(1)..target.minor() {
        let known = seen.on_server.iter().chain(seen.folders.keys());
        let newest = known.filter(|version| version.minor() == minor).max();
        path.push(newest.cloned().ok_or(Refusal::NoImage { minor, target: target.clone() })?);
    }
    if from != target {
        path.push(target.clone());
    }
    Ok(path)
}

/// The control plane version by version; workers at the end, and before if they would be too old.
fn rollouts(
    control_plane: &Group,
    deployments: &[Group],
    path: &[KubernetesVersion],
    plan: &mut Plan,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = control_plane.version.clone();
    let mut workers: Vec<Workers<'_>> = deployments.iter().map(Workers::of).collect();
    let mut fresh = true;
    if !control_plane.is_rolled_out() {
        steps.push(Step::ControlPlane(rollout(control_plane, control_plane.oldest(), &at, true)));
        fresh = false;
    }
    for next in path {
        for one in &mut workers {
            if one.oldest.minor().saturating_add(SKEW) < next.minor() {
                steps.push(one.bring_to(&at));
            }
            plan.skew = plan.skew.max(next.minor().saturating_sub(one.oldest.minor()));
        }
        steps.push(Step::ControlPlane(rollout(control_plane, &at, next, fresh)));
        fresh = false;
        at = next.clone();
    }
    for one in &mut workers {
        plan.skew = plan.skew.max(at.minor().saturating_sub(one.oldest.minor()));
        if one.oldest != at || !one.is_settled {
            steps.push(one.bring_to(&at));
        }
    }
    steps
}

/// A MachineDeployment as it will be after the steps so far.
struct Workers<'a> {
    group: &'a Group,
    oldest: KubernetesVersion,
    is_settled: bool,
    is_untouched: bool,
}

impl<'a> Workers<'a> {
    fn of(group: &'a Group) -> Self {
        let oldest = group.oldest().clone();
        Self { group, oldest, is_settled: group.is_rolled_out(), is_untouched: true }
    }

    fn bring_to(&mut self, to: &KubernetesVersion) -> Step {
        let step = Step::Workers(rollout(self.group, &self.oldest, to, self.is_untouched));
        (self.oldest, self.is_settled, self.is_untouched) = (to.clone(), true, false);
        step
    }
}

/// `is_known`: the machines are those that are there now.
fn rollout(
    group: &Group,
    from: &KubernetesVersion,
    to: &KubernetesVersion,
    is_known: bool,
) -> Rollout {
    let machines = if is_known { group.not_of(to) } else { Vec::new() };
    let count = if is_known { machines.len() } else { group.replicas };
    Rollout { object: group.name.clone(), from: from.clone(), to: to.clone(), count, machines }
}

/// The images come before the first machine.
fn images<'a>(
    seen: &Seen,
    rollouts: &[Step],
    groups: impl Iterator<Item = &'a Group> + Clone,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut done = BTreeSet::new();
    for step in rollouts {
        let (Step::ControlPlane(rollout) | Step::Workers(rollout)) = step else { continue };
        let image = groups.clone().find(|group| group.name == rollout.object).map(|g| &g.image);
        let source = match image {
            Some(TemplateImage::Pattern(name)) => {
                Source::Named(name.replace("VERSION", &rollout.to.to_string()))
            }
            _ => match seen.folders.get(&rollout.to) {
                Some(folder) => Source::Folder(folder.clone()),
                None if seen.on_server.contains(&rollout.to) => Source::Server,
                None => Source::Download,
            },
        };
        let name = match &source {
            Source::Named(name) => name.clone(),
            _ => String::new(),
        };
        if done.insert((rollout.to.clone(), name)) {
            steps.push(Step::Image { version: rollout.to.clone(), source });
        }
    }
    steps
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
