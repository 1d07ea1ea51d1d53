//! What a plan looks like.

use serde::Serialize;

use super::plan::{Plan, Work};
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::ui::Table;

/// A plan, stable between releases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    cluster: &'a str,
    problems: Vec<ShownWork<'a>>,
    /// What only a user can mend.
    obstacles: Vec<ShownObstacle>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownWork<'a> {
    object: &'a str,
    problem: &'a str,
    remedy: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownObstacle {
    problem: String,
    hint: String,
}

/// Prints a plan.
///
/// # Errors
///
/// When stdout cannot be written to.
pub(super) fn print(
    context: &Context,
    cluster: &str,
    plan: &Plan,
    format: Format,
) -> Result<(), CommandError> {
    let problem = |work: &'_ Work| work.remedy.to_string();
    let shown = Shown {
        cluster,
        problems: plan
            .works
            .iter()
            .map(|work| ShownWork {
                object: &work.object,
                problem: &work.problem,
                remedy: problem(work),
            })
            .collect(),
        obstacles: plan
            .obstacles
            .iter()
            .map(|found| ShownObstacle { problem: found.to_string(), hint: found.hint(cluster) })
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

/// One line for each problem.
pub(super) fn table(plan: &Plan) -> Table {
    let mut table = Table::new(["OBJECT", "PROBLEM", "WHAT IS DONE"]);
    for work in &plan.works {
        table.row([work.object.clone(), work.problem.clone(), work.remedy.to_string()]);
    }
    table
}

/// How many problems there are.
pub(super) fn summary(cluster: &str, plan: &Plan) -> String {
    match (plan.works.len(), &plan.waits) {
        (0, Some(waits)) => format!("cluster `{cluster}`: {waits}"),
        (1, _) => format!("cluster `{cluster}`: 1 problem"),
        (n, _) => format!("cluster `{cluster}`: {n} problems"),
    }
}
