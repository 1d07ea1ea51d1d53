//! Prints images of an image server.

use capn_image::catalog::PROPERTY_KUBERNETES_VERSION;
use capn_image::simplestreams::Image;
use serde::Serialize;

use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::ui::Table;

/// An image on an image server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    servers: Vec<&'static str>,
    #[serde(flatten)]
    image: &'a Image,
}

impl<'a> ImageRow<'a> {
    fn of(image: &'a Image) -> Self {
        let servers = [("incus", image.for_incus), ("lxd", image.for_lxd)];
        Self {
            kubernetes_version: kubernetes_version(image),
            servers: servers
                .into_iter()
                .filter(|(_, reads)| *reads)
                .map(|(name, _)| name)
                .collect(),
            image,
        }
    }
}

/// Returns the version from the image's properties, or from its name.
fn kubernetes_version(image: &Image) -> Option<String> {
    let said = image.properties.get(PROPERTY_KUBERNETES_VERSION).cloned();
    said.or_else(|| {
        let version =
            |alias: &String| alias.strip_prefix("kubeadm/")?.split('/').next().map(str::to_owned);
        image.aliases.iter().find_map(version)
    })
}

/// Prints images in the requested format.
pub(in crate::commands) fn print(
    context: &Context,
    images: &[&Image],
    format: Format,
) -> Result<(), CommandError> {
    let rows: Vec<ImageRow<'_>> = images.iter().map(|image| ImageRow::of(image)).collect();
    let ui = &context.ui;
    if format == Format::Name {
        let mut names: Vec<&str> =
            images.iter().flat_map(|image| &image.aliases).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        return ui.data(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
    }
    let aliases = |row: &ImageRow<'_>| row.image.aliases.clone();
    output::list(ui, format, "PublishedImage", &rows, aliases, |is_wide| {
        ui.table(&table(&rows, is_wide))
    })
}

fn table(rows: &[ImageRow<'_>], is_wide: bool) -> Table {
    let mut head = vec!["ALIAS", "KUBERNETES", "ARCH", "TYPE", "SIZE", "DATE"];
    if is_wide {
        head.extend(["VERSION", "READ BY", "FINGERPRINT", "PRODUCT"]);
    }
    let mut table = Table::new(head);
    for row in rows {
        let image = row.image;
        let mut cells = vec![
            image.aliases.join(","),
            row.kubernetes_version.clone().unwrap_or_default(),
            image.architecture.clone(),
            image.image_type.as_str().to_owned(),
            mebibytes(image.size),
            image.date.to_string(),
        ];
        if is_wide {
            cells.extend([
                image.version.clone(),
                row.servers.join(","),
                image.fingerprint.chars().take(12).collect(),
                image.product.clone(),
            ]);
        }
        table.row(cells);
    }
    table
}

/// Returns a human-readable size; non-zero sizes are never shown as 0.
pub(in crate::commands) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}
