//! Images from an image server, downloaded by the Incus or LXD server.

use std::collections::BTreeMap;
use std::time::Duration;

use capn_image::catalog::{
    HAPROXY_ALIAS, NODE_ALIAS, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION, kubeadm_alias,
};
use capn_image::simplestreams::{
    HttpOptions, Image, ImageType, Selection, Source, StreamsError, load, select,
};
use incus_client::Client;
use incus_client::api::{ImageAliasesPost, ImagePut, ImagesPost, ImagesPostSource};

use crate::error::{CommandError, Doing as _};
use crate::ui::Ui;

/// Time limit for some hundred MB over a slow connection.
const DOWNLOAD: Duration = Duration::from_secs(30 * 60);

/// An image to download.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// URL of the image server.
    pub server: &'a str,
    /// Alias on the image server.
    pub name: &'a str,
    /// Alias on the Incus or LXD server; `None` is the alias that `capn up` looks for.
    pub alias: Option<&'a str>,
}

/// A downloaded image.
#[derive(Clone, Debug, Default)]
pub struct Pulled {
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// Its fingerprint; unknown if only the Incus or LXD server can reach the image server.
    pub fingerprint: Option<String>,
    /// Its alias; `None` if the fingerprint is unknown.
    pub alias: Option<String>,
}

/// Makes the server download an image and sets its properties and alias, so that it is found later
/// without the image server. An existing image is not downloaded again.
///
/// # Errors
///
/// Returns an error if the image server has no matching image, if the download fails, or if the
/// alias belongs to another image.
pub async fn pull(ui: &Ui, client: &Client, wanted: &Pull<'_>) -> Result<Pulled, CommandError> {
    let Pull { server, name, .. } = *wanted;
    let step = ui.step(format!("image {name} from {server}"));
    let doing = || format!("the server cannot fetch {name} from {server}");
    let found = match find(client, wanted).await? {
        Lookup::Image(image) => Some(image),
        Lookup::Unreadable(error) => {
            // The server may reach the image server even if this machine cannot.
            tracing::info!(%server, %error, "cannot read the image server from this machine; the server will try");
            None
        }
    };
    let alias =
        found.as_ref().map(|_| wanted.alias.map_or_else(|| local_alias(name), str::to_owned));
    if let (Some(image), Some(alias)) = (&found, &alias) {
        check_alias(client, alias, &image.fingerprint).await?;
    }
    let post = ImagesPost {
        source: ImagesPostSource {
            kind: "image".to_owned(),
            mode: "pull".to_owned(),
            server: server.trim_end_matches('/').to_owned(),
            protocol: "simplestreams".to_owned(),
            alias: name.to_owned(),
            image_type: "container".to_owned(),
            ..ImagesPostSource::default()
        },
        ..ImagesPost::default()
    };
    let is_there = match &found {
        Some(image) => client.image(&image.fingerprint).await.doing(doing())?.is_some(),
        None => false,
    };
    if !is_there {
        let operation = client.copy_image(&post).await.doing(doing())?;
        match operation.wait(DOWNLOAD).await {
            // Incus returns this for an image that it already has under another alias.
            Err(incus_client::Error::OperationFailed { message, .. })
                if message.contains("Alias already exists") => {}
            Err(error) => {
                let hint = why_not_fetched(&error.to_string(), found.is_some());
                return Err(CommandError::caused(doing(), error).hints(hint));
            }
            Ok(_) => {}
        }
    }
    let pulled = match (found, alias) {
        (Some(image), Some(alias)) => {
            let properties = describe(client, &image).await.doing(doing())?;
            give_alias(client, &alias, &image.fingerprint).await.doing(doing())?;
            Pulled { properties, fingerprint: Some(image.fingerprint), alias: Some(alias) }
        }
        _ => Pulled::default(),
    };
    step.done(format!("image {name} from {server}"));
    Ok(pulled)
}

enum Lookup {
    Image(Box<Image>),
    Unreadable(StreamsError),
}

async fn find(client: &Client, wanted: &Pull<'_>) -> Result<Lookup, CommandError> {
    let Pull { server, name, .. } = *wanted;
    let act = || format!("cannot find the image {name} on {server}");
    let source = Source::http(server, &HttpOptions::default()).doing(act())?;
    let streams = match load(&source).await {
        Ok(streams) => streams,
        Err(error) => return Ok(Lookup::Unreadable(error)),
    };
    let server = client.server().await.doing("cannot determine the architecture of the server")?;
    let selection = Selection {
        name,
        architecture: server.environment.architectures.first().map(String::as_str),
        image_type: Some(ImageType::Container),
    };
    match select(&streams.images, &selection) {
        Ok(image) => Ok(Lookup::Image(Box::new(image.clone()))),
        Err(error) => {
            let hint = error.hint();
            Err(CommandError::caused(act(), error).hints(hint))
        }
    }
}

/// Returns a hint for a failed download, based on the error message.
fn why_not_fetched(error: &str, is_listed: bool) -> Option<String> {
    if error.contains("certificate signed by unknown authority") {
        // Both daemons are written in Go, which reads the host's CA certificates once per process.
        return Some(
            "the server's host does not trust the image server's certificate: put its CA \
             certificate into /usr/local/share/ca-certificates, run `update-ca-certificates`, and \
             restart \
             Incus or LXD"
                .to_owned(),
        );
    }
    (is_listed && error.contains("couldn't be found")).then(|| {
        "Incus and LXD cache the image list for an hour: try again later, or import the files: `capn image import FILE...`"
            .to_owned()
    })
}

