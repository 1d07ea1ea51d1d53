//! Progress of steps in the terminal: those in progress, and each completed step once.

use std::collections::{HashMap, HashSet};

use super::follow::Deadline;
use super::steps::{State, StepView};
use crate::error::CommandError;
use crate::ui::{Step, Ui};

/// The steps on the screen.
///
/// A step is reported when it completes; in a pipe, this is the only output.
pub(crate) struct StepDisplay {
    ui: Ui,
    busy: HashMap<String, (Step, StepView)>,
    over: HashSet<String>,
    /// Failures already reported, by step.
    told: HashSet<(String, String)>,
    order: Vec<String>,
}

impl StepDisplay {
    /// Creates an empty display.
    pub(crate) fn new(ui: &Ui) -> Self {
        Self::beside(ui, HashSet::new())
    }

    /// Creates an empty display that never reports the steps in `known`, which were complete
    /// before.
    pub(crate) fn beside(ui: &Ui, known: HashSet<String>) -> Self {
        Self {
            ui: ui.clone(),
            busy: HashMap::new(),
            over: known,
            told: HashSet::new(),
            order: Vec::new(),
        }
    }

    /// Returns the error for a passed deadline, with the steps still in progress.
    pub(crate) fn late(&self, deadline: Deadline) -> CommandError {
        let act = format!("did not finish within {deadline}");
        match self.missing() {
            missing if missing.is_empty() => CommandError::new(act),
            missing => {
                CommandError::caused(act, format!("still in progress: {}", missing.join("; ")))
            }
        }
    }

    /// Updates the display.
    pub(crate) fn update(&mut self, steps: Vec<StepView>) {
        let present: HashSet<String> = steps.iter().map(|step| step.key.clone()).collect();
        for step in steps {
            match &step.state {
                State::Busy(waits) => {
                    let waits = waits.clone();
                    self.show(step, &waits);
                }
                State::Retrying(why) => {
                    let why = why.clone();
                    self.tell(&step, &why);
                    self.show(step, &why);
                }
                State::Done => self.finish(&step),
            }
        }
        // A replaced machine is no longer of interest.
        self.busy.retain(|key, _| present.contains(key));
    }

    /// Completes every step that is no longer listed.
    pub(super) fn keep_only(&mut self, steps: Vec<StepView>) {
        self.end_gone(&steps, |_| true);
        self.update(steps);
    }

    /// Completes the matching steps that are no longer listed, for steps that are complete once
    /// they disappear.
    pub(crate) fn end_gone(&mut self, steps: &[StepView], is_meant: impl Fn(&str) -> bool) {
        let present: HashSet<&str> = steps.iter().map(|step| step.key.as_str()).collect();
        for key in self.order.clone() {
            if is_meant(&key)
                && !present.contains(key.as_str())
                && let Some((step, view)) = self.busy.remove(&key)
            {
                step.done(view.done);
            }
        }
    }

    fn show(&mut self, step: StepView, waits: &str) {
        let (display, view) = self.busy.entry(step.key.clone()).or_insert_with(|| {
            self.order.push(step.key.clone());
            (self.ui.step(&step.doing), step.clone())
        });
        display.detail(waits);
        *view = step;
    }

    /// Reports a failure once, also in a pipe, so that the user does not have to guess.
    fn tell(&mut self, step: &StepView, why: &str) {
        if self.told.insert((step.key.clone(), why.to_owned())) {
            self.ui.note(format!("{}: {why}; retrying", step.doing));
        }
    }

    fn finish(&mut self, step: &StepView) {
        if !self.over.insert(step.key.clone()) {
            return;
        }
        match self.busy.remove(&step.key) {
            Some((display, _)) => display.done(&step.done),
            None => self.ui.step(&step.doing).done(&step.done),
        }
    }

    /// Reports steps in progress as failed.
    pub(crate) fn fail(&mut self) {
        for key in self.order.clone() {
            if let Some((display, view)) = self.busy.remove(&key)
                && let State::Busy(waits) | State::Retrying(waits) = &view.state
                && !waits.is_empty()
            {
                display.failed(format!("{}: {waits}", view.doing));
            }
        }
    }

    fn missing(&self) -> Vec<String> {
        self.order
            .iter()
            .filter_map(|key| self.busy.get(key))
            .map(|(_, view)| match &view.state {
                State::Busy(waits) | State::Retrying(waits) if !waits.is_empty() => {
                    format!("{}: {waits}", view.doing)
                }
                _ => view.doing.clone(),
            })
            .collect()
    }
}
