//! Decides what is done about a cluster. Pure: no I/O and no clock.

use std::fmt;

use jiff::SignedDuration;

use super::obstacle::Obstacle;
use super::quorum::{Quorum, quorum};
use super::seen::{Is, Member, NodeSeen, Seen};

/// How long a node may be not Ready although kubelet runs, as the health checks of `capn up` have it.
const NOT_READY: SignedDuration = SignedDuration::from_mins(5);

/// What is wrong, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is wrong with it: `worker demo-md-0-a`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What is done.
    pub remedy: Remedy,
    /// It is done now; else something else comes first.
    pub is_due: bool,
}

/// What is done about a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The controllers make the load balancer again.
    AwaitBalancer,
    /// The controllers start the instance, or it is on its way.
    AwaitStart,
    /// The Machine is on its way out.
    AwaitGone,
    /// Start an instance.
    Start {
        /// Its name.
        instance: String,
    },
    /// Let an instance go on that is held.
    Thaw {
        /// Its name.
        instance: String,
    },
    /// Start containerd and kubelet.
    StartUnits {
        /// Name of the instance.
        instance: String,
    },
    /// Make the last etcd member a cluster of one.
    NewEtcd {
        /// Name of the instance.
        instance: String,
        /// Members that are gone.
        lost: Vec<String>,
        /// Consent was given before.
        is_begun: bool,
    },
    /// Delete the Machine, so that another is made.
    Replace {
        /// Its name.
        machine: String,
        /// Its pods cannot be asked to leave.
        is_gone: bool,
    },
    /// Remove what an earlier repair kept.
    Clean {
        /// Name of the instance.
        instance: String,
    },
}

/// What is done, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is applied"]
pub struct Plan {
    /// Problems in the order in which they are met.
    pub works: Vec<Work>,
    /// What only a user can mend.
    pub obstacles: Vec<Obstacle>,
    /// What is awaited although nothing is to be done about it.
    pub waits: Option<String>,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitBalancer => "made again at its address",
            Self::AwaitStart | Self::Start { .. } => "started",
            Self::AwaitGone => "waited for",
            Self::Thaw { .. } => "resumed",
            Self::StartUnits { .. } => "kubelet started",
            Self::NewEtcd { .. } => "becomes a cluster of one, with its data",
            Self::Replace { .. } => "replaced",
            Self::Clean { .. } => "removed when the cluster is Available",
        })
    }
}

impl Work {
    /// The work in one line.
    pub fn line(&self) -> String {
        format!("{}: {}: {}", self.object, self.problem, self.remedy)
    }

    /// Tells works apart over time.
    pub fn key(&self) -> String {
        let kind = match self.remedy {
            Remedy::NewEtcd { .. } => "etcd",
            Remedy::Clean { .. } => "clean",
            Remedy::Replace { .. } | Remedy::AwaitGone => "replace",
            _ => "mend",
        };
        format!("{kind}/{}", self.object)
    }

    /// What holds when it is over.
    pub fn done(&self) -> String {
        let object = &self.object;
        match &self.remedy {
            Remedy::AwaitBalancer => format!("{object} is there again"),
            Remedy::AwaitStart | Remedy::Start { .. } | Remedy::Thaw { .. } => {
                format!("{object} runs")
            }
            Remedy::StartUnits { .. } => format!("kubelet of {object} runs"),
            Remedy::NewEtcd { .. } => format!("{object} is a cluster of one"),
            Remedy::Replace { .. } | Remedy::AwaitGone => format!("{object} is gone"),
            Remedy::Clean { .. } => format!("{object}: removed"),
        }
    }
}

