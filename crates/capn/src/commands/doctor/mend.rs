//! `--fix`: carries out what is safe, after asking.

use camino::Utf8Path;
use capn_doctor::{Fix, Severity, fix};
use incus_client::Client;

use super::check::Report;
use crate::Context;
use crate::error::CommandError;

/// Carries out the safe fixes of a report; whether something was changed.
///
/// # Errors
///
/// When nobody can be asked, or a fix fails: the ones before it stay.
pub(super) async fn all(
    context: &Context,
    client: Option<&Client>,
    report: &Report,
    yes: bool,
    root: &Utf8Path,
) -> Result<bool, CommandError> {
    let fixes = wanted(report);
    if fixes.is_empty() {
        context.ui.note("nothing here can be mended safely");
        return Ok(false);
    }
    for fix in &fixes {
        context.ui.say(format!("would {fix}"));
    }
    if !yes {
        match context.ui.ask("Do that?") {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => {
                return Err(CommandError::usage(
                    "`--fix` asks before it changes anything, and there is no terminal to ask on",
                )
                .hint("change it without asking: `capn doctor --fix --yes`"));
            }
        }
    }
    for fix in &fixes {
        let step = context.ui.step(fix.to_string());
        let Some(client) = client else { continue };
        fix::carry_out(root, client, fix).await.map_err(|error| {
            CommandError::caused(format!("cannot {fix}"), error)
                .hint("the host's own settings are changed by root: `sudo capn doctor --fix`")
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
