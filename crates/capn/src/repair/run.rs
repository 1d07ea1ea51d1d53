//! Observes, plans and applies until there are no problems.

use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt as _;

use super::apply::Target;
use super::observe::{ClusterHandle, observe};
use super::plan::{Finding, Plan, Remedy, plan};
use super::show;
use crate::error::CommandError;
use crate::ui::Ui;
use crate::watch::{
    self, Deadline, DesiredState, Objects, Progress, State, StepDisplay, StepView, View, complaint,
};

/// Pause between rounds if no object changes; changes in instances and nodes cause no event here.
const PAUSE: Duration = Duration::from_secs(3);
/// How long controllers may take to reconcile objects written before they started.
const PATIENCE: SignedDuration = SignedDuration::from_secs(40);
/// Key prefix of findings, which are complete once they are no longer planned.
const WORK: &str = "repair/";

/// Key of the last step.
const AVAILABLE: &str = "repair/available";

/// A running repair.
pub(super) struct Run<'a> {
    pub(super) ui: &'a Ui,
    pub(super) handle: ClusterHandle<'a>,
    pub(super) deadline: Deadline,
    /// The user confirmed irreversible steps.
    pub(super) consents: bool,
}

impl Run<'_> {
    /// Repairs until the cluster is Available.
    ///
    /// # Errors
    ///
    /// Returns an error for an obstacle or a failed remedy, or if the deadline passes.
    pub(super) async fn run(&self) -> Result<(), CommandError> {
        let ClusterHandle { client, namespace, cluster, server, .. } = self.handle;
        let target = Target { ui: self.ui, client, server, namespace, deadline: self.deadline };
        let mut objects = Objects::of(client, namespace, cluster);
        let mut view = objects.changed().await;
        let mut shown =
            StepDisplay::beside(self.ui, watch::reached(&view, &DesiredState::by(&view)));
        let mut is_told = false;
        loop {
            let observed = observe(&self.handle, &view).await?;
            let plan = plan(&observed);
            if !is_told && !plan.is_empty() {
                is_told = true;
                self.tell(&plan);
            }
            let found = steps(&view, &plan);
            let is_available = watch::is_available(&view);
            shown.end_gone(&found, |key| {
                key.starts_with(WORK) && (key != AVAILABLE || is_available)
            });
            shown.update(found);
            if !plan.has_due() && !plan.obstacles.is_empty() {
                shown.fail();
                return Err(obstacles(plan, cluster));
            }
            for work in plan.findings.iter().filter(|work| work.is_due) {
                self.ask(work)?;
                target.carry_out(work).await?;
            }
            if plan.is_empty() {
                if observed.is_available {
                    self.ui.say(match is_told {
                        true => format!("cluster `{cluster}` is repaired and Available"),
                        false => format!("cluster `{cluster}` is Available: nothing to repair"),
                    });
                    return Ok(());
                }
                let has_looked = observed.now.duration_since(observed.began) > PATIENCE;
                if has_looked
                    && let Progress::Never { object, problem } =
                        watch::progress(&view, &DesiredState::by(&view))
                {
                    shown.fail();
                    return Err(CommandError::caused(
                        format!("{object} cannot be repaired"),
                        problem,
                    ));
                }
            }
            tokio::select! {
                changed = objects.changed() => view = changed,
                () = tokio::time::sleep(PAUSE) => {}
                () = tokio::time::sleep_until(self.deadline.at()) => {
                    let mut late = shown.late(self.deadline);
                    for obstacle in plan.obstacles {
                        late = late.and_also(&obstacle.into_command(cluster));
                    }
                    return Err(late.hint(format!("see what it waits for: `capn describe cluster {cluster}`; run the same command again to continue")));
                }
            }
        }
    }

    fn tell(&self, plan: &Plan) {
        if !plan.findings.is_empty() || plan.waits.is_some() {
            self.ui.say(show::summary(self.handle.cluster, plan));
        }
        for work in &plan.findings {
            self.ui.note(work.line());
        }
        // If there is nothing else to do, the obstacles are the error.
        for obstacle in plan.obstacles.iter().filter(|_| plan.has_due()) {
            self.ui.note(format!("{obstacle}; {}", obstacle.hint(self.handle.cluster)));
        }
    }

    /// Asks for confirmation before an irreversible step.
    fn ask(&self, work: &Finding) -> Result<(), CommandError> {
        let Remedy::NewEtcd { instance, lost, is_begun: false } = &work.remedy else {
            return Ok(());
        };
        if self.consents {
            return Ok(());
        }
        let what = format!(
            "etcd in instance {instance} becomes a single-member cluster and removes {}; writes that only they had are lost",
            lost.join(", ")
        );
        match self.ui.ask(&format!("{what}. Continue?")) {
            Some(true) => Ok(()),
            Some(false) => Err(CommandError::new("etcd was not changed: not confirmed")
                .hint("restore one of the lost instances and try again")),
            None => Err(CommandError::caused("this requires confirmation", what)
                .hint("confirm on the command line: `--yes`")),
        }
    }
}

/// Steps of the cluster and of the findings.
fn steps(view: &View, plan: &Plan) -> Vec<StepView> {
    let mut found: Vec<StepView> = plan
        .findings
        .iter()
        .map(|work| StepView {
            key: format!("{WORK}{}", work.key()),
            doing: format!("{}: {}", work.object, work.problem),
            done: work.done(),
            state: State::Busy(work.remedy.to_string()),
        })
        .collect();
    found.extend(plan.waits.iter().map(|waits| StepView {
        key: "waits".to_owned(),
        doing: waits.clone(),
        done: String::new(),
        state: State::Busy(String::new()),
    }));
    let is_worked_on = |step: &StepView| {
        plan.findings.iter().any(|work| {
            matches!(&work.remedy, Remedy::Replace { machine, .. } if step.key.ends_with(&format!("/{machine}")))
        })
    };
    // What a deleting machine waits for is not reported.
    let asked = DesiredState::by(view);
    found.extend(watch::steps(view, &asked).into_iter().filter(|step| !is_worked_on(step)));
    // Its condition may describe the state before.
    if let Some(cluster) = &view.cluster
        && !plan.has_due()
        && !watch::is_available(view)
    {
        let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
        let reply = capi_api::conditions::get(list, capi_api::conditions::AVAILABLE);
        found.push(StepView {
            key: AVAILABLE.to_owned(),
            doing: format!("cluster `{}`", cluster.name_any()),
            done: format!("cluster `{}` is Available", cluster.name_any()),
            state: State::Busy(reply.map(complaint).unwrap_or_default()),
        });
    }
    found
}

/// Returns the error for the problems that require the user.
fn obstacles(plan: Plan, cluster: &str) -> CommandError {
    let mut all = plan.obstacles.into_iter().map(|obstacle| obstacle.into_command(cluster));
    let first = all.next().unwrap_or_else(|| CommandError::new("some problems cannot be repaired"));
    all.fold(first, |error, other| error.and_also(&other))
}
