//! `capn get`

mod nodes;
mod rows;
mod table;
mod watch;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::freshness;
use super::image::{ServerArgs, list};
use super::pool::list as list_pools;
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format, OutputArgs};
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::{Ui, suggested};

use self::rows::{ClusterNode, ClusterRow, MachineRow, clusters, machines};
pub(super) use self::rows::{age, created_at, readable};
pub(super) use self::table::Columns;
use self::table::table;

/// Resource kinds that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ResourceKind {
    /// Clusters in the plane
    #[value(alias = "cluster")]
    Clusters,
    /// Machines of all clusters, or of one: `capn get machines demo`
    #[value(alias = "machine")]
    Machines,
    /// Nodes of all clusters, or of one, read from their API servers
    #[value(alias = "node")]
    Nodes,
    /// Worker pools of all clusters, or of one: `capn get pools demo`
    #[value(alias = "pool")]
    Pools,
    /// Images on the server
    #[value(alias = "image")]
    Images,
}

/// Options of `get`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn get machines demo -w` watches the machines of a cluster; `capn get nodes -o json | jq -r '.items[].name'`."
)]
pub struct GetArgs {
    /// Resource kind to list
    #[arg(value_enum)]
    pub what: ResourceKind,
    /// Only list objects of this cluster
    pub cluster: Option<String>,
    /// Only list this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// List all namespaces, with a namespace column; this is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// For clusters and machines: after listing, watch for changes until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Server of the images.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(context: &Context, args: GetArgs) -> Result<(), CommandError> {
    let format = args.output.format();
    let state = StateDir::of(context)?;
    if args.watch {
        return watch::run(context, &state, &args).await;
    }
    if args.what == ResourceKind::Images {
        return list::of_server(context, args.server, args.output).await;
    }
    let written = freshness::LastWrite::of(&state);
    let session = Session::open(&state, Need::Objects).await?;
    let read = Rows::read(&context.ui, &session, &args).await;
    if matches!(format, Format::Table | Format::Wide) && args.what != ResourceKind::Nodes {
        freshness::note(&context.ui, written, &session);
    }
    session.close().await?;
    let (rows, failed) = read?;
    print(context, &rows, &args)?;
    failed.map_or(Ok(()), Err)
}

enum Rows {
    Clusters(Vec<ClusterRow>),
    Machines(Vec<MachineRow>),
    Nodes(Vec<ClusterNode>),
    Pools(Vec<list_pools::PoolRow>),
}

impl Rows {
    /// Reads the requested rows, and errors for those that could not be read.
    async fn read(
        ui: &Ui,
        session: &Session,
        args: &GetArgs,
    ) -> Result<(Self, Option<CommandError>), CommandError> {
        Ok(match args.what {
            ResourceKind::Machines => (Self::Machines(machines(ui, session, args).await?), None),
            ResourceKind::Nodes => {
                let clusters = clusters(ui, session, args).await?;
                let (rows, failed) = nodes::read(ui, session.client(), &clusters).await;
                (Self::Nodes(rows), failed)
            }
            ResourceKind::Pools => {
                let of = (args.namespace.as_deref(), args.cluster.as_deref());
                (Self::Pools(list_pools::read(ui, session.client(), of.0, of.1).await?), None)
            }
            ResourceKind::Clusters | ResourceKind::Images => {
                (Self::Clusters(clusters(ui, session, args).await?), None)
            }
        })
    }

    /// Returns the namespace and name of each row.
    fn places(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Clusters(rows) => rows.iter().map(|it| (&*it.namespace, &*it.name)).collect(),
            Self::Machines(rows) => rows.iter().map(|it| (&*it.namespace, &*it.name)).collect(),
            Self::Nodes(rows) => rows.iter().map(|it| (&*it.namespace, &*it.node.name)).collect(),
            Self::Pools(rows) => rows.iter().map(list_pools::PoolRow::place).collect(),
        }
    }

    /// Each row as a list item.
    fn items(&self) -> Result<Vec<Value>, CommandError> {
        match self {
            Self::Clusters(rows) => rows.iter().map(|row| output::item("Cluster", row)).collect(),
            Self::Machines(rows) => rows.iter().map(|row| output::item("Machine", row)).collect(),
            Self::Nodes(rows) => rows.iter().map(|row| output::item("Node", row)).collect(),
            Self::Pools(rows) => rows.iter().map(|row| output::item("Pool", row)).collect(),
        }
    }
}

fn print(context: &Context, rows: &Rows, args: &GetArgs) -> Result<(), CommandError> {
    let ui = &context.ui;
    let table = |is_wide| shown(ui, rows, args, is_wide);
    match (args.output.format(), rows) {
        (format, Rows::Clusters(rows)) => {
            output::list(ui, format, "Cluster", rows, |row| vec![row.name.clone()], table)
        }
        (format, Rows::Machines(rows)) => {
            output::list(ui, format, "Machine", rows, |row| vec![row.name.clone()], table)
        }
        (format, Rows::Nodes(rows)) => {
            output::list(ui, format, "Node", rows, |row| vec![row.node.name.clone()], table)
        }
        (format, Rows::Pools(rows)) => {
            output::list(ui, format, "Pool", rows, |row| vec![row.place().1.to_owned()], table)
        }
    }
}

/// Prints rows for people.
fn shown(ui: &Ui, rows: &Rows, args: &GetArgs, is_wide: bool) -> Result<(), CommandError> {
    match rows {
        Rows::Clusters(rows) if rows.is_empty() => ui.say("no clusters yet; create one: `capn up`"),
        Rows::Machines(rows) if rows.is_empty() => ui.say("no machines"),
        Rows::Nodes(rows) if rows.is_empty() => ui.say("no nodes"),
        Rows::Pools(rows) if rows.is_empty() => ui.say("no pools"),
        rows => {
            let columns = Columns { is_wide, namespace: args.all_namespaces };
            ui.table(&table(rows, columns, Timestamp::now()))?;
            advise(ui, rows);
        }
    }
    Ok(())
}

/// Prints a note for each stopped cluster.
fn advise(ui: &Ui, rows: &Rows) {
    let Rows::Clusters(rows) = rows else { return };
    for (row, phase) in rows.iter().filter_map(|row| Some((row, row.stopped?))) {
        let (name, namespace) = (&row.name, &row.namespace);
        let advice = phase.advice(name);
        let advice = suggested::qualified(&advice, namespace);
        ui.note(format!("cluster `{name}` {advice}"));
    }
}

#[cfg(test)]
mod testing {
    use super::rows::Count;
    use super::*;

    /// Arguments with only a kind.
    pub(super) fn args(what: ResourceKind) -> GetArgs {
        GetArgs {
            what,
            cluster: None,
            namespace: None,
            all_namespaces: false,
            watch: false,
            server: ServerArgs { remote: None, project: None },
            output: OutputArgs::default(),
        }
    }

    /// Returns a cluster in this phase.
    pub(super) fn cluster(name: &str, phase: &str) -> ClusterRow {
        ClusterRow {
            namespace: "default".into(),
            name: name.into(),
            phase: phase.into(),
            stopped: None,
            available: false,
            control_planes: Count { ready: 0, total: 1 },
            workers: Count { ready: 0, total: 1 },
            kubernetes_version: None,
            endpoint: None,
            created_at: None,
        }
    }
}
