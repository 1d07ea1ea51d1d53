//! Findings of `capn doctor` as refusals: the same rules say what is wrong before anything is made.

use capn_doctor::{Finding, rules};

use crate::error::CommandError;

/// Refuses when there is a problem among the findings.
///
/// # Errors
///
/// The first problem, what it means and what mends it. Kernel settings are raised together.
pub(super) fn refuse(findings: &[Finding]) -> Result<(), CommandError> {
    let problems: Vec<&Finding> = findings.iter().filter(|finding| finding.is_problem()).collect();
    let Some(first) = problems.first() else { return Ok(()) };
    let error = CommandError::new(format!("{}, and {}", first.found, first.means));
    Err(match rules::raise_command(&problems) {
        Some(command) if rules::raise_command(&[*first]).is_some() => error
            .hint(format!("raise it: `{command}`"))
            .hint("keep it over restarts, and mend what else can be: `sudo capn doctor --fix`"),
        _ => error.hints(first.mend.iter().cloned()),
    })
}
