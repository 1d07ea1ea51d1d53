//! Steps as a person follows them: what is under way, and each that is over once.

use std::collections::{HashMap, HashSet};

use super::follow::Deadline;
use super::steps::{State, StepView};
use crate::error::CommandError;
use crate::ui::{Step, Ui};

/// What is on the screen.
///
/// A step is told when it is over; in a pipe that is all that is.
pub(crate) struct Shown {
    ui: Ui,
    busy: HashMap<String, (Step, StepView)>,
    over: HashSet<String>,
    /// Failures that were told, by step.
    told: HashSet<(String, String)>,
    order: Vec<String>,
}

impl Shown {
    /// Nothing yet.
    pub(crate) fn new(ui: &Ui) -> Self {
        Self::beside(ui, HashSet::new())
    }

    /// Nothing yet, and never what is in `known`: it held before and is no news.
    pub(crate) fn beside(ui: &Ui, known: HashSet<String>) -> Self {
        Self {
            ui: ui.clone(),
            busy: HashMap::new(),
            over: known,
            told: HashSet::new(),
            order: Vec::new(),
        }
    }

    /// That a deadline has passed, with what is still under way.
    pub(crate) fn late(&self, deadline: Deadline) -> CommandError {
        let act = format!("not done within {deadline}");
        match self.missing() {
            missing if missing.is_empty() => CommandError::new(act),
            missing => {
                CommandError::caused(act, format!("still under way: {}", missing.join("; ")))
            }
        }
    }

    /// Brings what is shown up to date.
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
        // A machine that was replaced is no longer of interest.
        self.busy.retain(|key, _| present.contains(key));
    }

    /// Ends every step that is no longer there.
    pub(super) fn keep_only(&mut self, steps: Vec<StepView>) {
        self.end_gone(&steps, |_| true);
        self.update(steps);
    }

    /// Ends steps that are no longer there, of those that are over when they are gone.
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
        let (shown, view) = self.busy.entry(step.key.clone()).or_insert_with(|| {
            self.order.push(step.key.clone());
            (self.ui.step(&step.doing), step.clone())
        });
        shown.detail(waits);
        *view = step;
    }

    /// Says once what failed, in a pipe too: whoever waits should not have to guess.
    fn tell(&mut self, step: &StepView, why: &str) {
        if self.told.insert((step.key.clone(), why.to_owned())) {
            self.ui.note(format!("{}: {why}; it is tried again", step.doing));
        }
    }

    fn finish(&mut self, step: &StepView) {
        if !self.over.insert(step.key.clone()) {
            return;
        }
        match self.busy.remove(&step.key) {
            Some((shown, _)) => shown.done(&step.done),
            None => self.ui.step(&step.doing).done(&step.done),
        }
    }

    /// Tells what was under way.
    pub(crate) fn fail(&mut self) {
        for key in self.order.clone() {
            if let Some((shown, view)) = self.busy.remove(&key)
                && let State::Busy(waits) | State::Retrying(waits) = &view.state
                && !waits.is_empty()
            {
                shown.failed(format!("{}: {waits}", view.doing));
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
