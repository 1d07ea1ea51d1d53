//! Plans the repairs of a cluster. Pure functions without I/O and clock.

use std::fmt;

use jiff::SignedDuration;

use super::observation::{InstanceState, Member, NodeState, Observation};
use super::obstacle::Obstacle;
use super::quorum::{Quorum, quorum};

/// How long a node may be NotReady while kubelet runs, as in the health checks created by `capn
/// up`.
const NOT_READY: SignedDuration = SignedDuration::from_mins(5);

/// A problem and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The affected object, such as `worker demo-md-0-a`.
    pub object: String,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub remedy: Remedy,
    /// Whether the remedy is applied now; otherwise something else comes first.
    pub is_due: bool,
}

/// Remedy for a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Wait for the controllers to recreate the load balancer.
    AwaitBalancer,
    /// Wait for the controllers to start the instance.
    AwaitStart,
    /// Wait until the Machine is deleted.
    AwaitGone,
    /// Start an instance.
    Start {
        /// Its name.
        instance: String,
    },
    /// Unfreeze a frozen instance.
    Thaw {
        /// Its name.
        instance: String,
    },
    /// Start containerd and kubelet.
    StartUnits {
        /// Name of the instance.
        instance: String,
    },
    /// Restart the last etcd member as a single-member cluster.
    NewEtcd {
        /// Name of the instance.
        instance: String,
        /// Members that are lost.
        lost: Vec<String>,
        /// The user confirmed this earlier.
        is_begun: bool,
    },
    /// Delete the Machine, so that it is replaced.
    Replace {
        /// Its name.
        machine: String,
        /// Its instance is gone, so its pods cannot be drained.
        is_gone: bool,
    },
    /// Remove the backups of an earlier repair.
    Clean {
        /// Name of the instance.
        instance: String,
    },
}

/// Remedies and obstacles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is applied"]
pub struct Plan {
    /// Problems in the order in which they are handled.
    pub findings: Vec<Finding>,
    /// Problems that require the user.
    pub obstacles: Vec<Obstacle>,
    /// What is being awaited although no remedy is due.
    pub waits: Option<String>,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitBalancer => "recreated with its address",
            Self::AwaitStart | Self::Start { .. } => "started",
            Self::AwaitGone => "awaited",
            Self::Thaw { .. } => "resumed",
            Self::StartUnits { .. } => "kubelet started",
            Self::NewEtcd { .. } => "becomes a single-member cluster with its data",
            Self::Replace { .. } => "replaced",
            Self::Clean { .. } => "removed when the cluster is Available",
        })
    }
}

impl Finding {
    /// Returns the finding on one line.
    pub fn line(&self) -> String {
        format!("{}: {}: {}", self.object, self.problem, self.remedy)
    }

    /// Identifies a finding over time.
    pub fn key(&self) -> String {
        let kind = match self.remedy {
            Remedy::NewEtcd { .. } => "etcd",
            Remedy::Clean { .. } => "clean",
            Remedy::Replace { .. } | Remedy::AwaitGone => "replace",
            _ => "fix",
        };
        format!("{kind}/{}", self.object)
    }

    /// Returns the text once it is fixed.
    pub fn done(&self) -> String {
        let object = &self.object;
        match &self.remedy {
            Remedy::AwaitBalancer => format!("{object} is back"),
            Remedy::AwaitStart | Remedy::Start { .. } | Remedy::Thaw { .. } => {
                format!("{object} runs")
            }
            Remedy::StartUnits { .. } => format!("kubelet of {object} runs"),
            Remedy::NewEtcd { .. } => format!("{object} is a single-member cluster"),
            Remedy::Replace { .. } | Remedy::AwaitGone => format!("{object} is deleted"),
            Remedy::Clean { .. } => format!("{object}: removed"),
        }
    }
}

/// Plans the repairs.
pub fn plan(observed: &Observation) -> Plan {
    let whole = [(observed.is_leaving, Obstacle::Leaving), (observed.is_paused, Obstacle::Paused)];
    if let Some((_, obstacle)) = whole.into_iter().find(|(is_so, _)| *is_so) {
        return Plan { obstacles: vec![obstacle], ..Plan::default() };
    }
    let mut plan = Plan::default();
    plan.balancer(observed);
    for member in &observed.machines {
        plan.instance(observed, member);
    }
    let quorum = quorum(observed);
    let is_well = matches!(quorum, Quorum::Holds | Quorum::NotOurs);
    plan.etcd(observed, quorum);
    for member in &observed.machines {
        plan.machine(observed, member, is_well);
    }
    if observed.is_silent {
        plan.waits.get_or_insert_with(|| "waiting for the API server to respond".to_owned());
    }
    for member in &observed.machines {
        plan.leftovers(observed, member, is_well);
    }
    plan
}

