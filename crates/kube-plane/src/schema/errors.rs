//! Collected validation errors, with a limit on the work.

use crate::admission::{FieldError, FieldErrorKind};

/// Maximum number of errors.
const MAX_ERRORS: usize = 1000;

/// Maximum work to validate one object. A step is a visited value, or sixteen bytes matched against
/// a small pattern. One second on a slow machine, and far more than an ordinary object needs.
const MAX_WORK: usize = if cfg!(test) { 200_000 } else { 20_000_000 };

/// Error of an object that was not validated completely.
const TOO_EXPENSIVE: &str = "checking it against its definition takes more steps than allowed: make the \
    object smaller, or the definition simpler";

/// Errors, and the remaining work.
#[derive(Debug)]
pub(super) struct Errors {
    errors: Vec<FieldError>,
    work: usize,
}

impl Default for Errors {
    fn default() -> Self {
        Self { errors: Vec::new(), work: MAX_WORK }
    }
}

impl Errors {
    pub(super) fn push(&mut self, error: FieldError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// Counts work. Returns `false` when the validation must stop.
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        self.work = self.work.saturating_sub(steps);
        self.work > 0 && self.errors.len() < MAX_ERRORS
    }

    /// Collects errors separately from the others, with the same limit on the work.
    pub(super) fn collect_separately(&mut self, look: impl FnOnce(&mut Self)) -> Vec<FieldError> {
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
            self.errors.push(FieldError::plain("", FieldErrorKind::TooLong, TOO_EXPENSIVE));
        }
        self.errors
    }
}
