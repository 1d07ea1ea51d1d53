//! `capn etcd snapshot list`

use clap::Args;
use serde_json::{Value, json};

use crate::Context;
use crate::commands::NamespaceArg;
use crate::error::CommandError;
use crate::etcd::{self, Folder, Kept};
use crate::output::{self, Format, OutputArgs};
use crate::state::StateDir;
use crate::ui::Table;

/// Options of `etcd snapshot list`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn etcd snapshot list demo`. Snapshots of a cluster that is deleted are listed too."
)]
pub struct ListArgs {
    /// Name of the cluster
    pub name: String,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) fn run(context: &Context, args: &ListArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let folder = Folder::of(&state, &args.namespace.namespace, &args.name)?;
    let found = folder.list()?;
    let values = || -> Vec<Value> { found.iter().map(value).collect() };
    match args.output.format() {
        Format::Json => context.ui.data(&output::json(&values())?),
        Format::Yaml => context.ui.data(&output::yaml(&values())?),
        Format::Name => context
            .ui
            .data(&found.iter().map(|kept| format!("{}\n", kept.path)).collect::<String>()),
        Format::Table | Format::Wide if found.is_empty() => {
            context.ui.say(format!(
                "no snapshots of cluster `{0}` in {1}; take one: `capn etcd snapshot save {0}`",
                args.name,
                folder.path()
            ));
            Ok(())
        }
        format @ (Format::Table | Format::Wide) => {
            context.ui.table(&table(&found, format == Format::Wide))
        }
    }
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

/// A snapshot for programs, stable between releases.
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
