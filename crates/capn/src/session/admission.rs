//! Hands the lifecycle's defaults and checks to the plane, which knows nothing of Cluster API.

use kube_plane::{Admission, FieldError, FieldErrorKind};

/// All admissions the plane runs.
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
