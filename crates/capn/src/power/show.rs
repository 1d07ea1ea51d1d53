//! Prints the plan for `--dry-run`.

use super::plan::Stage;
use crate::error::CommandError;
use crate::ui::{Table, Ui};

/// Prints the steps as a table.
///
/// # Errors
///
/// Returns an error if stdout cannot be written.
pub(super) fn print(ui: &Ui, stages: &[Stage], what: &str) -> Result<(), CommandError> {
    if stages.is_empty() {
        ui.say(format!("no instances to {what}"));
        return Ok(());
    }
    ui.table(&table(stages, what))
}

fn table(stages: &[Stage], what: &str) -> Table {
    let mut table = Table::new(["STEP", "WHAT", "INSTANCE", "ROLE"]);
    for (number, stage) in stages.iter().enumerate() {
        for step in stage {
            table.row([
                (number + 1).to_string(),
                what.to_owned(),
                step.instance.clone(),
                step.role.as_str().to_owned(),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Role, Step};
    use super::*;

    #[test]
    fn instances_of_one_step_have_its_number() {
        let step =
            |instance: &str, role| Step { instance: instance.into(), role, is_frozen: false };
        let stages = [
            vec![step("a", Role::Worker), step("b", Role::Worker)],
            vec![step("c", Role::ControlPlane)],
        ];
        insta::assert_snapshot!(table(&stages, "stop").render(false), @r"
        STEP  WHAT  INSTANCE  ROLE
        1     stop  a         worker
        1     stop  b         worker
        2     stop  c         control plane
        ");
    }
}
