//! The tables of `capn get`.

use jiff::Timestamp;

use super::Rows;
use super::rows::{ClusterNode, Count, age};
use crate::commands::pool::list as list_pools;
use crate::ui::Table;

/// Optional columns of a table.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Columns {
    /// Include the columns of wide output.
    pub(super) is_wide: bool,
    /// Put the namespace first.
    pub(super) namespace: bool,
}

impl Columns {
    /// Cells of a row, with the namespace in its position and the columns of wide output.
    pub(in crate::commands) fn cells(
        self,
        namespace: &str,
        cells: Vec<String>,
        wide: Vec<String>,
    ) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        all.extend(self.namespace.then(|| namespace.to_owned()));
        all.extend(cells);
        if self.is_wide {
            all.extend(wide);
            all.extend((!self.namespace).then(|| namespace.to_owned()));
        }
        all
    }

    pub(in crate::commands) fn head(self, columns: &[&str], wide: &[&str]) -> Vec<String> {
        let owned = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect();
        self.cells("NAMESPACE", owned(columns), owned(wide))
    }
}

/// Renders rows as a table.
pub(super) fn table(rows: &Rows, columns: Columns, now: Timestamp) -> Table {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let truth = |value| if value { "True" } else { "False" }.to_owned();
    match rows {
        Rows::Clusters(rows) => {
            let head =
                ["NAME", "PHASE", "AVAILABLE", "CONTROL PLANES", "WORKERS", "VERSION", "AGE"];
            let mut table = Table::new(columns.head(&head, &["ENDPOINT"]));
            for row in rows {
                let count = |count: Count| format!("{}/{}", count.ready, count.total);
                let cells = vec![
                    row.name.clone(),
                    row.phase.clone(),
                    truth(row.available),
                    count(row.control_planes),
                    count(row.workers),
                    text(&row.kubernetes_version),
                    age(row.created_at.as_deref(), now),
                ];
                table.row(columns.cells(&row.namespace, cells, vec![text(&row.endpoint)]));
            }
            table
        }
        Rows::Pools(rows) => list_pools::table(rows, columns, now),
        Rows::Machines(rows) => {
            let head = ["NAME", "CLUSTER", "ROLE", "PHASE", "READY", "ADDRESS", "VERSION", "AGE"];
            let mut table = Table::new(columns.head(&head, &["NODE", "IMAGE", "ISOLATION"]));
            for row in rows {
                let cells = vec![
                    row.name.clone(),
                    row.cluster.clone(),
                    row.role.to_owned(),
                    row.phase.clone(),
                    truth(row.ready),
                    text(&row.address),
                    text(&row.kubernetes_version),
                    age(row.created_at.as_deref(), now),
                ];
                let wide = vec![text(&row.node), text(&row.image), text(&row.isolation)];
                table.row(columns.cells(&row.namespace, cells, wide));
            }
            table
        }
        Rows::Nodes(rows) => {
            let head = ["NAME", "CLUSTER", "STATUS", "ROLE", "VERSION", "ADDRESS"];
            let mut table = Table::new(columns.head(&head, &["RUNTIME"]));
            for ClusterNode { namespace, cluster, node } in rows {
                let cells = vec![
                    node.name.clone(),
                    cluster.clone(),
                    node.status.clone(),
                    node.role.clone(),
                    text(&node.version),
                    text(&node.address),
                ];
                table.row(columns.cells(namespace, cells, vec![text(&node.runtime)]));
            }
            table
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_namespace_is_first_with_all_namespaces_and_last_in_wide_output() {
        let rows = Rows::Clusters(vec![testing::cluster("a", "Pending")]);
        let now = Timestamp::UNIX_EPOCH;
        for (is_wide, namespace, first, last) in [
            (false, false, "NAME", "AGE"),
            (false, true, "NAMESPACE", "AGE"),
            (true, false, "NAME", "NAMESPACE"),
            (true, true, "NAMESPACE", "ENDPOINT"),
        ] {
            let text = table(&rows, Columns { is_wide, namespace }, now).render(false);
            let head: Vec<&str> = text.lines().next().unwrap().split("  ").collect();
            assert_eq!(head.first().map(|it| it.trim()), Some(first));
            assert_eq!(head.last().map(|it| it.trim()), Some(last));
        }
    }
}
