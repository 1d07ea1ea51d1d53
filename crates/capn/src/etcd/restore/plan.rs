//! Chooses the machine that restores the data, and the machines to replace. Pure functions.

use std::fmt;

use jiff::Timestamp;

use crate::error::CommandError;

/// State of a control plane machine's instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instance {
    /// It does not exist.
    Missing,
    /// It is not running.
    Stopped,
    /// It does not belong to the cluster.
    Foreign(String),
    /// It is running, but has no etcd static pod.
    WithoutEtcd,
    /// It is running and can run etcd.
    Fit,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::Stopped => f.write_str("is not running"),
            Self::Foreign(whose) => write!(f, "does not belong to the cluster: {whose}"),
            Self::WithoutEtcd => f.write_str("has no etcd static pod"),
            Self::Fit => f.write_str("runs"),
        }
    }
}

/// A control plane machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) machine: String,
    pub(super) name: String,
    pub(super) created: Timestamp,
    pub(super) is_leaving: bool,
    pub(super) instance: Instance,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The Machine whose instance restores the data.
    pub(super) machine: String,
    /// The instance.
    pub(super) instance: String,
    /// Machines to replace, by name.
    pub(super) others: Vec<String>,
}

/// Chooses the oldest running machine that is not being deleted, since the snapshot most likely
/// contains its node.
///
/// # Errors
///
/// Returns an error if none is running.
pub(super) fn choose(cluster: &str, candidates: &[Candidate]) -> Result<Choice, CommandError> {
    let fit = |one: &&Candidate| one.instance == Instance::Fit && !one.is_leaving;
    let first = candidates.iter().filter(fit).min_by_key(|one| (one.created, &one.machine));
    let Some(chosen) = first else { return Err(nothing(cluster, candidates)) };
    let others = candidates.iter().filter(|one| one.machine != chosen.machine);
    Ok(Choice {
        machine: chosen.machine.clone(),
        instance: chosen.name.clone(),
        others: others.map(|one| one.machine.clone()).collect(),
    })
}

fn nothing(cluster: &str, candidates: &[Candidate]) -> CommandError {
    let all: Vec<_> =
        candidates.iter().map(|one| format!("`{}` {}", one.name, one.instance)).collect();
    let error = CommandError::new("no control plane instance can restore the data");
    let error = match all.is_empty() {
        true => error,
        false => {
            CommandError::caused("no control plane instance can restore the data", all.join(", "))
        }
    };
    let stopped = candidates.iter().find(|one| one.instance == Instance::Stopped);
    let empty = candidates.iter().find(|one| one.instance == Instance::WithoutEtcd);
    match (stopped, empty) {
        (Some(one), _) => error.hint(format!("start one: `incus start {}`", one.name)),
        (None, Some(one)) => error.hint(format!(
            "if it contains no etcd data, delete it (`incus delete --force {}`) and try again: \
             once no control plane instance is left, a new first machine is created",
            one.name
        )),
        (None, None) => error.hint(format!(
            "data can only be restored into an existing control plane instance: create another \
             cluster (`capn up`) and move your applications; the snapshot of `{cluster}` is kept"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(machine: &str, created: i64, instance: Instance) -> Candidate {
        Candidate {
            machine: machine.into(),
            name: format!("i-{machine}"),
            created: Timestamp::from_second(created).unwrap(),
            is_leaving: false,
            instance,
        }
    }

    #[test]
    fn the_oldest_that_runs_takes_the_data_and_all_others_are_replaced() {
        let leaving = Candidate { is_leaving: true, ..one("l", 1, Instance::Fit) };
        let foreign = || Instance::Foreign("another".into());
        // Candidates, the chosen one with the others, or else the hint.
        type Case<'a> = (&'a [Candidate], Option<(&'a str, &'a [&'a str])>, &'a str);
        let table: [Case<'_>; 7] = [
            (&[one("a", 5, Instance::Fit)], Some(("a", &[])), ""),
            (&[one("a", 5, Instance::Fit), one("b", 3, Instance::Fit)], Some(("b", &["a"])), ""),
            (
                &[
                    one("a", 1, Instance::Stopped),
                    one("b", 3, Instance::Fit),
                    one("c", 2, Instance::Missing),
                ],
                Some(("b", &["a", "c"])),
                "",
            ),
            (&[leaving, one("b", 3, Instance::Fit)], Some(("b", &["l"])), ""),
            (&[one("a", 1, Instance::Stopped)], None, "incus start i-a"),
            (
                &[one("a", 1, foreign()), one("b", 1, Instance::WithoutEtcd)],
                None,
                "incus delete --force i-b",
            ),
            (&[], None, "create another cluster"),
        ];
        for (candidates, chosen, hint) in table {
            match (choose("demo", candidates), chosen) {
                (Ok(found), Some((machine, others))) => {
                    assert_eq!(
                        (found.machine.as_str(), found.instance),
                        (machine, format!("i-{machine}"))
                    );
                    assert_eq!(found.others, others);
                }
                (Err(error), None) => {
                    assert!(error.hint_texts().concat().contains(hint), "{error}");
                }
                (found, _) => panic!("{candidates:?}: {found:?}"),
            }
        }
    }
}
