//! Output of a plan: a table for users, an object for programs.

use serde::Serialize;

use super::plan::{Plan, Rollout, SKEW, Source, Step};
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::ui::Table;

/// Output of a plan; stable between releases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    cluster: &'a str,
    from: String,
    to: String,
    /// Maximum version skew between kubelets and API servers, in minor versions.
    skew: u32,
    steps: Vec<ShownStep<'a>>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "action")]
enum ShownStep<'a> {
    #[serde(rename_all = "camelCase")]
    Image {
        version: String,
        source: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
    },
    Snapshot {},
    #[serde(rename_all = "camelCase")]
    Rollout {
        kind: &'static str,
        name: &'a str,
        from: String,
        to: String,
        count: usize,
        machines: &'a [String],
    },
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
    match format {
        Format::Json => context.ui.data(&output::json(&shown(cluster, plan))?),
        Format::Yaml => context.ui.data(&output::yaml(&shown(cluster, plan))?),
        Format::Table | Format::Wide | Format::Name => context.ui.table(&table(plan)),
    }
}

/// Returns the summary of a plan.
pub(super) fn summary(cluster: &str, plan: &Plan) -> String {
    if plan.from > plan.to {
        let machines = match plan.replacements() {
            1 => "1 machine is deleted".to_owned(),
            n => format!("{n} machines are deleted"),
        };
        return format!("cluster `{cluster}`: back to Kubernetes {}, {machines}", plan.to);
    }
    let machines = match plan.replacements() {
        1 => "1 machine is replaced".to_owned(),
        n => format!("{n} machines are replaced"),
    };
    let skew = match plan.skew {
        0 => String::new(),
        n => format!("; kubelets are up to {n} of {SKEW} minor versions older than API servers"),
    };
    format!("cluster `{cluster}`: Kubernetes {} to {}, {machines}{skew}", plan.from, plan.to)
}

pub(super) fn table(plan: &Plan) -> Table {
    let mut table = Table::new(["STEP", "WHAT", "FROM", "TO", "HOW"]);
    for (number, step) in plan.steps.iter().enumerate() {
        let (what, from, to, how) = match step {
            Step::Image { version, source } => {
                let what = match source {
                    Source::Named(name) => format!("image {name}"),
                    _ => format!(
                        "image {}",
                        capn_image::catalog::kubeadm_alias(&version.to_string())
                    ),
                };
                (what, String::new(), version.to_string(), told(source))
            }
            Step::Snapshot => (
                "snapshot of etcd".to_owned(),
                String::new(),
                String::new(),
                "restored by `capn etcd snapshot restore`".to_owned(),
            ),
            Step::ControlPlane(rollout) => row("KubeadmControlPlane", rollout, "one by one"),
            Step::Workers(rollout) => row("MachineDeployment", rollout, "by its rollout strategy"),
            Step::Pool(rollout) => row("MachinePool", rollout, "all new ones at once"),
        };
        table.row([(number + 1).to_string(), what, from, to, how]);
    }
    table
}

fn told(source: &Source) -> String {
    match source {
        Source::Server => "on the server".to_owned(),
        Source::Folder(folder) => format!("built from {folder}, unless the server has the same"),
        Source::Download => {
            "from the image server, or built from the official downloads".to_owned()
        }
        Source::Named(_) => "fixed in the machine template".to_owned(),
    }
}

fn row(kind: &str, rollout: &Rollout, order: &str) -> (String, String, String, String) {
    let how = match (rollout.machines.as_slice(), rollout.count) {
        ([], 0) => "replaces no machine".to_owned(),
        ([], 1) => "1 machine".to_owned(),
        ([], count) => format!("{count} machines, {order}"),
        ([one], _) => one.clone(),
        (names, _) => format!("{}, {order}", names.join(", ")),
    };
    let Rollout { object, from, to, .. } = rollout;
    (format!("{kind}/{object}"), from.to_string(), to.to_string(), how)
}

pub(super) fn shown<'a>(cluster: &'a str, plan: &'a Plan) -> Shown<'a> {
    let steps = plan.steps.iter().map(|step| match step {
        Step::Image { version, source } => {
            let (source, name) = match source {
                Source::Server => ("server", None),
                Source::Folder(folder) => ("folder", Some(folder.as_str())),
                Source::Download => ("download", None),
                Source::Named(name) => ("template", Some(name.as_str())),
            };
            ShownStep::Image { version: version.to_string(), source, name }
        }
        Step::Snapshot => ShownStep::Snapshot {},
        Step::ControlPlane(rollout) => shown_rollout("KubeadmControlPlane", rollout),
        Step::Workers(rollout) => shown_rollout("MachineDeployment", rollout),
        Step::Pool(rollout) => shown_rollout("MachinePool", rollout),
    });
    Shown {
        cluster,
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        skew: plan.skew,
        steps: steps.collect(),
    }
}

fn shown_rollout<'a>(kind: &'static str, rollout: &'a Rollout) -> ShownStep<'a> {
    ShownStep::Rollout {
        kind,
        name: &rollout.object,
        from: rollout.from.to_string(),
        to: rollout.to.to_string(),
        count: rollout.count,
        machines: &rollout.machines,
    }
}