/// Returns the alias that `capn up` looks for, for an image with this name.
fn local_alias(name: &str) -> String {
    match kind_of(name) {
        Some(_) => format!("capn/{name}"),
        None => name.to_owned(),
    }
}

/// Kind and version of a project image, by its name on an image server.
fn kind_of(name: &str) -> Option<(&'static str, Option<&str>)> {
    match name.split_once('/') {
        Some(("kubeadm", version)) if !version.contains('/') => Some(("kubeadm", Some(version))),
        None if name == "haproxy" => Some(("haproxy", None)),
        None if name == "node" => Some(("node", None)),
        _ => None,
    }
}

/// Returns the alias that `capn up` looks for, for an image with these properties.
pub fn alias_of(properties: &BTreeMap<String, String>) -> Option<String> {
    match properties.get(PROPERTY_KIND)?.as_str() {
        "kubeadm" => Some(kubeadm_alias(properties.get(PROPERTY_KUBERNETES_VERSION)?)),
        "haproxy" => Some(HAPROXY_ALIAS.to_owned()),
        "node" => Some(NODE_ALIAS.to_owned()),
        _ => None,
    }
}

/// Rejects an alias that belongs to an image of other origin.
///
/// # Errors
///
/// Also returns an error if the server does not respond.
pub async fn check_alias(
    client: &Client,
    alias: &str,
    fingerprint: &str,
) -> Result<(), CommandError> {
    let found =
        client.image_by_alias(alias).await.doing(format!("cannot look up image `{alias}`"))?;
    match found {
        Some(image)
            if image.fingerprint != fingerprint
                && !image.properties.contains_key(PROPERTY_KIND) =>
        {
            let short: String = image.fingerprint.chars().take(12).collect();
            Err(CommandError::new(format!(
                "alias `{alias}` points to image {short}, which was not built by capn"
            ))
            .hint("use another alias: `--alias NAME`, or rename the existing one"))
        }
        _ => Ok(()),
    }
}

/// Adds the properties from the image server, since servers do not keep them.
async fn describe(
    client: &Client,
    image: &Image,
) -> Result<BTreeMap<String, String>, incus_client::Error> {
    let Some(found) = client.image(&image.fingerprint).await? else {
        return Ok(image.properties.clone());
    };
    let mut properties = found.properties.clone();
    properties.extend(image.properties.clone());
    if !properties.contains_key(PROPERTY_KIND)
        && let Some((kind, version)) = image.aliases.iter().find_map(|alias| kind_of(alias))
    {
        properties.insert(PROPERTY_KIND.to_owned(), kind.to_owned());
        let version =
            version.map(|version| (PROPERTY_KUBERNETES_VERSION.to_owned(), version.to_owned()));
        properties.extend(version);
    }
    if properties != found.properties {
        let put = ImagePut {
            auto_update: found.auto_update,
            properties: properties.clone(),
            public: found.public,
            expires_at: found.expires_at.clone(),
            profiles: found.profiles.clone(),
        };
        client.put_image(&image.fingerprint, &put, found.etag.as_deref()).await?;
    }
    Ok(properties)
}

/// Points an alias to an image. Call [`check_alias`] first.
///
/// # Errors
///
/// Returns an error if the server refuses.
pub async fn give_alias(
    client: &Client,
    alias: &str,
    fingerprint: &str,
) -> Result<(), incus_client::Error> {
    match client.image_alias(alias).await? {
        Some(entry) if entry.target == fingerprint => Ok(()),
        Some(_) => client.move_image_alias(alias, fingerprint).await,
        None => {
            let post = ImageAliasesPost {
                name: alias.to_owned(),
                target: fingerprint.to_owned(),
                ..ImageAliasesPost::default()
            };
            client.create_image_alias(&post).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_images_get_the_alias_that_up_looks_for() {
        for (name, alias) in [
            ("kubeadm/v1.36.0", "capn/kubeadm/v1.36.0"),
            ("haproxy", "capn/haproxy"),
            ("node", "capn/node"),
            ("kubeadm/v1.36.0/ubuntu", "kubeadm/v1.36.0/ubuntu"),
            ("debian/13", "debian/13"),
        ] {
            assert_eq!(local_alias(name), alias);
        }
    }

    #[test]
    fn properties_yield_the_same_alias() {
        let properties = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let kubeadm: BTreeMap<String, String> =
            properties(&[(PROPERTY_KIND, "kubeadm"), (PROPERTY_KUBERNETES_VERSION, "v1.36.0")]);
        assert_eq!(alias_of(&kubeadm).as_deref(), Some("capn/kubeadm/v1.36.0"));
        let haproxy = properties(&[(PROPERTY_KIND, "haproxy")]);
        assert_eq!(alias_of(&haproxy).as_deref(), Some("capn/haproxy"));
        assert_eq!(alias_of(&BTreeMap::new()), None);
    }

    #[test]
    fn each_fetch_failure_has_a_hint() {
        let hint = |text, listed| why_not_fetched(text, listed).unwrap_or_default();
        assert!(hint("x509: certificate signed by unknown authority", false).contains("restart"));
        let missing = "the requested image couldn't be found";
        assert!(hint(missing, true).contains("for an hour"));
        assert_eq!(hint(missing, false), "");
        assert_eq!(hint("no space left", true), "");
    }
}
