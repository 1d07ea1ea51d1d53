//! Adds the lifecycle's defaulting and validation to the plane, which has no knowledge of Cluster
//! API.

use kube_plane::{Admission, FieldError, FieldErrorKind};

/// Returns all admission handlers of the plane.
pub(super) fn admissions() -> Vec<Admission> {
    capn_lifecycle::admission::admission()
        .into_iter()
        .map(|rule| {
            Admission::new(rule.group, rule.kind)
                .mutate_with(rule.mutate)
                .validate(move |new, old| check(&(rule.validate)(new, old)))
        })
        .collect()
}

fn check(problems: &[capn_lifecycle::admission::Problem]) -> Result<(), Vec<FieldError>> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(problems
        .iter()
        .map(|problem| FieldError::plain(&problem.field, FieldErrorKind::Invalid, &problem.message))
        .collect())
}
