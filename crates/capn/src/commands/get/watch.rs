//! `capn get -w`: prints rows, then changed rows.
//!
//! Objects change while a process runs the controllers, and that process lets others watch. While
//! none runs, this command does not keep the plane open, since that would block other commands. It
//! polls the plane's files instead.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use capi_api::{Cluster, Machine};
use capn_api::LXCMachine;
use capn_controller::watch::{self, Kind};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::runtime::watcher;
use serde_json::Value;

use super::rows::api;
use super::{Columns, GetArgs, ResourceKind, Rows, advise, table};
use crate::Context;
use crate::error::CommandError;
use crate::output::Format;
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Changes within this time are printed together.
const SETTLE: Duration = Duration::from_millis(200);
/// Polling interval for the files of a plane that no process has open.
const LOOK: Duration = Duration::from_secs(1);

/// Prints rows until Ctrl-C.
pub(super) async fn run(
    context: &Context,
    state: &StateDir,
    args: &GetArgs,
) -> Result<(), CommandError> {
    if !matches!(args.what, ResourceKind::Clusters | ResourceKind::Machines) {
        return Err(CommandError::usage("`--watch` only supports clusters and machines").hint(
            "to watch nodes: `capn kubeconfig NAME --merge`, then `kubectl get nodes \
                   --watch`",
        ));
    }
    let mut interrupt = Interrupt::listen()?;
    let mut shown = PrintedRows::default();
    let following = async {
        loop {
            let before = written(state);
            let session = Session::open(state, Need::Objects).await?;
            if session.is_served() {
                let followed = follow(context, &session, args, &mut shown).await;
                session.close().await?;
                followed?;
            } else {
                let rows = Rows::read(&context.ui, &session, args).await;
                session.close().await?;
                shown.print(context, &rows?.0, args)?;
                // Opening and closing the plane writes to its files too.
                let now = written(state).max(before);
                changed(state, now).await;
            }
        }
    };
    tokio::select! {
        ended = following => ended,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    }
}

/// Prints changes while the plane is served.
async fn follow(
    context: &Context,
    session: &Session,
    args: &GetArgs,
    shown: &mut PrintedRows,
) -> Result<(), CommandError> {
    let mut changes: SelectAll<BoxStream<'static, bool>> = SelectAll::new();
    changes.push(events::<Cluster>(session, args));
    changes.push(events::<Machine>(session, args));
    changes.push(events::<LXCMachine>(session, args));
    while changes.next().await == Some(true) {
        let settled = tokio::time::sleep(SETTLE);
        tokio::pin!(settled);
        loop {
            tokio::select! {
                () = &mut settled => break,
                change = changes.next() => if change != Some(true) { return Ok(()) },
            }
        }
        match Rows::read(&context.ui, session, args).await {
            Ok((rows, _)) => shown.print(context, &rows, args)?,
            // The serving process has ended or is ending; read the current state again.
            Err(error) => {
                tracing::debug!(%error, "reading the plane again");
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns whether something changed (true) or the watch failed (false).
fn events<K: Kind>(session: &Session, args: &GetArgs) -> BoxStream<'static, bool> {
    let api = api::<K>(session, args.namespace.as_deref());
    let events = watch::watcher(api, watcher::Config::default());
    events.map_ok(|_| true).map(|event| event.unwrap_or(false)).boxed()
}

/// When the plane was last written or started to be served.
fn written(state: &StateDir) -> Option<SystemTime> {
    let database = state.database();
    let files =
        [format!("{database}-wal"), database.into_string(), state.plane_kubeconfig().into_string()];
    files.iter().filter_map(|path| std::fs::metadata(path).ok()?.modified().ok()).max()
}

/// Waits until another process changes the plane.
async fn changed(state: &StateDir, before: Option<SystemTime>) {
    while written(state) <= before {
        tokio::time::sleep(LOOK).await;
    }
}

/// The rows printed last.
#[derive(Debug, Default)]
struct PrintedRows {
    rows: BTreeMap<(String, String), Value>,
    has_head: bool,
}

impl PrintedRows {
    /// Prints the rows that changed since they were printed last.
    fn print(
        &mut self,
        context: &Context,
        rows: &Rows,
        args: &GetArgs,
    ) -> Result<(), CommandError> {
        let ui = &context.ui;
        let items = rows.items()?;
        let places: Vec<(String, String)> =
            rows.places().into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        let is_new: Vec<bool> =
            places.iter().zip(&items).map(|(at, item)| self.rows.get(at) != Some(item)).collect();
        let news = || is_new.iter().enumerate().filter(|(_, is_new)| **is_new).map(|(at, _)| at);
        match args.output.format() {
            Format::Json => {
                for item in news().filter_map(|at| items.get(at)) {
                    ui.data(&crate::output::json_line(item)?)?;
                }
            }
            Format::Yaml => {
                for item in news().filter_map(|at| items.get(at)) {
                    ui.data(&format!("---\n{}", crate::output::yaml(item)?))?;
                }
            }
            Format::Name => {
                for (_, name) in news().filter_map(|at| places.get(at)) {
                    ui.data(&format!("{name}\n"))?;
                }
            }
            format @ (Format::Table | Format::Wide) => {
                let columns =
                    Columns { is_wide: format == Format::Wide, namespace: args.all_namespaces };
                let lines = ui.table_lines(&table(rows, columns, Timestamp::now()));
                if !self.has_head && !items.is_empty() {
                    ui.data(&format!("{}\n", lines.first().map_or("", String::as_str)))?;
                    self.has_head = true;
                    advise(ui, rows);
                }
                for line in news().filter_map(|at| lines.get(at + 1)) {
                    ui.data(&format!("{line}\n"))?;
                }
            }
        }
        for (_, name) in self.rows.keys().filter(|at| !places.contains(at)) {
            ui.note(format!("`{name}` is deleted"));
        }
        self.rows = places.into_iter().zip(items).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::get::testing::{args, cluster};
    use crate::ui::testing::captured;

    #[test]
    fn a_row_is_printed_again_when_it_changes() {
        let (out, err, ui) = captured();
        let context = Context::testing(ui);
        let mut shown = PrintedRows::default();
        let print = |shown: &mut PrintedRows, rows| {
            shown.print(&context, &Rows::Clusters(rows), &args(ResourceKind::Clusters)).unwrap();
        };
        print(&mut shown, Vec::new());
        print(&mut shown, vec![cluster("a", "Pending"), cluster("b", "Pending")]);
        print(&mut shown, vec![cluster("a", "Pending"), cluster("b", "Pending")]);
        print(&mut shown, vec![cluster("a", "Pending"), cluster("b", "Provisioned")]);
        print(&mut shown, vec![cluster("b", "Provisioned")]);
        let printed: Vec<Vec<String>> = out
            .text()
            .lines()
            .map(|line| line.split_whitespace().take(2).map(str::to_owned).collect())
            .collect();
        assert_eq!(
            printed,
            [["NAME", "PHASE"], ["a", "Pending"], ["b", "Pending"], ["b", "Provisioned"]]
        );
        assert_eq!(err.text(), "· `a` is deleted\n");
    }
}
