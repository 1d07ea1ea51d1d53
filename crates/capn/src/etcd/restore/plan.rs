//! Which machine takes the data, and which are replaced. Pure: no I/O.

use std::fmt;

use jiff::Timestamp;

use crate::error::CommandError;

/// What there is to see of the instance of a control plane machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instance {
    /// There is none.
    Missing,
    /// It does not run.
    Stopped,
    /// It belongs to somebody else.
    Foreign(String),
    /// It runs, and has no static pod of etcd.
    WithoutEtcd,
    /// It runs, and etcd can run on it.
    Fit,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is gone"),
            Self::Stopped => f.write_str("does not run"),
            Self::Foreign(whose) => write!(f, "belongs to somebody else: {whose}"),
            Self::WithoutEtcd => f.write_str("has no static pod of etcd"),
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

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The Machine whose instance takes the data.
    pub(super) machine: String,
    /// The instance.
    pub(super) instance: String,
    /// Machines that are replaced, by name.
    pub(super) others: Vec<String>,
}

/// Chooses: the oldest that runs and stays, since the snapshot most likely knows its node.
///
/// # Errors
///
/// When none runs.
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
    let error = CommandError::new("no instance of the control plane can take the data");
    let error = match all.is_empty() {
        true => error,
        false => CommandError::caused(
            "no instance of the control plane can take the data",
            all.join(", "),
        ),
    };
    let stopped = candidates.iter().find(|one| one.instance == Instance::Stopped);
    match stopped {
        Some(one) => error.hint(format!("start one: `incus start {}`", one.name)),
        None => error.hint(format!(
            "the data can only go into a control plane instance that is left: without one, make another cluster, `capn up`, and bring your applications there; the snapshot of `{cluster}` stays"
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
        // The machines, the one that is chosen with the others, and else the hint.
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
                "make another cluster",
            ),
            (&[], None, "make another cluster"),
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
