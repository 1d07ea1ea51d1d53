//! `--fix`: applies safe fixes after asking.

use camino::Utf8Path;
use capn_doctor::{Fix, Severity, fix};
use incus_client::Client;

use super::check::Report;
use crate::Context;
use crate::error::CommandError;

/// Applies the safe fixes of a report. Returns whether anything changed.
///
/// # Errors
///
/// Returns an error if the user cannot be asked or a fix fails. Earlier fixes are kept.
pub(super) async fn all(
    context: &Context,
    client: Option<&Client>,
    report: &Report,
    yes: bool,
    root: &Utf8Path,
) -> Result<bool, CommandError> {
    let fixes = wanted(report);
    if fixes.is_empty() {
        context.ui.note("there are no safe fixes to apply");
        return Ok(false);
    }
    for fix in &fixes {
        context.ui.say(format!("would {fix}"));
    }
    if !yes {
        match context.ui.ask("Apply these fixes?") {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => {
                return Err(CommandError::usage(
                    "`--fix` asks for confirmation, but there is no terminal",
                )
                .hint("apply fixes without asking: `capn doctor --fix --yes`"));
            }
        }
    }
    for fix in &fixes {
        let step = context.ui.step(fix.to_string());
        let Some(client) = client else { continue };
        fix::carry_out(root, client, fix).await.map_err(|error| {
            CommandError::caused(format!("cannot {fix}"), error)
                .hint("host settings must be changed as root: `sudo capn doctor --fix`")
        })?;
        step.done(fix.to_string());
    }
    Ok(true)
}

/// Each fix once, in the order of the findings.
fn wanted(report: &Report) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = Vec::new();
    for finding in report.findings.iter().filter(|f| f.severity != Severity::Ok) {
        if let Some(fix) = &finding.fix
            && !fixes.contains(fix)
        {
            fixes.push(fix.clone());
        }
    }
    fixes
}
