//! `capn generate cluster`

pub mod config;
mod from_template;
pub mod man;
pub mod provider;

use clap::Args;

use super::cluster_args::ClusterArgs;
use crate::Context;
use crate::cluster;
use crate::error::CommandError;
use crate::manifest::{Document, to_yaml};
use crate::output::{self, Format};
use from_template::TemplateArgs;

/// Options of `generate cluster`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// Name of the cluster
    pub name: String,
    /// Template to use instead of the manifests that `create` applies.
    #[command(flatten)]
    pub template: TemplateArgs,
    /// Options of the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Output format of the manifests [default: yaml]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

pub(super) async fn run(context: &Context, mut args: GenerateArgs) -> Result<(), CommandError> {
    from_template::settle_flavor(&mut args.template, &mut args.cluster)?;
    match args.template.is_given() {
        true => from_template::run(context, args).await,
        false => print_manifests(context, &args.name, &args.cluster, args.output).await,
    }
}

/// Runs `capn generate config`.
pub(super) fn configure(context: &Context, args: config::ConfigArgs) -> Result<(), CommandError> {
    config::run(context, args)
}

/// Runs `capn generate provider`.
pub(super) fn provide(
    context: &Context,
    args: &provider::ProviderArgs,
) -> Result<(), CommandError> {
    provider::run(context, args)
}

/// Prints the manifests of a cluster. Changes nothing, and works without the server.
pub(super) async fn print_manifests(
    context: &Context,
    name: &str,
    args: &ClusterArgs,
    output: Option<Format>,
) -> Result<(), CommandError> {
    print(context, &cluster::manifests(context, name, args).await?, output)
}

fn print(
    context: &Context,
    documents: &[Document],
    output: Option<Format>,
) -> Result<(), CommandError> {
    let text = match output {
        None | Some(Format::Yaml | Format::Table | Format::Wide) => to_yaml(documents)?,
        Some(Format::Json) => {
            let items: Vec<_> = documents.iter().map(Document::value).collect();
            output::json(
                &serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items }),
            )?
        }
        Some(Format::Name) => {
            documents.iter().map(|document| format!("{}\n", document.shown())).collect()
        }
    };
    context.ui.data(&text)
}
