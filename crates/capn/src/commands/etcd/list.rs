//! `capn etcd snapshot list`

use clap::Args;
use serde_json::{Value, json};

use crate::Context;
use crate::commands::NamespaceArg;
use crate::error::CommandError;
use crate::etcd::{self, Folder, Kept};
use crate::output::{self, OutputArgs};
use crate::state::StateDir;
use crate::ui::Table;

/// Options of `etcd snapshot list`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn etcd snapshot list demo`. Snapshots of deleted clusters are listed too."
)]
pub struct ListArgs {
    /// Name of the cluster
    pub name: String,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) fn run(context: &Context, args: &ListArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let dir = Folder::of(&state, &args.namespace.namespace, &args.name)?;
    let found = dir.list()?;
    let values: Vec<Value> = found.iter().map(value).collect();
    let (ui, name) = (&context.ui, &args.name);
    let path = |value: &Value| vec![value["path"].as_str().unwrap_or_default().to_owned()];
    output::list(ui, args.output.format(), "EtcdSnapshot", &values, path, |is_wide| {
        if found.is_empty() {
            let take = format!("capn etcd snapshot save {name}");
            ui.say(format!(
                "cluster `{name}` has no snapshots in {}; take one: `{take}`",
                dir.path()
            ));
            return Ok(());
        }
        ui.table(&table(&found, is_wide))
    })
}

fn table(found: &[Kept], wide: bool) -> Table {
    let mut head = vec!["NAME", "TAKEN", "BY", "SIZE", "REVISION", "KUBERNETES"];
    head.extend(if wide { &["ETCD", "NODE", "SHA256"][..] } else { &[] });
    let mut table = Table::new(head);
    for kept in found {
        let record = kept.record.as_ref();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let mut cells = vec![
            kept.name.clone(),
            kept.taken().strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            text(record.map(|record| record.reason.as_str())),
            etcd::size(kept.size_bytes),
            record.and_then(|record| record.revision).map(|n| n.to_string()).unwrap_or_default(),
            text(record.and_then(|record| record.kubernetes_version.as_deref())),
        ];
        if wide {
            cells.extend([
                text(record.and_then(|record| record.etcd_version.as_deref())),
                text(record.map(|record| record.node.as_str())),
                text(record.map(|record| record.sha256.as_str())),
            ]);
        }
        table.row(cells);
    }
    table
}

/// Returns the output of a snapshot; stable between releases.
fn value(kept: &Kept) -> Value {
    let record = kept.record.as_ref();
    json!({
        "name": kept.name,
        "path": kept.path,
        "taken": kept.taken(),
        "sizeBytes": kept.size_bytes,
        "reason": record.map(|record| record.reason.as_str()),
        "revision": record.and_then(|record| record.revision),
        "etcdVersion": record.and_then(|record| record.etcd_version.as_deref()),
        "kubernetesVersion": record.and_then(|record| record.kubernetes_version.as_deref()),
        "sha256": record.map(|record| record.sha256.as_str()),
    })
}
