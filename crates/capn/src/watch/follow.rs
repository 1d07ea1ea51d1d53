//! Shows steps until the desired state is reached.

use std::collections::HashSet;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::display::StepDisplay;
use super::steps::{DesiredState, Progress, State, StepView, is_paused, progress, steps};
use super::{Objects, View};
use super::{removal, rollout};
use crate::error::CommandError;
use crate::ui::Ui;

/// Time limit of a wait, as given by the user.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    given: Duration,
}

impl Deadline {
    /// Starts now.
    pub fn after(given: Duration) -> Self {
        // Far-away deadlines that do not fit into an instant are capped at a century.
        let at = Instant::now()
            .checked_add(given)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600));
        Self { at, given }
    }

    /// When the deadline passes.
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

/// Shows the steps of a cluster until the desired state is reached. Steps in `known` were complete
/// before the command started and are not reported.
///
/// # Errors
///
/// Returns an error if the state cannot be reached without intervention, or if the deadline passes.
pub async fn follow(
    ui: &Ui,
    objects: &mut Objects,
    asked: &DesiredState,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, |_| asked.clone(), Rollouts::Any).await
}

/// Like [`follow`], for the state that the objects specify.
///
/// # Errors
///
/// Like [`follow`].
pub async fn follow_wanted(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, DesiredState::by, Rollouts::Any).await
}

/// Like [`follow_wanted`], until all machines have a Kubernetes version. Also shows machines that
/// are being deleted.
///
/// # Errors
///
/// Like [`follow`].
pub async fn follow_rollout(
    ui: &Ui,
    objects: &mut Objects,
    version: &str,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, DesiredState::by, Rollouts::To(version)).await
}

/// Like [`follow_wanted`], until every rollout is complete: each controller has observed the latest
/// generation, and all machines are up to date.
///
/// # Errors
///
/// Like [`follow`].
pub async fn follow_applied(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
    known: HashSet<String>,
) -> Result<View, CommandError> {
    until(ui, objects, deadline, known, DesiredState::by, Rollouts::Over).await
}

/// What to wait for during machine replacement.
#[derive(Clone, Copy)]
enum Rollouts<'a> {
    /// Nothing.
    Any,
    /// All machines have this version.
    To(&'a str),
    /// All machines are up to date with their owners.
    Over,
}

/// Keys of the completed steps in a view, for [`follow`].
pub fn reached(view: &View, asked: &DesiredState) -> HashSet<String> {
    let done = steps(view, asked).into_iter().filter(|step| step.state == State::Done);
    done.map(|step| step.key).collect()
}

async fn until(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
    known: HashSet<String>,
    asked: impl Fn(&View) -> DesiredState,
    rollouts: Rollouts<'_>,
) -> Result<View, CommandError> {
    let mut display = StepDisplay::beside(ui, known);
    loop {
        let view = next(objects, deadline, &display).await?;
        let asked = asked(&view);
        let mut found = steps(&view, &asked);
        if !matches!(rollouts, Rollouts::Any) {
            found.extend(rollout::leaving(&view));
        }
        display.end_gone(&found, |key| key.starts_with(rollout::LEAVING));
        display.update(found);
        let is_over = match rollouts {
            Rollouts::Any => true,
            Rollouts::To(version) => rollout::is_over(&view, version),
            Rollouts::Over => rollout::is_settled(&view),
        };
        match progress(&view, &asked) {
            Progress::Holds if is_over => return Ok(view),
            Progress::Holds if is_paused(&view) => return Err(paused(&view)),
            Progress::Holds | Progress::NotYet => {}
            Progress::Paused => return Err(paused(&view)),
            Progress::Never { object, problem } => {
                display.fail();
                return Err(CommandError::caused(format!("{object} cannot be created"), problem));
            }
        }
    }
}

/// Shows the steps of a deletion until nothing is left.
///
/// # Errors
///
/// Returns an error if the deadline passes.
pub async fn follow_removal(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
) -> Result<(), CommandError> {
    removed(ui, objects, deadline, removal::steps).await
}

/// Like [`follow_removal`], for the machines in a scope and their MachineDeployments.
///
/// # Errors
///
/// Returns an error if the deadline passes or the cluster is paused.
pub async fn follow_removal_of_pools(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
) -> Result<(), CommandError> {
    removed(ui, objects, deadline, removal::of_pools).await
}

async fn removed(
    ui: &Ui,
    objects: &mut Objects,
    deadline: Deadline,
    steps: fn(&View) -> Vec<StepView>,
) -> Result<(), CommandError> {
    let mut display = StepDisplay::new(ui);
    loop {
        let view = next(objects, deadline, &display).await?;
        if is_paused(&view) {
            return Err(paused(&view));
        }
        let left = steps(&view);
        let is_gone = left.is_empty();
        display.keep_only(left);
        if is_gone {
            return Ok(());
        }
    }
}

/// Returns the error for waiting on a paused cluster.
fn paused(view: &View) -> CommandError {
    let name = view.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default();
    if let Some(phase) = view.stopped() {
        return CommandError::new(format!(
            "cluster `{name}` is stopped, so nothing is created, changed or deleted"
        ))
        .hint(format!("it {}; the request is recorded", phase.advice(&name)));
    }
    CommandError::new(format!(
        "cluster `{name}` is paused, so nothing is created, changed or deleted"
    ))
    .hint(format!("resume it: `capn resume {name}`; the request is recorded"))
}

async fn next(
    objects: &mut Objects,
    deadline: Deadline,
    display: &StepDisplay,
) -> Result<View, CommandError> {
    tokio::select! {
        view = objects.changed() => Ok(view),
        () = tokio::time::sleep_until(deadline.at) => Err(display.late(deadline)),
    }
}
