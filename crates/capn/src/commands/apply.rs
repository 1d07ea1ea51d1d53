//! `capn apply`

use std::collections::HashSet;
use std::io::Read as _;
use std::time::Duration;

use camino::Utf8PathBuf;
use capn_provider::LocalSockets;
use clap::Args;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::manifest::{Document, from_yaml};
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;
use crate::watch::{self, Deadline, Objects};

/// Options of `apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// File with manifests, YAML or JSON; `-` reads standard input. Can be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<Utf8PathBuf>,
    /// Where objects go that do not say.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until the clusters are ready; 0 only applies
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub wait: Duration,
}

pub(super) async fn run(context: &Context, args: ApplyArgs) -> Result<(), CommandError> {
    let mut documents = Vec::new();
    for file in &args.files {
        documents
            .extend(from_yaml(&read(file)?).map_err(|error| {
                error.while_doing(format!("cannot read manifests from {file}"))
            })?);
    }
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let namespaces = documents.iter().filter_map(|document| document.namespace());
    let sockets = namespaces
        .chain([args.namespace.namespace.as_str()])
        .fold(LocalSockets::default(), |sockets, namespace| sockets.and(namespace));
    let need = if args.wait.is_zero() { Need::Objects } else { Need::Controllers(&sockets) };
    let mut session = Session::open_or_make(&state, need).await?;
    let client = session.client().clone();
    let namespace = args.namespace.namespace.as_str();
    let work = async {
        for document in ordered(&documents) {
            let applied = cluster::apply(&client, document, namespace).await?;
            context.ui.data(&format!("{} {}\n", document.shown(), applied.as_str()))?;
        }
        if args.wait.is_zero() {
            return Ok(());
        }
        for document in documents.iter().filter(|d| d.kind() == "Cluster") {
            let namespace = document.namespace().unwrap_or(namespace);
            let mut objects = Objects::of(&client, namespace, document.name());
            let deadline = Deadline::after(args.wait);
            watch::follow_wanted(&context.ui, &mut objects, deadline, HashSet::new())
                .await
                .map_err(|error| {
                    error.while_doing(format!("cluster `{}` is not ready", document.name()))
                })?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = session.while_running(work) => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("what was applied is kept: the same command continues")),
    };
    let closed = session.close().await;
    result.and(closed)
}

fn read(file: &Utf8PathBuf) -> Result<String, CommandError> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).doing("cannot read manifests from stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).doing(format!("cannot read {file}"))
}

/// Namespaces and definitions first, so that the rest has a place and a kind.
fn ordered(documents: &[Document]) -> Vec<&Document> {
    let mut sorted: Vec<&Document> = documents.iter().collect();
    sorted.sort_by_key(|document| match document.kind() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        _ => 2,
    });
    sorted
}
