//! `capn image publish`: publishes images from the server or from files to a simplestreams
//! directory.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use capn_image::simplestreams::{self, ImageFiles, Imported, Placement, image_files_in};
use clap::Args;
use incus_client::Client;

use super::ServerArgs;
use crate::Context;
use crate::commands::simplestreams as streams;
use crate::commands::simplestreams::import::AliasArgs;
use crate::error::{CommandError, Doing as _};
use crate::output::OutputArgs;
use crate::signal::Interrupt;
use crate::ui::Ui;
use crate::{identity, preflight};

/// Time limit for downloading a disk of some gigabytes over a slow connection.
const EXPORT: Duration = Duration::from_secs(60 * 60);

/// Options of `image publish`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn image publish capn/haproxy --to DIR`. Serve the directory over HTTPS to use it as a simplestreams image server. Image capn/haproxy is published as haproxy, and capn/kubeadm/VERSION as kubeadm/VERSION, as `--image-server` expects."
)]
pub struct PublishArgs {
    /// Image on the server, or a directory with the files of one image
    #[arg(value_name = "ALIAS|DIR", required = true)]
    pub what: Vec<String>,
    /// Directory of the image server; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub to: Utf8PathBuf,
    /// Alias and product of the image.
    #[command(flatten)]
    pub place: AliasArgs,
    /// Server that has the image.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: PublishArgs,
) -> Result<(), CommandError> {
    if args.what.len() > 1 && !(args.place.aliases.is_empty() && args.place.product.is_none()) {
        return Err(CommandError::usage("`--alias` and `--product` only apply to a single image"));
    }
    let mut interrupt = Interrupt::listen()?;
    let work = async {
        let mut published = Vec::new();
        for what in &args.what {
            let dir = Utf8Path::new(what);
            let imported = match dir.is_dir() {
                true => from_dir(context, &args, dir).await?,
                false => from_server(context, &args, what).await?,
            };
            published.push(imported);
        }
        Ok::<_, CommandError>(published)
    };
    let published = tokio::select! {
        published = work => published?,
        () = interrupt.wait() => {
            return Err(CommandError::interrupted("publishing was interrupted")
                .hint("the directory is unchanged; run the same command again to start over"));
        }
    };
    let published: Vec<&Imported> = published.iter().collect();
    streams::import::print(context, &published, args.output.format())
}

async fn from_dir(
    context: &Context,
    args: &PublishArgs,
    dir: &Utf8Path,
) -> Result<Imported, CommandError> {
    let act = format!("cannot publish the image in {dir}");
    let files = image_files_in(dir).map_err(|error| streams::failed(act, error))?;
    let wanted = import(args, files, args.place.aliases.clone(), BTreeMap::new(), Placement::Copy);
    let step = context.ui.step(format!("image in {dir}"));
    let imported = streams::import(&step, &args.to, wanted).await?;
    streams::import::done(context, step, &args.to, &imported);
    Ok(imported)
}

fn import(
    args: &PublishArgs,
    files: ImageFiles,
    aliases: Vec<String>,
    properties: BTreeMap<String, String>,
    placement: Placement,
) -> simplestreams::Import {
    simplestreams::Import {
        aliases,
        move_aliases: args.place.move_aliases,
        product: args.place.product.clone(),
        properties,
        placement,
        ..simplestreams::Import::new(files)
    }
}

async fn from_server(
    context: &Context,
    args: &PublishArgs,
    alias: &str,
) -> Result<Imported, CommandError> {
    let identity = identity::resolve(
        &context.environment,
        args.server.remote.as_deref(),
        args.server.project.as_deref(),
    )?;
    let client = identity.client()?;
    preflight::contact(&identity, &client).await?;
    let image = client
        .image_by_alias(alias)
        .await
        .doing(format!("cannot look up image `{alias}`"))?
        .ok_or_else(|| {
            CommandError::new(format!(
                "`{alias}` is neither an image on the server nor a directory"
            ))
            .hint("list images: `capn image list`")
        })?;
    let step = context.ui.step(format!("image {alias}"));
    // In the same filesystem as the tree, so that files can be moved instead of copied.
    let short: String = image.fingerprint.chars().take(12).collect();
    let export = Export::make(args.to.join(format!(".export-{short}")))?;
    let files = export_image(&context.ui, &client, alias, &image.fingerprint, &export.0).await?;
    let aliases = match args.place.aliases.as_slice() {
        [] => vec![alias.strip_prefix("capn/").unwrap_or(alias).to_owned()],
        given => given.to_vec(),
    };
    let wanted = import(args, files, aliases, image.properties.clone(), Placement::Move);
    let imported = streams::import(&step, &args.to, wanted).await?;
    if imported.image.fingerprint != image.fingerprint {
        return Err(CommandError::new(format!(
            "the files of {alias} from the server have fingerprint {}, not {}",
            imported.image.fingerprint, image.fingerprint
        )));
    }
    streams::import::done(context, step, &args.to, &imported);
    Ok(imported)
}

/// A temporary directory that is removed on drop.
struct Export(Utf8PathBuf);

impl Export {
    fn make(path: Utf8PathBuf) -> Result<Self, CommandError> {
        remove(&path)?;
        std::fs::create_dir_all(&path).doing(format!("cannot create {path}"))?;
        Ok(Self(path))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, "a temporary directory could not be removed");
        }
    }
}

fn remove(path: &Utf8Path) -> Result<(), CommandError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}

async fn export_image(
    ui: &Ui,
    client: &Client,
    alias: &str,
    fingerprint: &str,
    dir: &Utf8Path,
) -> Result<ImageFiles, CommandError> {
    let step = ui.step(format!("image {alias} from the server"));
    let (sender, mut receiver) = tokio::sync::watch::channel(0);
    let work = client.export_image(fingerprint, dir.as_std_path(), EXPORT, move |bytes| {
        let mebibytes = bytes >> 20;
        sender.send_if_modified(|shown| std::mem::replace(shown, mebibytes) != mebibytes);
    });
    tokio::pin!(work);
    let files = loop {
        tokio::select! {
            Ok(()) = receiver.changed() => {
                step.detail(&format!("{} MiB", *receiver.borrow_and_update()));
            }
            done = &mut work => break done.doing(format!("cannot export image `{alias}`"))?,
        }
    };
    let path = |path: std::path::PathBuf| {
        Utf8PathBuf::from_path_buf(path)
            .map_err(|path| CommandError::new(format!("the path {} is not UTF-8", path.display())))
    };
    Ok(match files {
        incus_client::ImageFiles::Unified(file) => ImageFiles::Unified(path(file)?),
        incus_client::ImageFiles::Split { metadata, rootfs: root }
        | incus_client::ImageFiles::SplitVm { metadata, disk: root } => {
            ImageFiles::Split { metadata: path(metadata)?, root: path(root)? }
        }
    })
}
