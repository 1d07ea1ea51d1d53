//! `capn simplestreams import`

use camino::Utf8PathBuf;
use capn_image::simplestreams::{self, Image, ImageFiles, Imported, Placement};
use clap::Args;
use serde::Serialize;

use super::rows;
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format, OutputArgs};
use crate::ui::Step;

/// Options of `simplestreams import`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn simplestreams import DIR image.tar.xz`. FILE is a unified tarball, or a metadata tarball (lxd.tar.xz, incus.tar.xz) followed by rootfs.squashfs, a root filesystem tarball or disk.qcow2. Incus and LXD can read the directory over HTTPS."
)]
pub struct ImportArgs {
    /// Directory of the image server; it is created if it does not exist
    #[arg(value_name = "DIR")]
    pub dir: Utf8PathBuf,
    /// Files of the image
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    pub files: Vec<Utf8PathBuf>,
    /// Alias and product of the image.
    #[command(flatten)]
    pub place: AliasArgs,
    /// Link the files instead of copying them, where possible
    #[arg(long, conflicts_with = "move_files")]
    pub link: bool,
    /// Move the files instead of copying them
    #[arg(long = "move")]
    pub move_files: bool,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Alias and product options of a published image.
#[derive(Clone, Debug, Default, Args)]
pub struct AliasArgs {
    /// Alias of the image; can be repeated [default: OS/RELEASE/VARIANT for a new product]
    #[arg(long = "alias", value_name = "ALIAS")]
    pub aliases: Vec<String>,
    /// Take the aliases from other products
    #[arg(long)]
    pub move_aliases: bool,
    /// Product that this image is a version of [default: OS:RELEASE:VARIANT:ARCHITECTURE]
    #[arg(long, value_name = "KEY")]
    pub product: Option<String>,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: ImportArgs,
) -> Result<(), CommandError> {
    let files = files(&args.files)?;
    let placement = match (args.link, args.move_files) {
        (true, _) => Placement::Link,
        (_, true) => Placement::Move,
        _ => Placement::Copy,
    };
    let wanted = simplestreams::Import {
        aliases: args.place.aliases,
        move_aliases: args.place.move_aliases,
        product: args.place.product,
        placement,
        ..simplestreams::Import::new(files)
    };
    let step = context.ui.step(format!("image into {}", args.dir));
    let imported = super::import(&step, &args.dir, wanted).await?;
    done(context, step, &args.dir, &imported);
    print(context, &[&imported], args.output.format())
}

/// One file or two.
pub(in crate::commands) fn files(paths: &[Utf8PathBuf]) -> Result<ImageFiles, CommandError> {
    match paths {
        [one] => Ok(ImageFiles::Unified(one.clone())),
        [metadata, root] => {
            Ok(ImageFiles::Split { metadata: metadata.clone(), root: root.clone() })
        }
        _ => Err(CommandError::usage(
            "an image consists of one file, or of two: its metadata and its root filesystem",
        )),
    }
}

/// Prints one line about an image on stderr.
pub(in crate::commands) fn done(
    context: &Context,
    step: Step,
    dir: &camino::Utf8Path,
    imported: &Imported,
) {
    let image = &imported.image;
    let name = image.aliases.first().unwrap_or(&image.product);
    let how = if imported.existed { "already in" } else { "added to" };
    step.done(format!("image {name} {how} {dir}, {}", rows::mebibytes(image.size)));
    for (alias, product) in &imported.moved_aliases {
        context.ui.note(format!("alias {alias} belonged to {product}"));
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportedRow<'a> {
    existed: bool,
    #[serde(flatten)]
    image: &'a Image,
}

/// Prints the imported image.
pub(in crate::commands) fn print(
    context: &Context,
    imported: &[&Imported],
    format: Format,
) -> Result<(), CommandError> {
    let rows: Vec<ImportedRow<'_>> = imported
        .iter()
        .map(|imported| ImportedRow { existed: imported.existed, image: &imported.image })
        .collect();
    match format {
        Format::Json => context.ui.data(&output::json(&rows)?),
        Format::Yaml => context.ui.data(&output::yaml(&rows)?),
        Format::Table | Format::Wide | Format::Name => {
            let images: Vec<&Image> = imported.iter().map(|imported| &imported.image).collect();
            rows::print(context, &images, format)
        }
    }
}
