//! Shows steps until what was asked for holds.

use std::collections::HashSet;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::shown::Shown;
use super::steps::{Asked, State, Verdict, is_paused, steps, verdict};
use super::{Objects, View};
use super::{removal, rollout};
use crate::error::CommandError;
use crate::ui::Ui;

/// How long a wait may take, as the user gave it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    given: Duration,
}

impl Deadline {
    /// From now on.
    pub fn after(given: Duration) -> Self {
        // Too far away to be an instant is as good as a century.
        let at = Instant::now()
            .checked_add(given)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600));
        Self { at, given }
    }

    /// When it passes.
    pub fn at(self) -> Instant {
        self.at
    }
}

impl std::fmt::Display for Deadline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::SignedDuration::try_from(self.given) {
            Ok(given) => write!(f, "{given:#}"),
            Err(_) => f.write_str("the time"),
        }
    }
}

/// Shows the steps of a cluster until what was asked for holds. Steps in `known` held before the
/// command began and are not its news.
///
/// # Errors
///
/// When it will not hold without somebody's help, or the deadline passes.
pub async fn follow(
    ui: &Ui,
    objects: &mut Objects,
    asked: &Asked,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, |_| *asked, Rollouts::Any).await
}

/// As [`follow`], for what the objects themselves ask for.
///
/// # Errors
///
/// As [`follow`].
pub async fn follow_wanted(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, Asked::by, Rollouts::Any).await
}

/// As [`follow_wanted`], until all machines are of a version of Kubernetes; those that leave are shown
/// too.
///
/// # Errors
///
/// As [`follow`].
pub async fn follow_rollout(
    ui: &Ui,
    objects: &mut Objects,
    version: &str,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, Asked::by, Rollouts::To(version)).await
}

/// As [`follow_wanted`], until nothing is rolled out any more: each controller has seen what is asked for, and all
/// machines are of it.
///
/// # Errors
///
/// As [`follow`].
pub async fn follow_applied(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, HashSet::new(), Asked::by, Rollouts::Over).await
}

/// What is waited for of machines that are replaced.
#[derive(Clone, Copy)]
enum Rollouts<'a> {
    /// Nothing.
    Any,
    /// All machines are of a version.
    To(&'a str),
    /// All machines are as their owners want them.
    Over,
}

/// The steps that hold in a view, for [`follow`].
pub fn reached(view: &View, asked: &Asked) -> HashSet<String> {
    let done = steps(view, asked).into_iter().filter(|step| step.state == State::Done);
    done.map(|step| step.key).collect()
}

async fn until(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
    known: HashSet<String>,
    asked: impl Fn(&View) -> Asked,
    rollouts: Rollouts<'_>,
) -> Result<View, CommandError> {
    let mut shown = Shown::beside(ui, known);
    loop {
        let view = next(objects, deadline, &shown).await?;
        let asked = asked(&view);
        let mut found = steps(&view, &asked);
        if !matches!(rollouts, Rollouts::Any) {
            found.extend(rollout::leaving(&view));
        }
        shown.end_gone(&found, |key| key.starts_with(rollout::LEAVING));
        shown.update(found);
        let is_over = match rollouts {
            Rollouts::Any => true,
            Rollouts::To(version) => rollout::is_over(&view, version),
            Rollouts::Over => rollout::is_settled(&view),
        };
        match verdict(&view, &asked) {
            Verdict::Holds if is_over => return Ok(view),
            Verdict::Holds if is_paused(&view) => return Err(paused(&view)),
            Verdict::Holds | Verdict::NotYet => {}
            Verdict::Paused => return Err(paused(&view)),
            Verdict::Never { object, problem } => {
                shown.fail();
                return Err(CommandError::caused(format!("{object} cannot be made"), problem));
            }
        }
    }
}

/// Shows the steps of a deletion until nothing is left.
///
/// # Errors
///
/// When the deadline passes.
pub async fn follow_removal(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
) -> Result<(), CommandError> {
    let mut shown = Shown::new(ui);
    loop {
        let view = next(objects, deadline, &shown).await?;
        if is_paused(&view) {
            return Err(paused(&view));
        }
        let left = removal::steps(&view);
        let is_gone = left.is_empty();
        shown.keep_only(left);
        if is_gone {
            return Ok(());
        }
    }
}

/// Why waiting for a paused cluster is in vain.
fn paused(view: &View) -> CommandError {
    let name = view.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default();
    if let Some(phase) = view.stopped() {
        return CommandError::new(format!(
            "cluster `{name}` is stopped, so nothing is made, changed or deleted"
        ))
        .hint(format!("it {}; the request is recorded", phase.advice(&name)));
    }
    CommandError::new(format!("cluster `{name}` is paused, so nothing is made, changed or deleted"))
        .hint(format!("resume it: `capn resume {name}`; the request is recorded"))
}

async fn next(
    objects: &mut Objects,
    deadline: Deadline,
    shown: &Shown,
) -> Result<View, CommandError> {
    tokio::select! {
        view = objects.changed() => Ok(view),
        () = tokio::time::sleep_until(deadline.at) => Err(shown.late(deadline)),
    }
}
