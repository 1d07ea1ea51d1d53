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
    after_help = "FILE is one tarball with everything, or the metadata tarball (lxd.tar.xz, incus.tar.xz) followed by rootfs.squashfs, a tarball of the root filesystem or disk.qcow2. The folder is readable by Incus and LXD; both want it over HTTPS."
)]
pub struct ImportArgs {
    /// Folder of the image server; made if it is not there
    #[arg(value_name = "FOLDER")]
    pub folder: Utf8PathBuf,
    /// Files of the image
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    pub files: Vec<Utf8PathBuf>,
    /// How the image gets its place.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Link the files instead of copying them, where that can be done
    #[arg(long, conflicts_with = "move_files")]
    pub link: bool,
    /// Move the files instead of copying them
    #[arg(long = "move")]
    pub move_files: bool,
    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What an image is called in a folder.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// Name of the image; can be repeated [default: OS/RELEASE/VARIANT for a new product]
    #[arg(long = "alias", value_name = "ALIAS")]
    pub aliases: Vec<String>,
    /// Take the aliases away from other products
    #[arg(long)]
    pub move_aliases: bool,
    /// Product that the image is a version of [default: OS:RELEASE:VARIANT:ARCHITECTURE]
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
    let step = context.ui.step(format!("image into {}", args.folder));
    let imported = super::import(&step, &args.folder, wanted).await?;
    done(context, step, &args.folder, &imported);
    print(context, &[&imported], args.output.format())
}

/// One file or two.
pub(in crate::commands) fn files(paths: &[Utf8PathBuf]) -> Result<ImageFiles, CommandError> {
    match paths {
        [one] => Ok(ImageFiles::Unified(one.clone())),
        [metadata, root] => {
            Ok(ImageFiles::Split { metadata: metadata.clone(), root: root.clone() })
        }
        _ => Err(CommandError::usage("an image is one file, or two: its metadata and its root")),
    }
}

/// The line on stderr about one image.
pub(in crate::commands) fn done(
    context: &Context,
    step: Step,
    folder: &camino::Utf8Path,
    imported: &Imported,
) {
    let image = &imported.image;
    let name = image.aliases.first().unwrap_or(&image.product);
    let how = if imported.existed { "is in" } else { "added to" };
    step.done(format!("image {name} {how} {folder}, {}", rows::mebibytes(image.size)));
    for (alias, product) in &imported.moved_aliases {
        context.ui.note(format!("alias {alias} was that of {product}"));
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    existed: bool,
    #[serde(flatten)]
    image: &'a Image,
}

/// Prints what is in the folder now.
pub(in crate::commands) fn print(
    context: &Context,
    imported: &[&Imported],
    format: Format,
) -> Result<(), CommandError> {
    let rows: Vec<Row<'_>> = imported
        .iter()
        .map(|imported| Row { existed: imported.existed, image: &imported.image })
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