impl Plan {
    /// Returns whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.obstacles.is_empty() && self.waits.is_none()
    }

    /// Returns whether a remedy is due or in progress.
    pub fn has_due(&self) -> bool {
        self.findings.iter().any(|work| work.is_due)
    }

    fn add(&mut self, object: String, problem: impl Into<String>, remedy: Remedy, is_due: bool) {
        self.findings.push(Finding { object, problem: problem.into(), remedy, is_due });
    }

    fn balancer(&mut self, observed: &Observation) {
        let Some(balancer) = &observed.balancer else { return };
        let (object, instance) =
            (format!("load balancer {}", balancer.instance), balancer.instance.clone());
        match &balancer.is {
            InstanceState::Running => {}
            InstanceState::Gone => self.add(object, GONE, Remedy::AwaitBalancer, true),
            InstanceState::Stopped => self.add(object, STOPPED, Remedy::AwaitStart, true),
            InstanceState::Changing => self.add(object, CHANGING, Remedy::AwaitStart, true),
            InstanceState::Frozen => self.add(object, FROZEN, Remedy::Thaw { instance }, true),
            other => self.obstacles.extend(obstacle(other, instance)),
        }
    }

    /// Finding for the instance itself, if it exists.
    fn instance(&mut self, observed: &Observation, member: &Member) {
        if member.leaving.is_some() {
            return;
        }
        let (object, instance) = (object(member), member.instance.clone());
        match &member.is {
            InstanceState::Gone => {}
            InstanceState::Running => {
                let idle =
                    member.inside.as_ref().filter(|inside| !inside.kubelet || !inside.containerd);
                // A node that is being created starts kubelet by itself.
                if idle.is_some() && member.node != NodeState::Absent && member.was_made {
                    self.add(
                        object,
                        "kubelet is not running",
                        Remedy::StartUnits { instance },
                        true,
                    );
                }
            }
            InstanceState::Stopped if member.is_left_stopped => {
                self.add(object, STOPPED, Remedy::Start { instance }, true);
            }
            InstanceState::Stopped => self.add(object, STOPPED, Remedy::AwaitStart, true),
            InstanceState::Frozen => self.add(object, FROZEN, Remedy::Thaw { instance }, true),
            // An instance that is being created is not a problem.
            InstanceState::Changing if member.was_made && member.created < observed.began => {
                self.add(object, CHANGING, Remedy::AwaitStart, true);
            }
            InstanceState::Changing => {}
            other => self.obstacles.extend(obstacle(other, instance)),
        }
    }

    fn etcd(&mut self, observed: &Observation, quorum: Quorum) {
        match quorum {
            Quorum::NotOurs | Quorum::Holds => {}
            Quorum::Waits(what) => self.waits = Some(what),
            Quorum::Hopeless(obstacle) => self.obstacles.push(obstacle),
            Quorum::Lost { survivor, lost, is_begun } => {
                let found = observed.machines.iter().find(|member| member.name == survivor);
                let instance =
                    found.map_or_else(|| survivor.clone(), |found| found.instance.clone());
                let problem = match (lost.as_slice(), is_begun) {
                    (_, true) => "its repair is not complete".to_owned(),
                    ([one], _) => format!("it has no quorum, and {one} is lost"),
                    (several, _) => {
                        format!("it has no quorum, and {} are lost", several.join(", "))
                    }
                };
                // kubelet runs etcd.
                let is_due = !self.findings.iter().any(|work| {
                    matches!(&work.remedy, Remedy::StartUnits { instance: idle } if *idle == instance)
                });
                let object = format!("etcd of {survivor}");
                self.add(object, problem, Remedy::NewEtcd { instance, lost, is_begun }, is_due);
            }
        }
    }

    /// Finding for the machine as a whole.
    fn machine(&mut self, observed: &Observation, member: &Member, is_well: bool) {
        if let Some(waits) = &member.leaving {
            self.add(
                object(member),
                format!("it is being deleted ({waits})"),
                Remedy::AwaitGone,
                true,
            );
            return;
        }
        let Some(problem) = broken(observed, member) else {
            if matches!(member.node, NodeState::NotReady { .. } | NodeState::Absent) {
                let node = &member.name;
                self.waits.get_or_insert_with(|| format!("waiting for node {node} to be Ready"));
            }
            return;
        };
        let machine = member.name.clone();
        if !member.has_maker {
            self.obstacles.push(Obstacle::Alone { machine, problem });
            return;
        }
        let others = || {
            let of_kind = observed.machines.iter().filter(|other| other.is_control_plane);
            of_kind.filter(|other| other.name != member.name)
        };
        if member.is_control_plane && observed.has_etcd {
            let has_other = others().any(|other| other.is == InstanceState::Running);
            if !has_other {
                // If no instance is left, this is reported once, for etcd.
                let is_said = self.obstacles.contains(&Obstacle::NothingLeft);
                if !is_said {
                    self.obstacles.push(Obstacle::Only { machine, problem });
                }
                return;
            }
        }
        if member.is_lost() {
            self.add(object(member), problem, Remedy::Replace { machine, is_gone: true }, is_well);
            return;
        }
        if member.created > observed.began {
            self.obstacles.push(Obstacle::FailedAgain { machine, problem });
            return;
        }
        // An existing machine takes its etcd member with it, so replace one at a time.
        let goes_before = |other: &Member| {
            other.leaving.is_some()
                || other.is_lost()
                || (other.name < member.name && broken(observed, other).is_some())
        };
        let is_next = !member.is_control_plane || !others().any(goes_before);
        let remedy = Remedy::Replace { machine, is_gone: false };
        self.add(object(member), problem, remedy, is_well && is_next);
    }

    /// Leftovers of an earlier repair.
    fn leftovers(&mut self, observed: &Observation, member: &Member, is_well: bool) {
        let kept = member.inside.as_ref().filter(|inside| inside.etcd.aside.is_some());
        if kept.is_none() || !is_well {
            return;
        }
        let object = format!("copies of the etcd data in {}", member.instance);
        let remedy = Remedy::Clean { instance: member.instance.clone() };
        let is_last = self.is_empty();
        self.add(object, "kept by an earlier repair", remedy, is_last && observed.is_available);
    }
}

