//! Images of an image server, fetched by the Incus or LXD server itself.

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

/// Some hundred MB over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(30 * 60);

/// An image to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// URL of the image server.
    pub server: &'a str,
    /// Alias there.
    pub name: &'a str,
    /// Alias on the Incus or LXD server; none takes the one that `capn up` looks for.
    pub alias: Option<&'a str>,
}

/// An image that the server has now.
#[derive(Clone, Debug, Default)]
pub struct Pulled {
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// Its fingerprint; unknown where the image server could only be read by the server.
    pub fingerprint: Option<String>,
    /// Its alias; none without a fingerprint.
    pub alias: Option<String>,
}

/// Lets the server fetch an image, and gives it properties and an alias, so that it is found the
/// next time without the image server. An image that the server has is not fetched again.
///
/// # Errors
///
/// When the image server has no such image for the server, it cannot be fetched, or the alias is
/// somebody else's.
pub async fn pull(ui: &Ui, client: &Client, wanted: &Pull<'_>) -> Result<Pulled, CommandError> {
    let Pull { server, name, .. } = *wanted;
    let step = ui.step(format!("image {name} from {server}"));
    let doing = || format!("the server cannot fetch {name} from {server}");
    let found = match find(client, wanted).await? {
        Found::Image(image) => Some(image),
        Found::Unreadable(error) => {
            // The server may have a way to it that this machine has not.
            tracing::info!(%server, %error, "the image server is left to the server");
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
            // What Incus says of an image that it has already, under a name of its own.
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

enum Found {
    Image(Box<Image>),
    Unreadable(StreamsError),
}

async fn find(client: &Client, wanted: &Pull<'_>) -> Result<Found, CommandError> {
    let Pull { server, name, .. } = *wanted;
    let act = || format!("cannot find the image {name} on {server}");
    let source = Source::http(server, &HttpOptions::default()).doing(act())?;
    let streams = match load(&source).await {
        Ok(streams) => streams,
        Err(error) => return Ok(Found::Unreadable(error)),
    };
    let server = client.server().await.doing("cannot ask the server for its architecture")?;
    let selection = Selection {
        name,
        architecture: server.environment.architectures.first().map(String::as_str),
        image_type: Some(ImageType::Container),
    };
    match select(&streams.images, &selection) {
        Ok(image) => Ok(Found::Image(Box::new(image.clone()))),
        Err(error) => {
            let hint = error.hint();
            Err(CommandError::caused(act(), error).hints(hint))
        }
    }
}

/// What to do when the server could not fetch an image, by the words of its error.
fn why_not_fetched(error: &str, is_listed: bool) -> Option<String> {
    if error.contains("certificate signed by unknown authority") {
        // Both daemons are written in Go, which reads the authorities of the host once a process.
        return Some(
            "the server's host does not trust the image server's certificate: put its authority \
             into /usr/local/share/ca-certificates, run `update-ca-certificates`, and restart \
             Incus or LXD"
                .to_owned(),
        );
    }
    (is_listed && error.contains("couldn't be found")).then(|| {
        "Incus and LXD remember for an hour what an image server has: try later, or give it the \
         files: `capn image import FILE…`"
            .to_owned()
    })
}

/// The alias under which `capn up` looks for an image of that name.
fn local_alias(name: &str) -> String {
    match kind_of(name) {
        Some(_) => format!("capn/{name}"),
        None => name.to_owned(),
    }
}

/// What an image of the project is for, by its name on an image server.
fn kind_of(name: &str) -> Option<(&'static str, Option<&str>)> {
    match name.split_once('/') {
        Some(("kubeadm", version)) if !version.contains('/') => Some(("kubeadm", Some(version))),
        None if name == "haproxy" => Some(("haproxy", None)),
        None if name == "node" => Some(("node", None)),
        _ => None,
    }
}

/// The alias under which `capn up` looks for an image with these properties.
pub fn alias_of(properties: &BTreeMap<String, String>) -> Option<String> {
    match properties.get(PROPERTY_KIND)?.as_str() {
        "kubeadm" => Some(kubeadm_alias(properties.get(PROPERTY_KUBERNETES_VERSION)?)),
        "haproxy" => Some(HAPROXY_ALIAS.to_owned()),
        "node" => Some(NODE_ALIAS.to_owned()),
        _ => None,
    }
}

/// Refuses an alias that leads to an image that is not of the project.
///
/// # Errors
///
/// Also when the server cannot be asked.
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
                "alias `{alias}` leads to the image {short}, which is not of this project"
            ))
            .hint("give another alias: `--alias NAME`, or rename that one"))
        }
        _ => Ok(()),
    }
}

/// Adds what the image server says, since servers keep nothing of it.
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

/// Lets an alias lead to an image. [`check_alias`] comes before.
///
/// # Errors
///
/// When the server refuses.
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
    fn images_of_the_project_get_the_alias_that_up_looks_for() {
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
    fn properties_lead_to_the_same_alias() {
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
    fn what_keeps_a_server_from_fetching_has_its_hint() {
        let hint = |text, listed| why_not_fetched(text, listed).unwrap_or_default();
        assert!(hint("x509: certificate signed by unknown authority", false).contains("restart"));
        let missing = "the requested image couldn't be found";
        assert!(hint(missing, true).contains("for an hour"));
        assert_eq!(hint(missing, false), "");
        assert_eq!(hint("no space left", true), "");
    }
}
