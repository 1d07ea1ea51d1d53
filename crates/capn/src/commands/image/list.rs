//! `capn image list` and `capn get images`: images on a server or on an image server.

use std::collections::BTreeMap;

use capn_image::catalog::{
    PROPERTY_ETCD_VERSION, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION, PROPERTY_RECIPE,
};
use capn_image::simplestreams::Source;
use clap::Args;
use serde::Serialize;

use super::ServerArgs;
use crate::Context;
use crate::commands::simplestreams::{self, show, show::FilterArgs};
use crate::error::{CommandError, Doing as _};
use crate::images::ImageServerArgs;
use crate::output::{self, Format, OutputArgs};
use crate::ui::Table;
use crate::{identity, preflight};

/// Options of `image list`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn image list --remote --filter kubeadm`. `--remote` without a value lists the default image server. NAME is the prefix of an image server, a simplestreams remote of the `incus` or `lxc` command, or the remote of a server."
)]
pub struct ListArgs {
    /// Image server, remote of the `incus` or `lxc` command, or unix:///PATH [default: the images
    /// on the local server]
    #[arg(long, value_name = "URL|NAME", num_args = 0..=1, default_missing_value = "")]
    pub remote: Option<String>,
    /// Project on the server [default: the remote's]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Filter for an image server.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Image servers and their prefixes.
    #[command(flatten)]
    pub image_server: ImageServerArgs,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An image built by capn.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageRow {
    aliases: Vec<String>,
    /// Kind of the image.
    image_kind: String,
    fingerprint: String,
    size_bytes: u64,
    uploaded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: ListArgs,
) -> Result<(), CommandError> {
    if let Some(source) = image_server(context, &args)? {
        return show::show(context, &source, &args.filter, args.output).await;
    }
    if !args.filter.is_empty() {
        return Err(CommandError::usage(
            "--filter, --architecture, --type and --all-versions only apply to image servers",
        )
        .hint("list an image server: `capn image list --remote`"));
    }
    let server = ServerArgs { remote: args.remote, project: args.project };
    of_server(context, server, args.output).await
}

/// Returns the selected image server, if any.
fn image_server(context: &Context, args: &ListArgs) -> Result<Option<Source>, CommandError> {
    let Some(remote) = &args.remote else { return Ok(None) };
    let servers = args.image_server.servers(&context.environment)?;
    let url = match remote.as_str() {
        "" => Some(servers.default_url().to_owned()),
        url if url.starts_with("unix://") => None,
        url if url.contains("://") || url.contains('/') => Some(url.to_owned()),
        name => match servers.url(name) {
            Some(url) => Some(url.to_owned()),
            None => identity::image_server(&context.environment, name)?,
        },
    };
    url.map(|url| simplestreams::source(&url)).transpose()
}

/// Lists capn's images on a server.
pub(in crate::commands) async fn of_server(
    context: &Context,
    server: ServerArgs,
    output: OutputArgs,
) -> Result<(), CommandError> {
    let identity = identity::resolve(
        &context.environment,
        server.remote.as_deref(),
        server.project.as_deref(),
    )?;
    let client = identity.client()?;
    preflight::contact(&identity, &client).await?;
    let mut rows: Vec<ImageRow> = client
        .images()
        .await
        .doing("cannot list the images on the server")?
        .into_iter()
        .filter(|image| image.properties.contains_key(PROPERTY_KIND))
        .map(row)
        .collect();
    rows.sort_by(|a, b| a.aliases.cmp(&b.aliases));
    print(context, &rows, output.format())
}

fn row(image: incus_client::api::Image) -> ImageRow {
    let of = |properties: &BTreeMap<String, String>, key: &str| properties.get(key).cloned();
    let base = match (of(&image.properties, "os"), of(&image.properties, "release")) {
        (Some(os), Some(release)) => Some(format!("{os} {release}")),
        (os, _) => os,
    };
    ImageRow {
        aliases: image.aliases.into_iter().map(|alias| alias.name).collect(),
        image_kind: of(&image.properties, PROPERTY_KIND).unwrap_or_default(),
        kubernetes_version: of(&image.properties, PROPERTY_KUBERNETES_VERSION),
        etcd_version: of(&image.properties, PROPERTY_ETCD_VERSION),
        recipe: of(&image.properties, PROPERTY_RECIPE),
        base,
        fingerprint: image.fingerprint,
        size_bytes: image.size,
        uploaded_at: image.uploaded_at,
    }
}

fn print(context: &Context, rows: &[ImageRow], format: Format) -> Result<(), CommandError> {
    let ui = &context.ui;
    let aliases = |row: &ImageRow| row.aliases.clone();
    output::list(ui, format, "Image", rows, aliases, |is_wide| {
        if rows.is_empty() {
            ui.say("no images yet; build them: `capn image build`, or let `capn up` do it");
            return Ok(());
        }
        ui.table(&table(rows, is_wide))
    })
}

fn table(rows: &[ImageRow], is_wide: bool) -> Table {
    let mut head = vec!["ALIAS", "KIND", "KUBERNETES", "SIZE", "FINGERPRINT"];
    if is_wide {
        head.extend(["ETCD", "BASE", "RECIPE", "UPLOADED"]);
    }
    let mut table = Table::new(head);
    for row in rows {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let short = |value: &str| value.chars().take(12).collect::<String>();
        let mut cells = vec![
            row.aliases.join(","),
            row.image_kind.clone(),
            text(&row.kubernetes_version),
            format!("{} MiB", row.size_bytes / (1024 * 1024)),
            short(&row.fingerprint),
        ];
        if is_wide {
            cells.extend([
                text(&row.etcd_version),
                text(&row.base),
                short(row.recipe.as_deref().unwrap_or_default()),
                row.uploaded_at.clone(),
            ]);
        }
        table.row(cells);
    }
    table
}
