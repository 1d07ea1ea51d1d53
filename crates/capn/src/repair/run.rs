//! Looks, plans and acts until nothing is wrong.

use std::time::Duration;

use jiff::SignedDuration;
use kube::ResourceExt as _;

use super::apply::Target;
use super::observe::{Place, observe};
use super::plan::{Plan, Remedy, Work, plan};
use super::show;
use crate::error::CommandError;
use crate::ui::Ui;
use crate::watch::{
    self, Asked, Deadline, Objects, Shown, State, StepView, Verdict, View, complaint,
};

/// The pause between two looks when no object changes: instances and what is in them tell nobody here.
const PAUSE: Duration = Duration::from_secs(3);
/// How long the controllers may take to look at what was written before they ran.
const PATIENCE: SignedDuration = SignedDuration::from_secs(40);
/// Beginning of the keys of works, which are over when they are no longer planned.
const WORK: &str = "repair/";

/// Key of the last step.
const AVAILABLE: &str = "repair/available";

/// A repair.
pub(super) struct Run<'a> {
    pub(super) ui: &'a Ui,
    pub(super) place: Place<'a>,
    pub(super) deadline: Deadline,
    /// The user has said yes to what cannot be undone.
    pub(super) consents: bool,
}

impl Run<'_> {
    /// Repairs until the cluster is Available.
    ///
    /// # Errors
    ///
    /// What cannot be mended, what is in the way, or that the deadline has passed.
    pub(super) async fn run(&self) -> Result<(), CommandError> {
        let Place { client, namespace, cluster, server, .. } = self.place;
        let target = Target { ui: self.ui, client, server, namespace, deadline: self.deadline };
        let mut objects = Objects::of(client, namespace, cluster);
        let mut view = objects.changed().await;
        let mut shown = Shown::beside(self.ui, watch::reached(&view, &Asked::by(&view)));
        let mut is_told = false;
        loop {
            let seen = observe(&self.place, &view).await?;
            let plan = plan(&seen);
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
            for work in plan.works.iter().filter(|work| work.is_due) {
                self.ask(work)?;
                target.carry_out(work).await?;
            }
            if plan.is_empty() {
                if seen.is_available {
                    self.ui.say(match is_told {
                        true => format!("cluster `{cluster}` is repaired and Available"),
                        false => format!("cluster `{cluster}` is Available: nothing to repair"),
                    });
                    return Ok(());
                }
                let has_looked = seen.now.duration_since(seen.began) > PATIENCE;
                if has_looked
                    && let Verdict::Never { object, problem } =
                        watch::verdict(&view, &Asked::by(&view))
                {
                    shown.fail();
                    return Err(CommandError::caused(
                        format!("{object} cannot be mended"),
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
                    return Err(late.hint(format!("what it waits for: `capn describe cluster {cluster}`; the same command continues")));
                }
            }
        }
    }

    fn tell(&self, plan: &Plan) {
        if !plan.works.is_empty() || plan.waits.is_some() {
            self.ui.say(show::summary(self.place.cluster, plan));
        }
        for work in &plan.works {
            self.ui.note(work.line());
        }
        // Where nothing is done they are the error.
        for obstacle in plan.obstacles.iter().filter(|_| plan.has_due()) {
            self.ui.note(format!("{obstacle}; {}", obstacle.hint(self.place.cluster)));
        }
    }

    /// Asks before what cannot be undone.
    fn ask(&self, work: &Work) -> Result<(), CommandError> {
        let Remedy::NewEtcd { instance, lost, is_begun: false } = &work.remedy else {
            return Ok(());
        };
        if self.consents {
            return Ok(());
        }
        let what = format!(
            "etcd in instance {instance} becomes a cluster of one, and forgets {}: what only they had written is lost",
            lost.join(", ")
        );
        match self.ui.ask(&format!("{what}. Go on?")) {
            Some(true) => Ok(()),
            Some(false) => Err(CommandError::new("etcd is as it was: you did not agree")
                .hint("bring one of the lost instances back, and try again")),
            None => Err(CommandError::caused("this takes your consent", what)
                .hint("say yes on the command line: `--yes`")),
        }
    }
}

/// The steps of the cluster, and the works as steps.
fn steps(view: &View, plan: &Plan) -> Vec<StepView> {
    let mut found: Vec<StepView> = plan
        .works
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
        plan.works.iter().any(|work| {
            matches!(&work.remedy, Remedy::Replace { machine, .. } if step.key.ends_with(&format!("/{machine}")))
        })
    };
    // What a machine that goes waits for is no news.
    let asked = Asked::by(view);
    found.extend(watch::steps(view, &asked).into_iter().filter(|step| !is_worked_on(step)));
    // It may say so still, of the time before.
    if let Some(cluster) = &view.cluster
        && !plan.has_due()
        && !watch::is_available(view)
    {
        let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
        let said = capi_api::conditions::get(list, capi_api::conditions::AVAILABLE);
        found.push(StepView {
            key: AVAILABLE.to_owned(),
            doing: format!("cluster `{}`", cluster.name_any()),
            done: format!("cluster `{}` is Available", cluster.name_any()),
            state: State::Busy(said.map(complaint).unwrap_or_default()),
        });
    }
    found
}

/// What only a user can mend, as the error of the command.
fn obstacles(plan: Plan, cluster: &str) -> CommandError {
    let mut all = plan.obstacles.into_iter().map(|obstacle| obstacle.into_command(cluster));
    let first = all.next().unwrap_or_else(|| CommandError::new("something is in the way"));
    all.fold(first, |error, other| error.and_also(&other))
}
