//! Prints orphans.

use capn_api::keys;
use serde::Serialize;

use super::plan::Orphan;
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::ui::{Table, Ui};

/// Output of an orphan; stable between releases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrphanRow {
    cluster: String,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// Kind of the resource on the server.
    resource: &'static str,
    name: String,
    owner: Option<String>,
    owner_uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    created_at: String,
}

fn rows(orphans: &[Orphan]) -> Vec<OrphanRow> {
    let row = |orphan: &Orphan| OrphanRow {
        cluster: orphan.cluster_key.name.clone(),
        namespace: orphan.cluster_key.namespace.clone(),
        project: orphan.resource.project.clone(),
        resource: orphan.resource.kind.as_str(),
        name: orphan.resource.name.clone(),
        owner: orphan.resource.key(keys::INSTANCE_OWNER).map(str::to_owned),
        owner_uid: orphan.owner_uid.clone(),
        status: orphan.resource.status.clone(),
        created_at: orphan.resource.created_at.clone(),
    };
    orphans.iter().map(row).collect()
}

/// Prints orphans in the requested format.
///
/// # Errors
///
/// Returns an error if stdout cannot be written.
pub(crate) fn print(ui: &Ui, orphans: &[Orphan], format: Format) -> Result<(), CommandError> {
    let rows = rows(orphans);
    output::list(
        ui,
        format,
        "Orphan",
        &rows,
        |row| vec![row.name.clone()],
        |wide| ui.table(&table(&rows, wide)),
    )
}

fn table(rows: &[OrphanRow], is_wide: bool) -> Table {
    let mut head = vec!["CLUSTER", "NAMESPACE", "PROJECT", "KIND", "NAME", "STATUS", "CREATED"];
    if is_wide {
        head.extend(["OWNER", "OWNER UID"]);
    }
    let mut table = Table::new(head);
    for row in rows {
        let day = row.created_at.split('T').next().unwrap_or_default();
        let mut cells = vec![
            row.cluster.clone(),
            row.namespace.clone(),
            row.project.clone().unwrap_or_default(),
            row.resource.to_owned(),
            row.name.clone(),
            row.status.clone(),
            day.to_owned(),
        ];
        if is_wide {
            cells.extend([row.owner.clone().unwrap_or_default(), row.owner_uid.clone()]);
        }
        table.row(cells);
    }
    table
}
