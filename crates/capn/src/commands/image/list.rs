//! `capn image list`, and `capn get images`.

use std::collections::BTreeMap;

use capn_image::catalog::{
    PROPERTY_ETCD_VERSION, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION, PROPERTY_RECIPE,
};
use clap::Args;
use serde::Serialize;

use super::ServerArgs;
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::output::{self, Format, OutputArgs};
use crate::ui::Table;
use crate::{identity, preflight};

/// Options of `image list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// One image of ours.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    aliases: Vec<String>,
    kind: String,
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
    let identity = identity::resolve(
        &context.environment,
        args.server.remote.as_deref(),
        args.server.project.as_deref(),
    )?;
    let client = identity.client()?;
    preflight::contact(&identity, &client).await?;
    let mut rows: Vec<Row> = client
        .images()
        .await
        .doing("cannot list the images of the server")?
        .into_iter()
        .filter(|image| image.properties.contains_key(PROPERTY_KIND))
        .map(row)
        .collect();
    rows.sort_by(|a, b| a.aliases.cmp(&b.aliases));
    print(context, &rows, args.output.format())
}

fn row(image: incus_client::api::Image) -> Row {
    let of = |properties: &BTreeMap<String, String>, key: &str| properties.get(key).cloned();
    let base = match (of(&image.properties, "os"), of(&image.properties, "release")) {
        (Some(os), Some(release)) => Some(format!("{os} {release}")),
        (os, _) => os,
    };
    Row {
        aliases: image.aliases.into_iter().map(|alias| alias.name).collect(),
        kind: of(&image.properties, PROPERTY_KIND).unwrap_or_default(),
        kubernetes_version: of(&image.properties, PROPERTY_KUBERNETES_VERSION),
        etcd_version: of(&image.properties, PROPERTY_ETCD_VERSION),
        recipe: of(&image.properties, PROPERTY_RECIPE),
        base,
        fingerprint: image.fingerprint,
        size_bytes: image.size,
        uploaded_at: image.uploaded_at,
    }
}

fn print(context: &Context, rows: &[Row], format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => context.ui.data(&output::json(&rows)?),
        Format::Yaml => context.ui.data(&output::yaml(&rows)?),
        Format::Name => {
            let names: String =
                rows.iter().flat_map(|row| &row.aliases).map(|name| format!("{name}\n")).collect();
            context.ui.data(&names)
        }
        Format::Table | Format::Wide => {
            if rows.is_empty() {
                context
                    .ui
                    .say("no images yet; build them: `capn image build`, or let `capn up` do it");
                return Ok(());
            }
            let is_wide = format == Format::Wide;
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
                    row.kind.clone(),
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
            context.ui.table(&table)
        }
    }
}
