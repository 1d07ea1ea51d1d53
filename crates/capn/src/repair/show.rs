//! Prints a plan.

use serde::Serialize;

use super::plan::{Finding, Plan};
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::ui::Table;

/// Output of a plan; stable between releases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanOutput<'a> {
    cluster: &'a str,
    problems: Vec<FindingOutput<'a>>,
    /// Problems that require the user.
    obstacles: Vec<ObstacleOutput>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingOutput<'a> {
    object: &'a str,
    problem: &'a str,
    remedy: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObstacleOutput {
    problem: String,
    hint: String,
}

/// Prints a plan.
///
/// # Errors
///
/// Returns an error if stdout cannot be written.
pub(super) fn print(
    context: &Context,
    cluster: &str,
    plan: &Plan,
    format: Format,
) -> Result<(), CommandError> {
    let problem = |work: &'_ Finding| work.remedy.to_string();
    let shown = PlanOutput {
        cluster,
        problems: plan
            .findings
            .iter()
            .map(|work| FindingOutput {
                object: &work.object,
                problem: &work.problem,
                remedy: problem(work),
            })
            .collect(),
        obstacles: plan
            .obstacles
            .iter()
            .map(|found| ObstacleOutput { problem: found.to_string(), hint: found.hint(cluster) })
            .collect(),
    };
    match format {
        Format::Json => context.ui.data(&output::json(&shown)?),
        Format::Yaml => context.ui.data(&output::yaml(&shown)?),
        Format::Table | Format::Wide | Format::Name => {
            for found in &plan.obstacles {
                context.ui.note(format!("{found}; {}", found.hint(cluster)));
            }
            context.ui.table(&table(plan))
        }
    }
}

/// One line per problem.
pub(super) fn table(plan: &Plan) -> Table {
    let mut table = Table::new(["OBJECT", "PROBLEM", "REMEDY"]);
    for work in &plan.findings {
        table.row([work.object.clone(), work.problem.clone(), work.remedy.to_string()]);
    }
    table
}

/// Returns the number of problems.
pub(super) fn summary(cluster: &str, plan: &Plan) -> String {
    match (plan.findings.len(), &plan.waits) {
        (0, Some(waits)) => format!("cluster `{cluster}`: {waits}"),
        (1, _) => format!("cluster `{cluster}`: 1 problem"),
        (n, _) => format!("cluster `{cluster}`: {n} problems"),
    }
}
