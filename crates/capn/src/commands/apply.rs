//! `capn apply`

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use capn_provider::LocalSockets;
use clap::Args;
use kube::Client;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::manifest::{Document, from_yaml};
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;
use crate::text_file;
use crate::watch::{self, Deadline, Objects};

/// Options of `apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// File with manifests (YAML or JSON); `-` reads standard input. Can be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<Utf8PathBuf>,
    /// Namespace for objects that do not set one.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until the clusters are ready; 0 applies without waiting
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
    if documents.is_empty() {
        let files: Vec<&str> = args.files.iter().map(|file| file.as_str()).collect();
        return Err(CommandError::usage(format!("no manifests in {}", files.join(", ")))
            .hint("to generate manifests: `capn generate cluster NAME`"));
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
        let documents = ordered(&documents);
        check(&client, &documents, namespace).await?;
        for document in &documents {
            if is_of(document, NOT_RUN) {
                let shown = document.shown();
                context.ui.note(format!(
                    "{shown} is stored only: capn has no controller for kind {NOT_RUN}"
                ));
            }
            let applied = cluster::apply(&client, document, namespace).await?;
            context.ui.data(&format!("{} {}\n", document.shown(), applied.as_str()))?;
        }
        if args.wait.is_zero() {
            return Ok(());
        }
        for (namespace, cluster) in clusters(&documents, namespace) {
            let mut objects = Objects::of(&client, namespace, cluster);
            let deadline = Deadline::after(args.wait);
            let known = std::collections::HashSet::new();
            let view = watch::follow_applied(&context.ui, &mut objects, deadline, known)
                .await
                .map_err(|error| error.while_doing(format!("cluster `{cluster}` is not ready")))?;
            watch::settle(&context.ui, &mut objects, view, deadline).await;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = session.while_running(work) => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("applied objects are kept; run the same command again to continue")),
    };
    let closed = session.close().await;
    result.and(closed)
}

/// Namespaces and names of the clusters that the manifests belong to: Clusters, and the clusters of
/// MachinePools, which may be in separate files.
fn clusters<'a>(documents: &[&'a Document], namespace: &'a str) -> BTreeSet<(&'a str, &'a str)> {
    documents
        .iter()
        .filter_map(|document| {
            let name = match is_of(document, "Cluster") {
                true => document.name(),
                false if is_of(document, "MachinePool") => document.text("/spec/clusterName"),
                false => return None,
            };
            Some((document.namespace().unwrap_or(namespace), name))
        })
        .collect()
}

/// Cluster API kind that the plane stores for `clusterctl move` but that capn has no controller
/// for.
const NOT_RUN: &str = "ClusterClass";

fn is_of(document: &Document, kind: &str) -> bool {
    (document.group(), document.kind()) == ("cluster.x-k8s.io", kind)
}

/// Dry run of all manifests before the first one is written. Skips manifests whose kind or
/// namespace is defined by another of the manifests.
async fn check(
    client: &Client,
    documents: &[&Document],
    namespace: &str,
) -> Result<(), CommandError> {
    let named = |kind: &str| -> HashSet<&str> {
        documents.iter().filter(|one| one.kind() == kind).map(|one| one.name()).collect()
    };
    let namespaces = named("Namespace");
    let kinds: HashSet<(&str, &str)> = documents
        .iter()
        .filter(|one| one.kind() == "CustomResourceDefinition")
        .map(|one| (one.text("/spec/group"), one.text("/spec/names/kind")))
        .collect();
    let mut refused = Vec::new();
    for document in documents {
        let is_early = kinds.contains(&(document.group(), document.kind()))
            || namespaces.contains(document.namespace().unwrap_or(namespace));
        if !is_early && let Err(error) = cluster::check(client, document, namespace).await {
            refused.push(error);
        }
    }
    let count = refused.len();
    let Some(first) = refused.into_iter().next() else { return Ok(()) };
    Err(first.while_doing(format!(
        "nothing was applied: {count} of {} manifests {}",
        documents.len(),
        if count == 1 { "was refused" } else { "were refused; the first error" }
    )))
}

fn read(file: &Utf8Path) -> Result<String, CommandError> {
    let shown = if file == "-" { "manifests from stdin" } else { file.as_str() };
    text_file::read(file, text_file::MANIFESTS).doing(format!("cannot read {shown}"))
}

/// Sorts namespaces and CRDs first, so that the other objects have a namespace and a kind.
fn ordered(documents: &[Document]) -> Vec<&Document> {
    let mut sorted: Vec<&Document> = documents.iter().collect();
    sorted.sort_by_key(|document| match document.kind() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        _ => 2,
    });
    sorted
}
