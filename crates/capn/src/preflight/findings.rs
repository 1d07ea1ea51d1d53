//! Turns findings of `capn doctor` into errors, so that the same rules apply before anything is
//! created.

use capn_doctor::{Finding, rules};

use crate::error::CommandError;

/// Returns an error if a finding is a problem.
///
/// # Errors
///
/// The first problem, with its meaning and its fix. Kernel settings are fixed together.
pub(super) fn refuse(findings: &[Finding]) -> Result<(), CommandError> {
    let problems: Vec<&Finding> = findings.iter().filter(|finding| finding.is_problem()).collect();
    let Some(first) = problems.first() else { return Ok(()) };
    let error = CommandError::new(format!("{}, and {}", first.found, first.means));
    Err(match rules::raise_command(&problems) {
        Some(command) if rules::raise_command(&[*first]).is_some() => error
            .hint(format!("raise the limits: `{command}`"))
            .hint("to make this permanent and apply other fixes: `sudo capn doctor --fix`"),
        _ => error.hints(first.remedies.iter().cloned()),
    })
}
