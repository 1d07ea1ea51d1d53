//! Import into the server: existing images, the upload, and the alias.

use std::{collections::BTreeMap, time::Duration};

use incus_client::{
    Client, Error, ImageFiles, ImageUpload, UploadProgress,
    api::{Image, ImageAliasesPost},
};
use tokio::sync::mpsc;

use super::{BuildError, Event, Stage, pack::PackedImage, step::Progress};
use crate::catalog::{PROPERTY_KIND, PROPERTY_MANIFEST, PROPERTY_RECIPE};

/// Time limit to read, send and unpack an image of one gigabyte over a slow network.
const IMPORT_DEADLINE: Duration = Duration::from_secs(1800);
/// A server with a busy disk may not respond within the timeout of a request.
const ATTEMPTS: u32 = 3;
const DELETE_DEADLINE: Duration = Duration::from_secs(60);

/// Existing images on the server.
#[derive(Debug, Default)]
pub(super) struct ServerImage {
    /// The image of the alias, which was built by capn.
    pub(super) aliased: Option<Image>,
    /// An image of the same recipe, with or without the alias.
    pub(super) same_recipe: Option<Image>,
}

/// Reads the existing images.
///
/// # Errors
///
/// [`BuildError::AliasTaken`] when the alias belongs to an image without the property of capn.
pub(super) async fn look(
    client: &Client,
    alias: &str,
    kind: &str,
    recipe: &str,
) -> Result<ServerImage, BuildError> {
    let mut attempts_left = ATTEMPTS;
    let (found, images) = loop {
        attempts_left -= 1;
        match matching_and_all(client, alias).await {
            Err(error) if error.is_transient() && attempts_left > 0 => {
                tracing::warn!(%error, "retrying the request to the server");
            }
            done => break done.map_err(failed("look for the image"))?,
        }
    };
    if let Some(image) = &found {
        if !image.properties.contains_key(PROPERTY_KIND) {
            return Err(BuildError::AliasTaken {
                alias: alias.to_owned(),
                fingerprint: image.fingerprint.chars().take(12).collect(),
            });
        }
        if is_of(image, kind, recipe) {
            return Ok(ServerImage { same_recipe: found.clone(), aliased: found });
        }
    }
    let same_recipe = images.into_iter().find(|image| is_of(image, kind, recipe));
    Ok(ServerImage { aliased: found, same_recipe })
}

async fn matching_and_all(
    client: &Client,
    alias: &str,
) -> Result<(Option<Image>, Vec<Image>), Error> {
    Ok((client.image_by_alias(alias).await?, client.images().await?))
}

/// Returns whether the image has this manifest.
pub(super) fn has_manifest(image: &Image, digest: &str) -> bool {
    image.properties.get(PROPERTY_MANIFEST).is_some_and(|found| found == digest)
}

/// Deletes an uploaded image that must not be used.
pub(super) async fn discard(client: &Client, fingerprint: &str) -> Result<(), BuildError> {
    let deleted =
        async { client.delete_image(fingerprint).await?.wait(DELETE_DEADLINE).await.map(drop) };
    match deleted.await {
        Err(error) if !error.is_not_found() => Err(failed("delete the rejected image")(error)),
        _ => Ok(()),
    }
}

fn is_of(image: &Image, kind: &str, recipe: &str) -> bool {
    let is = |key: &str, value: &str| image.properties.get(key).is_some_and(|found| found == value);
    is(PROPERTY_KIND, kind) && is(PROPERTY_RECIPE, recipe)
}

/// Uploads the image and returns its fingerprint. An existing image is not sent again.
pub(super) async fn upload(
    client: &Client,
    packed: &PackedImage,
    properties: &BTreeMap<String, String>,
    progress: &mut Progress<'_>,
) -> Result<String, BuildError> {
    let mut attempts_left = ATTEMPTS;
    loop {
        attempts_left -= 1;
        match upload_once(client, packed, properties, progress).await {
            Err(error) if error.is_transient() && attempts_left > 0 => {
                tracing::warn!(%error, "retrying the import");
            }
            done => return done.map_err(failed("import the image")),
        }
    }
}

async fn upload_once(
    client: &Client,
    packed: &PackedImage,
    properties: &BTreeMap<String, String>,
    progress: &mut Progress<'_>,
) -> Result<String, Error> {
    let image = ImageUpload {
        files: ImageFiles::Split {
            metadata: packed.metadata.clone().into(),
            rootfs: packed.rootfs.clone().into(),
        },
        public: false,
        properties: properties.clone().into_iter().collect(),
        aliases: Vec::new(),
    };
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut last = None;
    let import = client.import_image(&image, IMPORT_DEADLINE, move |at| {
        // The receiver is only gone while the import is being dropped.
        sender.send(to_event(at)).ok();
    });
    tokio::pin!(import);
    loop {
        tokio::select! {
            biased;
            // One event per percent, not per chunk.
            Some(event) = receiver.recv() => {
                if last.as_ref() != Some(&event) {
                    progress(event.clone());
                    last = Some(event);
                }
            }
            done = &mut import => {
                return Ok(done?.fingerprint);
            }
        }
    }
}

fn to_event(at: UploadProgress) -> Event {
    let stage = Stage::Import;
    match at {
        UploadProgress::Hashing { .. } => {
            Event::Line { stage, text: "reading the image".to_owned() }
        }
        UploadProgress::Sending { bytes, total } => {
            let percent = bytes.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
            Event::Percent { stage, percent: u8::try_from(percent).unwrap_or(100) }
        }
        UploadProgress::Importing => {
            Event::Line { stage, text: "the server is importing the image".to_owned() }
        }
    }
}

/// Points the alias at the image, and deletes the previous image of capn.
///
/// # Guarantees
///
/// The alias always exists. Instances of the previous image stay.
pub(super) async fn point_alias(
    client: &Client,
    alias: &str,
    former: Option<&Image>,
    fingerprint: &str,
) -> Result<(), BuildError> {
    let Some(former) = former else {
        let post = ImageAliasesPost {
            name: alias.to_owned(),
            target: fingerprint.to_owned(),
            ..ImageAliasesPost::default()
        };
        return client.create_image_alias(&post).await.map_err(failed("name the image"));
    };
    if former.fingerprint == fingerprint {
        return Ok(());
    }
    client.move_image_alias(alias, fingerprint).await.map_err(failed("move the alias"))?;
    // An image with another alias may still be in use.
    if former.aliases.iter().any(|other| other.name != alias) {
        return Ok(());
    }
    let deleted = async {
        client.delete_image(&former.fingerprint).await?.wait(DELETE_DEADLINE).await.map(drop)
    };
    match deleted.await {
        Err(error) if !error.is_not_found() => Err(failed("delete the previous image")(error)),
        _ => Ok(()),
    }
}

pub(super) fn failed(act: &'static str) -> impl Fn(Error) -> BuildError {
    move |source| BuildError::Server { act, source }
}
