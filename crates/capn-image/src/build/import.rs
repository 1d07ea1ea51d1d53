//! The server's side: what it has already, the upload, and the alias.

use std::{collections::BTreeMap, time::Duration};

use incus_client::{
    Client, Error, ImageFiles, ImageUpload, UploadProgress,
    api::{Image, ImageAliasesPost},
};
use tokio::sync::mpsc;

use super::{BuildError, Event, Stage, pack::PackedImage, step::Progress};
use crate::catalog::{PROPERTY_KIND, PROPERTY_MANIFEST, PROPERTY_RECIPE};

/// Reading, sending and unpacking an image of a gigabyte over a slow network.
const IMPORT_DEADLINE: Duration = Duration::from_secs(1800);
/// A server whose disk is busy (with an image, with what was deleted) may leave requests without
/// an answer for longer than they wait.
const ATTEMPTS: u32 = 3;
const DELETE_DEADLINE: Duration = Duration::from_secs(60);

/// What the server has under the alias, and for the recipe.
#[derive(Debug, Default)]
pub(super) struct OnServer {
    /// The image the alias points at; it is one of ours.
    pub(super) aliased: Option<Image>,
    /// An image of the same recipe, aliased or not.
    pub(super) same_recipe: Option<Image>,
}

/// Looks at the server.
///
/// # Errors
///
/// [`BuildError::AliasTaken`] when the alias is that of an image without our property.
pub(super) async fn look(
    client: &Client,
    alias: &str,
    kind: &str,
    recipe: &str,
) -> Result<OnServer, BuildError> {
    let mut attempts_left = ATTEMPTS;
    let (found, images) = loop {
        attempts_left -= 1;
        match found_and_all(client, alias).await {
            Err(error) if error.is_transient() && attempts_left > 0 => {
                tracing::warn!(%error, "the server is asked again");
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
            return Ok(OnServer { same_recipe: found.clone(), aliased: found });
        }
    }
    let same_recipe = images.into_iter().find(|image| is_of(image, kind, recipe));
    Ok(OnServer { aliased: found, same_recipe })
}

async fn found_and_all(client: &Client, alias: &str) -> Result<(Option<Image>, Vec<Image>), Error> {
    Ok((client.image_by_alias(alias).await?, client.images().await?))
}

/// Whether the image has this manifest.
pub(super) fn has_manifest(image: &Image, digest: &str) -> bool {
    image.properties.get(PROPERTY_MANIFEST).is_some_and(|found| found == digest)
}

/// Deletes an image that was uploaded and is not to be used.
pub(super) async fn discard(client: &Client, fingerprint: &str) -> Result<(), BuildError> {
    let deleted =
        async { client.delete_image(fingerprint).await?.wait(DELETE_DEADLINE).await.map(drop) };
    match deleted.await {
        Err(error) if !error.is_not_found() => Err(failed("delete the refused image")(error)),
        _ => Ok(()),
    }
}

fn is_of(image: &Image, kind: &str, recipe: &str) -> bool {
    let is = |key: &str, value: &str| image.properties.get(key).is_some_and(|found| found == value);
    is(PROPERTY_KIND, kind) && is(PROPERTY_RECIPE, recipe)
}

/// Uploads the image; its fingerprint. An image that is there already is not sent.
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
                tracing::warn!(%error, "the import is taken up again");
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
        // Nobody listens any more only when the import is being dropped.
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
            Event::Line { stage, text: "the server reads the image".to_owned() }
        }
    }
}

/// Lets the alias point at the image, and deletes the image of ours that it pointed at before.
///
/// # Guarantees
///
/// The alias never points at nothing on the way. Instances made from the former image stay.
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
    // Under another name it is still somebody's.
    if former.aliases.iter().any(|other| other.name != alias) {
        return Ok(());
    }
    let deleted = async {
        client.delete_image(&former.fingerprint).await?.wait(DELETE_DEADLINE).await.map(drop)
    };
    match deleted.await {
        Err(error) if !error.is_not_found() => Err(failed("delete the former image")(error)),
        _ => Ok(()),
    }
}

pub(super) fn failed(act: &'static str) -> impl Fn(Error) -> BuildError {
    move |source| BuildError::Server { act, source }
}
