//! Prints a report.

use capn_doctor::Severity;

use super::check::Report;
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::ui::{Tone, indented};

/// Prints a report in the requested format.
pub(super) fn report(
    context: &Context,
    report: &Report,
    format: Format,
) -> Result<(), CommandError> {
    match format {
        Format::Json => context.ui.data(&output::json(report)?),
        Format::Yaml => context.ui.data(&output::yaml(report)?),
        Format::Name => {
            let wrong = report.findings.iter().filter(|f| f.severity != Severity::Ok);
            context.ui.data(&wrong.map(|finding| format!("{}\n", finding.id)).collect::<String>())
        }
        Format::Table | Format::Wide => {
            context.ui.data(&text(report, |tone, text| context.ui.paint_data(tone, text)))?;
            if !report.host_checked {
                context.ui.note(
                    "the server is on another machine, whose host was not checked: run `capn doctor` there",
                );
            }
            Ok(())
        }
    }
}

fn text(report: &Report, paint: impl Fn(Tone, &str) -> String) -> String {
    let widest = report.findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    let indent = " ".repeat("problem".len() + 2 + widest + 2);
    let mut text = String::new();
    for finding in &report.findings {
        let tone = match finding.severity {
            Severity::Ok => Tone::Good,
            Severity::Warning => Tone::Note,
            Severity::Problem => Tone::Bad,
        };
        let state = format!("{:<7}", finding.severity.to_string());
        text.push_str(&format!(
            "{}  {:<widest$}  {}\n",
            paint(tone, &state),
            finding.id,
            indented(&finding.found, &indent)
        ));
        if !finding.means.is_empty() {
            text.push_str(&format!("{indent}{}\n", indented(&finding.means, &indent)));
        }
        for line in &finding.remedies {
            let line = indented(line, &format!("{indent}     "));
            text.push_str(&format!("{indent}{} {line}\n", paint(Tone::Hint, "fix:")));
        }
    }
    let [ok, warnings, problems] =
        [Severity::Ok, Severity::Warning, Severity::Problem].map(|state| report.count(state));
    let plural =
        |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    text.push_str(&format!(
        "{ok} ok, {}, {}\n",
        plural(warnings, "warning"),
        plural(problems, "problem")
    ));
    text
}

#[cfg(test)]
mod tests {
    use capn_doctor::Finding;

    use super::*;

    #[test]
    fn a_finding_shows_its_meaning_and_fix() {
        let finding = |id, severity, means: &str, remedies: &[&str]| Finding {
            id,
            severity,
            found: "found".into(),
            means: means.into(),
            remedies: remedies.iter().map(|line| (*line).to_owned()).collect(),
            fix: None,
        };
        let report = Report {
            server: None,
            host_checked: true,
            findings: vec![
                finding("clock", Severity::Ok, "", &[]),
                finding("nat", Severity::Warning, "means", &["do a", "do b"]),
            ],
        };
        let expected = "ok       clock  found\n\
                        warning  nat    found\n                means\n                fix: do a\n                \
                        fix: do b\n1 ok, 1 warning, 0 problems\n";
        assert_eq!(text(&report, |_, text| text.to_owned()), expected);
    }
}
