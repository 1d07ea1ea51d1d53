//! Plans an upgrade: its steps in order, or why it is refused. Pure functions without I/O and
//! clock.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;

use super::refusal::Refusal;
use super::removed::RemovedApi;
use super::seen::{Group, Seen, TemplateImage};
use crate::preflight::KubernetesVersion;

/// Number of minor versions that kubelet may be older than the API server, since Kubernetes 1.28
/// (kubernetes.io/releases/version-skew-policy).
pub const SKEW: u32 = 3;

/// Source of a node image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the server.
    Server,
    /// Built from a directory of binaries, unless the server has the same.
    Folder(Utf8PathBuf),
    /// Downloaded from the image server, or built from the official downloads.
    Download,
    /// An image named by a template.
    Named(String),
}

/// A step. Each can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ensure that the node image of a version exists.
    Image {
        /// The version.
        version: KubernetesVersion,
        /// Its source.
        source: Source,
    },
    /// Take an etcd snapshot, since an older API server cannot read data of a newer one.
    Snapshot,
    /// Replace the control plane machines, one by one.
    ControlPlane(Rollout),
    /// Replace the machines of a MachineDeployment.
    Workers(Rollout),
    /// The machines of a MachinePool are replaced.
    Pool(Rollout),
}

/// Replacement of machines by machines of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Name of the KubeadmControlPlane, MachineDeployment or MachinePool.
    pub object: String,
    /// Old version.
    pub from: KubernetesVersion,
    /// New version.
    pub to: KubernetesVersion,
    /// Number of replaced machines.
    pub count: usize,
    /// Their names, if known: a later step replaces machines that do not exist yet.
    pub machines: Vec<String>,
}

/// A complete plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Oldest current version.
    pub from: KubernetesVersion,
    /// Requested version.
    pub to: KubernetesVersion,
    /// Steps in order; empty if everything has the version.
    pub steps: Vec<Step>,
    /// Maximum version skew between kubelets and API servers during the upgrade, in minor versions.
    pub skew: u32,
}

impl Plan {
    /// Returns the number of replaced machines.
    pub fn replacements(&self) -> usize {
        let count = |step: &Step| match step {
            Step::Image { .. } | Step::Snapshot => 0,
            Step::ControlPlane(rollout) | Step::Workers(rollout) | Step::Pool(rollout) => {
                rollout.count
            }
        };
        self.steps.iter().map(count).sum()
    }
}

/// Plans the upgrade.
///
/// # Errors
///
/// Returns the first reason against it.
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
    let groups = || std::iter::once(control_plane).chain(&seen.deployments).chain(&seen.pools);
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
    // During an interrupted upgrade, the cluster may be unavailable for a while.
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
    let rollouts = rollouts(control_plane, seen, &path, &mut plan);
    plan.steps = images(seen, &rollouts, groups());
    // A continued upgrade has already taken it.
    if seen.takes_snapshot && !path.is_empty() {
        plan.steps.push(Step::Snapshot);
    }
    plan.steps.extend(rollouts);
    Ok(plan)
}

/// Returns the intermediate versions of the control plane: kubeadm only supports one minor version
/// at a time.
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

/// The control plane version by version, then workers; workers earlier if they would be too old.
fn rollouts(
    control_plane: &Group,
    seen: &Seen,
    path: &[KubernetesVersion],
    plan: &mut Plan,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = control_plane.version.clone();
    let mut workers: Vec<Workers<'_>> = Workers::all(seen).collect();
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

/// A MachineDeployment or MachinePool as it will be after the steps so far.
struct Workers<'a> {
    group: &'a Group,
    oldest: KubernetesVersion,
    is_settled: bool,
    is_untouched: bool,
    is_pool: bool,
}

impl<'a> Workers<'a> {
    /// MachineDeployments, then MachinePools.
    fn all(seen: &'a Seen) -> impl Iterator<Item = Self> {
        let of = |is_pool| {
            move |group: &'a Group| Self {
                group,
                oldest: group.oldest().clone(),
                is_settled: group.is_rolled_out(),
                is_untouched: true,
                is_pool,
            }
        };
        seen.deployments.iter().map(of(false)).chain(seen.pools.iter().map(of(true)))
    }

    fn bring_to(&mut self, to: &KubernetesVersion) -> Step {
        let rollout = rollout(self.group, &self.oldest, to, self.is_untouched);
        let step = if self.is_pool { Step::Pool(rollout) } else { Step::Workers(rollout) };
        (self.oldest, self.is_settled, self.is_untouched) = (to.clone(), true, false);
        step
    }
}

/// `is_known`: the machines are the existing ones.
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

/// Images come before the first machine.
fn images<'a>(
    seen: &Seen,
    rollouts: &[Step],
    groups: impl Iterator<Item = &'a Group> + Clone,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut done = BTreeSet::new();
    for step in rollouts {
        let (Step::ControlPlane(rollout) | Step::Workers(rollout) | Step::Pool(rollout)) = step
        else {
            continue;
        };
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
