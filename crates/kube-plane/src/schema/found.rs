//! What is wrong with a value, and what it costs to find out.

use crate::admission::{FieldError, FieldErrorKind};

/// Errors after which no more are looked for.
const MAX_ERRORS: usize = 1000;

/// What the check of one object may cost: a step is a value looked at, or sixteen bytes run through a
/// small pattern. A second on a slow machine, and far from what an object needs.
const MAX_WORK: usize = if cfg!(test) { 200_000 } else { 20_000_000 };

/// The error of an object that is not checked to its end.
const COSTLY: &str = "checking it against its definition takes more steps than allowed: make the \
    object smaller, or the definition simpler";

/// Errors, and the work that is left.
#[derive(Debug)]
pub(super) struct Found {
    errors: Vec<FieldError>,
    work: usize,
}

impl Default for Found {
    fn default() -> Self {
        Self { errors: Vec::new(), work: MAX_WORK }
    }
}

impl Found {
    pub(super) fn push(&mut self, error: FieldError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// Notes work. `false`: no more is to be done.
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        self.work = self.work.saturating_sub(steps);
        self.work > 0 && self.errors.len() < MAX_ERRORS
    }

    /// Looks for errors with the same work and apart from the others.
    pub(super) fn apart(&mut self, look: impl FnOnce(&mut Self)) -> Vec<FieldError> {
        let mut other = Self { errors: Vec::new(), work: self.work };
        look(&mut other);
        self.work = other.work;
        other.errors
    }

    pub(super) fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        errors.into_iter().for_each(|error| self.push(error));
    }

    pub(super) fn finish(mut self) -> Vec<FieldError> {
        if self.work == 0 {
            self.errors.push(FieldError::plain("", FieldErrorKind::TooLong, COSTLY));
        }
        self.errors
    }
}