/// Decides.
pub fn plan(seen: &Seen) -> Plan {
    let whole = [(seen.is_leaving, Obstacle::Leaving), (seen.is_paused, Obstacle::Paused)];
    if let Some((_, obstacle)) = whole.into_iter().find(|(is_so, _)| *is_so) {
        return Plan { obstacles: vec![obstacle], ..Plan::default() };
    }
    let mut plan = Plan::default();
    plan.balancer(seen);
    for member in &seen.machines {
        plan.instance(seen, member);
    }
    let quorum = quorum(seen);
    let is_well = matches!(quorum, Quorum::Holds | Quorum::NotOurs);
    plan.etcd(seen, quorum);
    for member in &seen.machines {
        plan.machine(seen, member, is_well);
    }
    if seen.is_silent {
        plan.waits.get_or_insert_with(|| "waiting for the API server to answer".to_owned());
    }
    for member in &seen.machines {
        plan.leftovers(seen, member, is_well);
    }
    plan
}

impl Plan {
    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.works.is_empty() && self.obstacles.is_empty() && self.waits.is_none()
    }

    /// Something is done, or on its way.
    pub fn has_due(&self) -> bool {
        self.works.iter().any(|work| work.is_due)
    }

    fn add(&mut self, object: String, problem: impl Into<String>, remedy: Remedy, is_due: bool) {
        self.works.push(Work { object, problem: problem.into(), remedy, is_due });
    }

    fn balancer(&mut self, seen: &Seen) {
        let Some(balancer) = &seen.balancer else { return };
        let (object, instance) =
            (format!("load balancer {}", balancer.instance), balancer.instance.clone());
        match &balancer.is {
            Is::Running => {}
            Is::Gone => self.add(object, GONE, Remedy::AwaitBalancer, true),
            Is::Stopped => self.add(object, STOPPED, Remedy::AwaitStart, true),
            Is::Changing => self.add(object, CHANGING, Remedy::AwaitStart, true),
            Is::Frozen => self.add(object, FROZEN, Remedy::Thaw { instance }, true),
            other => self.obstacles.extend(obstacle(other, instance)),
        }
    }

    /// What is wrong with the instance itself, where it is there.
    fn instance(&mut self, seen: &Seen, member: &Member) {
        if member.leaving.is_some() {
            return;
        }
        let (object, instance) = (object(member), member.instance.clone());
        match &member.is {
            Is::Gone => {}
            Is::Running => {
                let idle =
                    member.inside.as_ref().filter(|inside| !inside.kubelet || !inside.containerd);
                // A node that is still being made starts kubelet itself.
                if idle.is_some() && member.node != NodeSeen::Absent && member.was_made {
                    self.add(object, "kubelet does not run", Remedy::StartUnits { instance }, true);
                }
            }
            Is::Stopped if member.is_left_stopped => {
                self.add(object, STOPPED, Remedy::Start { instance }, true);
            }
            Is::Stopped => self.add(object, STOPPED, Remedy::AwaitStart, true),
            Is::Frozen => self.add(object, FROZEN, Remedy::Thaw { instance }, true),
            // One that is being made is no problem.
            Is::Changing if member.was_made && member.created < seen.began => {
                self.add(object, CHANGING, Remedy::AwaitStart, true);
            }
            Is::Changing => {}
            other => self.obstacles.extend(obstacle(other, instance)),
        }
    }

    fn etcd(&mut self, seen: &Seen, quorum: Quorum) {
        match quorum {
            Quorum::NotOurs | Quorum::Holds => {}
            Quorum::Waits(what) => self.waits = Some(what),
            Quorum::Hopeless(obstacle) => self.obstacles.push(obstacle),
            Quorum::Lost { survivor, lost, is_begun } => {
                let found = seen.machines.iter().find(|member| member.name == survivor);
                let instance =
                    found.map_or_else(|| survivor.clone(), |found| found.instance.clone());
                let problem = match (lost.as_slice(), is_begun) {
                    (_, true) => "a repair of it is not over".to_owned(),
                    ([one], _) => format!("it has no quorum, and {one} is gone"),
                    (several, _) => {
                        format!("it has no quorum, and {} are gone", several.join(", "))
                    }
                };
                // kubelet runs it.
                let is_due = !self.works.iter().any(|work| {
                    matches!(&work.remedy, Remedy::StartUnits { instance: idle } if *idle == instance)
                });
                let object = format!("etcd of {survivor}");
                self.add(object, problem, Remedy::NewEtcd { instance, lost, is_begun }, is_due);
            }
        }
    }

    /// What is wrong with the machine as a whole.
    fn machine(&mut self, seen: &Seen, member: &Member, is_well: bool) {
        if let Some(waits) = &member.leaving {
            self.add(
                object(member),
                format!("it is being deleted ({waits})"),
                Remedy::AwaitGone,
                true,
            );
            return;
        }
        let Some(problem) = broken(seen, member) else {
            if matches!(member.node, NodeSeen::NotReady { .. } | NodeSeen::Absent) {
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
            let of_kind = seen.machines.iter().filter(|other| other.is_control_plane);
            of_kind.filter(|other| other.name != member.name)
        };
        if member.is_control_plane && seen.has_etcd {
            let has_other = others().any(|other| other.is == Is::Running);
            if !has_other {
                // Without any instance that is said once, of etcd.
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
        if member.created > seen.began {
            self.obstacles.push(Obstacle::FailedAgain { machine, problem });
            return;
        }
        // One that is there takes its etcd member along, so they go one at a time.
        let goes_before = |other: &Member| {
            other.leaving.is_some()
                || other.is_lost()
                || (other.name < member.name && broken(seen, other).is_some())
        };
        let is_next = !member.is_control_plane || !others().any(goes_before);
        let remedy = Remedy::Replace { machine, is_gone: false };
        self.add(object(member), problem, remedy, is_well && is_next);
    }

    /// What an earlier repair left.
    fn leftovers(&mut self, seen: &Seen, member: &Member, is_well: bool) {
        let kept = member.inside.as_ref().filter(|inside| inside.etcd.aside.is_some());
        if kept.is_none() || !is_well {
            return;
        }
        let object = format!("copies of etcd's data in {}", member.instance);
        let remedy = Remedy::Clean { instance: member.instance.clone() };
        let is_last = self.is_empty();
        self.add(object, "kept by a repair", remedy, is_last && seen.is_available);
    }
}

const GONE: &str = "its instance is gone from the server";
const STOPPED: &str = "its instance is stopped";
const FROZEN: &str = "its instance is frozen";
const CHANGING: &str = "its instance is starting or stopping";

fn object(member: &Member) -> String {
    format!("{} {}", member.role(), member.name)
}

fn obstacle(is: &Is, instance: String) -> Option<Obstacle> {
    match is {
        Is::Broken(status) => Some(Obstacle::Broken { instance, status: status.clone() }),
        Is::Foreign(whose) => Some(Obstacle::Foreign { instance, whose: whose.clone() }),
        Is::Excluded(why) => Some(Obstacle::Excluded { instance, why: why.clone() }),
        Is::Running | Is::Stopped | Is::Frozen | Is::Changing | Is::Gone => None,
    }
}

/// Why a machine is to be replaced.
fn broken(seen: &Seen, member: &Member) -> Option<String> {
    if member.is_lost() {
        return Some(GONE.to_owned());
    }
    let has_node = !matches!(member.node, NodeSeen::Unknown | NodeSeen::Absent);
    if let Some(why) = &member.failed
        && !has_node
    {
        return Some(why.clone());
    }
    if member.is != Is::Running {
        return None;
    }
    match &member.node {
        NodeSeen::NotReady { since, message } => {
            // One whose kubelet has only just been started has its time.
            let runs =
                member.inside.as_ref().map_or(i64::MAX, |inside| inside.kubelet_seconds.into());
            let lasts = seen.now.duration_since(*since);
            (lasts.min(SignedDuration::from_secs(runs)) >= NOT_READY).then(|| {
                format!("its node has not been Ready for {} min: {message}", lasts.as_secs() / 60)
            })
        }
        NodeSeen::Absent if member.was_made => {
            let age = seen.now.duration_since(member.created);
            (age >= seen.startup)
                .then(|| format!("it has not become a node within {} min", age.as_secs() / 60))
        }
        NodeSeen::Absent | NodeSeen::Unknown | NodeSeen::Ready => None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