const GONE: &str = "its instance is gone from the server";
const STOPPED: &str = "its instance is stopped";
const FROZEN: &str = "its instance is frozen";
const CHANGING: &str = "its instance is starting or stopping";

fn object(member: &Member) -> String {
    format!("{} {}", member.role(), member.name)
}

fn obstacle(is: &InstanceState, instance: String) -> Option<Obstacle> {
    match is {
        InstanceState::Broken(status) => {
            Some(Obstacle::Broken { instance, status: status.clone() })
        }
        InstanceState::Foreign(whose) => Some(Obstacle::Foreign { instance, whose: whose.clone() }),
        InstanceState::Excluded(why) => Some(Obstacle::Excluded { instance, why: why.clone() }),
        InstanceState::Running
        | InstanceState::Stopped
        | InstanceState::Frozen
        | InstanceState::Changing
        | InstanceState::Gone => None,
    }
}

/// Returns why a machine must be replaced.
fn broken(observed: &Observation, member: &Member) -> Option<String> {
    if member.is_lost() {
        return Some(GONE.to_owned());
    }
    let has_node = !matches!(member.node, NodeState::Unknown | NodeState::Absent);
    if let Some(why) = &member.failed
        && !has_node
    {
        return Some(why.clone());
    }
    if member.is != InstanceState::Running {
        return None;
    }
    match &member.node {
        NodeState::NotReady { since, message } => {
            // A kubelet that was just started gets some time.
            let runs =
                member.inside.as_ref().map_or(i64::MAX, |inside| inside.kubelet_seconds.into());
            let lasts = observed.now.duration_since(*since);
            (lasts.min(SignedDuration::from_secs(runs)) >= NOT_READY).then(|| {
                format!("its node has not been Ready for {} min: {message}", lasts.as_secs() / 60)
            })
        }
        NodeState::Absent if member.was_made => {
            let age = observed.now.duration_since(member.created);
            (age >= observed.startup)
                .then(|| format!("it has not become a node within {} min", age.as_secs() / 60))
        }
        NodeState::Absent | NodeState::Unknown | NodeState::Ready => None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
