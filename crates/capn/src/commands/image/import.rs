//! `capn image import`: from files, or from an image server.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use capn_image::catalog::PROPERTY_KIND;
use capn_image::simplestreams::{FileKind, file_kind, read_properties};
use clap::Args;
use incus_client::{Client, ImageFiles, ImageUpload, UploadProgress};
use serde::Serialize;

use super::ServerArgs;
use crate::Context;
use crate::commands::simplestreams::failed;
use crate::error::{CommandError, Doing as _};
use crate::images::{self, ImageServerArgs, Pull};
use crate::output::{self, Format, OutputArgs};
use crate::signal::Interrupt;
use crate::ui::Ui;
use crate::{identity, preflight};

/// Time limit for uploading a disk of some gigabytes over a slow connection.
const UPLOAD: Duration = Duration::from_secs(60 * 60);

/// Options of `image import`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn image import kubeadm/v1.37.2`. FILE is a unified tarball, or a metadata tarball followed by rootfs.squashfs, a root filesystem tarball or disk.qcow2. ALIAS is an image name from `capn image list --remote`; the server downloads that image itself."
)]
pub struct ImportArgs {
    /// Alias on the image server, or files of an image
    #[arg(value_name = "ALIAS|FILE", required = true, num_args = 1..=2)]
    pub what: Vec<String>,
    /// Alias of the image [default: the alias `capn up` uses, for images of this project]
    #[arg(long, value_name = "ALIAS")]
    pub alias: Option<String>,
    /// Image server for an ALIAS.
    #[command(flatten)]
    pub image_server: ImageServerArgs,
    /// Server that gets the image.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: ImportArgs,
) -> Result<(), CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let source = source(context, &args)?;
    let identity = identity::resolve(
        &context.environment,
        args.server.remote.as_deref(),
        args.server.project.as_deref(),
    )?;
    let client = identity.client()?;
    preflight::contact(&identity, &client).await?;
    let work = async {
        match source {
            ImportSource::Named { server, name } => {
                let alias = args.alias.as_deref();
                let pull = Pull { server: &server, name: &name, alias };
                let pulled = images::pull(&context.ui, &client, &pull).await?;
                Ok(Imported {
                    kind: pulled.properties.get(PROPERTY_KIND).cloned(),
                    alias: pulled.alias,
                    fingerprint: pulled.fingerprint,
                })
            }
            ImportSource::Files { files, properties } => {
                let alias = args.alias.clone().or_else(|| images::alias_of(&properties));
                upload(&context.ui, &client, files, alias, &properties).await
            }
        }
    };
    let imported: Imported = tokio::select! {
        imported = work => imported?,
        () = interrupt.wait() => {
            return Err(CommandError::interrupted("the import was interrupted")
                .hint("run the same command again to start over; no cleanup is needed"));
        }
    };
    print(context, &imported, args.output.format())
}

enum ImportSource {
    Named { server: String, name: String },
    Files { files: ImageFiles, properties: BTreeMap<String, String> },
}

/// Existing files are imported as files; anything else is an alias.
fn source(context: &Context, args: &ImportArgs) -> Result<ImportSource, CommandError> {
    let paths: Vec<Utf8PathBuf> = args.what.iter().map(Utf8PathBuf::from).collect();
    match (args.what.as_slice(), paths.as_slice()) {
        ([name], [path]) if !path.is_file() => {
            if name.starts_with(['/', '.']) {
                return Err(CommandError::new(format!("file {name} does not exist")));
            }
            let servers = args.image_server.servers(&context.environment)?;
            let (server, name) = match name.split_once(':') {
                None => (servers.default_url(), name.as_str()),
                Some((prefix, rest)) => match servers.url(prefix) {
                    Some(url) => (url, rest),
                    None => {
                        let known: Vec<&str> = servers.prefixes().collect();
                        return Err(CommandError::usage(format!(
                            "{prefix:?} is not a known image server (known: {})",
                            known.join(", ")
                        ))
                        .hint(format!("define it: `--image-server {prefix}=https://HOST/PATH`")));
                    }
                },
            };
            Ok(ImportSource::Named { server: server.to_owned(), name: name.to_owned() })
        }
        (_, [first, rest @ ..]) => {
            let doing = || format!("cannot import {first}");
            let properties = read_properties(first).map_err(|error| failed(doing(), error))?;
            let files = match rest {
                [] => ImageFiles::Unified(first.into()),
                [root, ..] => {
                    let kind = file_kind(root).map_err(|error| failed(doing(), error))?;
                    let (metadata, root) = (first.into(), root.into());
                    match kind {
                        FileKind::Qcow2 => ImageFiles::SplitVm { metadata, disk: root },
                        _ => ImageFiles::Split { metadata, rootfs: root },
                    }
                }
            };
            Ok(ImportSource::Files { files, properties })
        }
        (_, []) => Err(CommandError::usage("specify the alias of an image, or its files")),
    }
}

async fn upload(
    ui: &Ui,
    client: &Client,
    files: ImageFiles,
    alias: Option<String>,
    properties: &BTreeMap<String, String>,
) -> Result<Imported, CommandError> {
    let step = ui.step("image to the server");
    let upload =
        ImageUpload { files, public: false, properties: BTreeMap::new(), aliases: Vec::new() };
    if let Some(alias) = &alias {
        // Checked before gigabytes are sent. The fingerprint does not matter here.
        images::check_alias(client, alias, "").await?;
    }
    let (sender, mut receiver) = tokio::sync::watch::channel(String::new());
    let work = client.import_image(&upload, UPLOAD, move |at| {
        let text = shown(at);
        sender.send_if_modified(|shown| std::mem::replace(shown, text.clone()) != text);
    });
    tokio::pin!(work);
    let imported = loop {
        tokio::select! {
            Ok(()) = receiver.changed() => step.detail(&receiver.borrow_and_update()),
            done = &mut work => break done.doing("cannot import the image")?,
        }
    };
    if let Some(alias) = &alias {
        images::give_alias(client, alias, &imported.fingerprint)
            .await
            .doing(format!("cannot assign the image alias `{alias}`"))?;
    }
    let name = alias.as_deref().unwrap_or(&imported.fingerprint);
    let how = if imported.existed { "already exists" } else { "imported" };
    step.done(format!("image {name} {how}"));
    Ok(Imported {
        kind: properties.get(PROPERTY_KIND).cloned(),
        fingerprint: Some(imported.fingerprint),
        alias,
    })
}

fn shown(at: UploadProgress) -> String {
    let percent =
        |bytes: u64, total: u64| bytes.saturating_mul(100).checked_div(total).unwrap_or(100);
    match at {
        UploadProgress::Hashing { bytes, total } => format!("reading, {} %", percent(bytes, total)),
        UploadProgress::Sending { bytes, total } => format!("sending, {} %", percent(bytes, total)),
        UploadProgress::Importing => "the server is processing it".to_owned(),
    }
}

fn print(context: &Context, imported: &Imported, format: Format) -> Result<(), CommandError> {
    let name = imported.alias.as_ref().or(imported.fingerprint.as_ref());
    match format {
        Format::Json => context.ui.data(&output::json(imported)?),
        Format::Yaml => context.ui.data(&output::yaml(imported)?),
        Format::Table | Format::Wide | Format::Name => {
            context.ui.data(&name.map(|name| format!("{name}\n")).unwrap_or_default())
        }
    }
}
