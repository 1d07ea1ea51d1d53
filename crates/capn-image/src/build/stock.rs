//! Builds a node image on a server from a stock cloud image: launches an instance, runs the script
//! of [`crate::install`], cleans it, and publishes it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;
use incus_client::{
    Client, FileOptions,
    api::{
        Config, Image, ImagesPost, ImagesPostSource, InstanceAction, InstanceSource, InstancesPost,
    },
};

use super::{
    BuildError, BuiltImage, Event, Stage, ValidationCase,
    import::{self, failed},
    layers, lock,
    step::Progress,
    validate::{self, MARK, Needs, ValidatedImage},
};
use crate::{
    catalog::{PROPERTY_BASE_IMAGE, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION, PROPERTY_RECIPE},
    install::{INSTALL_SCRIPT_PATH, InstallScript},
    recipe::Hash,
};

const KIND: &str = "kubeadm";
/// Time limit including the download of the image by the server.
const CREATE: Duration = Duration::from_secs(1800);
const STATE: Duration = Duration::from_secs(120);
/// Time limit for packages and binaries over a slow network.
const INSTALL: Duration = Duration::from_secs(1800);
const PUBLISH: Duration = Duration::from_secs(1800);

/// Waits until the system is up and its cloud-init, if any, is done.
const SETTLE: &str = "n=0; while [ $n -lt 600 ]; do \
     case \"$(systemctl is-system-running --wait 2>/dev/null)\" in running|degraded) break;; esac; \
     n=$((n + 1)); sleep 0.2; done; \
     if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null || true; fi";

/// Removes what is specific to one instance.
const CLEAN: &str = "set -e; systemctl stop kubelet containerd; \
     rm -rf /var/lib/containerd/io.containerd.grpc.v1.introspection \
     /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/journal/* /etc/ssh/ssh_host_*; \
     apt-get clean; \
     if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi; \
     rm -f /var/lib/dbus/machine-id; : >/etc/machine-id; sync";

/// A request to build a node image from a stock image.
#[derive(Debug, Clone)]
pub struct StockRequest {
    /// The stock image.
    pub source: InstanceSource,
    /// Name of the stock image as given by the user.
    pub source_name: String,
    /// Install script, which also has the version.
    pub script: InstallScript,
    /// Alias on the server.
    pub alias: String,
    /// Configuration of the build instance.
    pub config: Config,
    /// Directory for the lock of validations.
    pub cache_dir: Utf8PathBuf,
    /// Build it even if the server has one of the same recipe.
    pub rebuild: bool,
    /// As in [`super::BuildRequest::validate`].
    pub validate: Vec<ValidationCase>,
}

impl StockRequest {
    fn recipe(&self) -> String {
        Hash::new("stock image 1")
            .part("source", &self.source_name)
            .part("server", &self.source.server)
            .part("script", &self.script.text())
            .finish()
    }

    fn properties(
        &self,
        recipe: &str,
        base: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut properties: BTreeMap<String, String> = base
            .iter()
            .filter(|(key, _)| ["os", "release", "version", "architecture"].contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let version = &self.script.version;
        let description =
            format!("capn node, Kubernetes {version} (made from {})", self.source_name);
        for (key, value) in [
            (PROPERTY_KIND, KIND),
            (PROPERTY_RECIPE, recipe),
            (PROPERTY_KUBERNETES_VERSION, version),
            ("description", &description),
            ("variant", KIND),
        ] {
            properties.insert(key.to_owned(), value.to_owned());
        }
        properties
    }
}

/// Builds the image, unless the server has one of the same recipe.
///
/// # Guarantees
///
/// As for [`super::build`]: the alias is only given to an image that is complete and, if requested,
/// passes the validation. An alias of an image that capn did not build is never changed. The build
/// instance is always removed.
///
/// # Assumptions
///
/// The instance can reach the mirrors of its distribution and the downloads of Kubernetes. The
/// image does not contain container images: kubeadm pulls them.
///
/// # Cancellation
///
/// The instance stays until [`super::remove_validation`] with the alias, or the next call.
///
/// # Errors
///
/// [`BuildError`].
pub async fn build_from_stock(
    request: &StockRequest,
    client: &Client,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<BuiltImage, BuildError> {
    let started = Instant::now();
    let recipe = request.recipe();
    let look = || import::look(client, &request.alias, KIND, &recipe);
    let mut on_server = look().await?;
    let builds = on_server.same_recipe.is_none() || request.rebuild;
    let lock = match builds || !request.validate.is_empty() {
        true => Some(lock::acquire(&request.cache_dir, progress).await?),
        false => None,
    };
    if lock.is_some() {
        // Another process may have built it in the meantime.
        on_server = look().await?;
    }
    let reusable = on_server.same_recipe.as_ref().filter(|_| !request.rebuild);
    let (fingerprint, reused) = match reusable {
        Some(image) => (image.fingerprint.clone(), true),
        None => (make(request, client, &recipe, progress).await?, false),
    };
    let subject = ValidatedImage {
        alias: request.alias.clone(),
        recipe: recipe.clone(),
        needs: Needs::Kubernetes { version: request.script.version.clone(), images: None },
    };
    let before: Vec<&Image> =
        [&on_server.aliased, &on_server.same_recipe].into_iter().flatten().collect();
    let validated = validate::validate_before_alias(
        client,
        &subject,
        &request.validate,
        &fingerprint,
        &before,
        progress,
    )
    .await?;
    import::point_alias(client, &request.alias, on_server.aliased.as_ref(), &fingerprint).await?;
    drop(lock);
    let image = client.image(&fingerprint).await.map_err(failed("read the image"))?;
    Ok(BuiltImage {
        runtime: None,
        kind: KIND,
        alias: request.alias.clone(),
        fingerprint,
        recipe,
        reused,
        size_bytes: image.map_or(0, |image| image.size),
        kubernetes_version: Some(request.script.version.clone()),
        etcd_version: None,
        coredns: false,
        manifest: None,
        validated,
        elapsed: started.elapsed(),
    })
}

async fn make(
    request: &StockRequest,
    client: &Client,
    recipe: &str,
    progress: &mut Progress<'_>,
) -> Result<String, BuildError> {
    validate::remove_validation(client, &request.alias).await?;
    let name = format!("capn-build-{}", &recipe[..8]);
    let made = make_in(request, client, &name, recipe, progress).await;
    let removed = validate::remove(client, &name).await;
    let fingerprint = made?;
    removed?;
    Ok(fingerprint)
}

async fn make_in(
    request: &StockRequest,
    client: &Client,
    name: &str,
    recipe: &str,
    progress: &mut Progress<'_>,
) -> Result<String, BuildError> {
    let started = layers::start(Stage::Base, progress);
    let mut config = request.config.clone();
    config.insert(MARK.to_owned(), request.alias.clone());
    let post = InstancesPost {
        name: name.to_owned(),
        source: request.source.clone(),
        config,
        ..InstancesPost::default()
    };
    let created = async { client.create_instance(&post, None).await?.wait(CREATE).await.map(drop) };
    created.await.map_err(failed("launch an instance of the base image"))?;
    validate::start(client, name).await.map_err(failed("start an instance of the base image"))?;
    step(client, name, Stage::Base, SETTLE).await?;
    layers::finish(Stage::Base, started, progress);

    let started = layers::start(Stage::Kubernetes, progress);
    let options = FileOptions { mode: Some(0o755), make_parents: true, ..FileOptions::default() };
    client
        .push_file(name, INSTALL_SCRIPT_PATH, request.script.text(), &options)
        .await
        .map_err(failed("write the script into the instance"))?;
    step(client, name, Stage::Kubernetes, INSTALL_SCRIPT_PATH).await?;
    step(client, name, Stage::Kubernetes, CLEAN).await?;
    layers::finish(Stage::Kubernetes, started, progress);

    let started = layers::start(Stage::Pack, progress);
    let stopped = async {
        client.set_state(name, InstanceAction::Stop, true, None).await?.wait(STATE).await.map(drop)
    };
    stopped.await.map_err(failed("stop the instance"))?;
    let instance = client.instance(name).await.map_err(failed("read the instance"))?;
    let config = instance.map(|instance| instance.value.config).unwrap_or_default();
    let base = config
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("image.")?.to_owned(), value.clone())))
        .collect();
    let mut properties = request.properties(recipe, &base);
    if let Some(fingerprint) = config.get("volatile.base_image") {
        properties.insert(PROPERTY_BASE_IMAGE.to_owned(), fingerprint.clone());
    }
    let post = ImagesPost {
        source: ImagesPostSource {
            kind: "instance".to_owned(),
            name: name.to_owned(),
            ..ImagesPostSource::default()
        },
        properties: properties.into_iter().collect(),
        ..ImagesPost::default()
    };
    let published = async { client.copy_image(&post).await?.wait(PUBLISH).await };
    let published = published.await.map_err(failed("publish the image"))?;
    layers::finish(Stage::Pack, started, progress);
    let fingerprint = published
        .metadata
        .get("fingerprint")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned);
    fingerprint.ok_or_else(|| BuildError::Invalid {
        failures: vec!["the server did not report the published image".to_owned()],
    })
}

/// Runs a script in the instance, which must succeed.
async fn step(client: &Client, name: &str, stage: Stage, script: &str) -> Result<(), BuildError> {
    let request = incus_client::ExecRequest::shell(script).deadline(INSTALL);
    let output =
        client.exec(name, request).await.map_err(failed("run the script in the instance"))?;
    if output.success() {
        return Ok(());
    }
    let text = format!("{}\n{}", output.stdout_text().trim(), output.stderr_text().trim());
    let lines: Vec<&str> = text.lines().collect();
    Err(BuildError::Step {
        stage: stage.describe(),
        status: format!("exit status: {}", output.exit_code),
        tail: lines[lines.len().saturating_sub(12)..].join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> StockRequest {
        StockRequest {
            source: InstanceSource::alias("stock"),
            source_name: "stock".to_owned(),
            script: InstallScript::new("v1.36.2"),
            alias: "capn/kubeadm/v1.36.2".to_owned(),
            config: Config::new(),
            cache_dir: "/nonexistent".into(),
            rebuild: false,
            validate: Vec::new(),
        }
    }

    #[test]
    fn the_recipe_names_base_and_script_and_the_image_says_what_it_is() {
        let recipe = request().recipe();
        assert_eq!(recipe, StockRequest { alias: "mine".into(), ..request() }.recipe());
        let other = StockRequest { source_name: "other".into(), ..request() };
        assert_ne!(other.recipe(), recipe);
        let newer = StockRequest { script: InstallScript::new("v1.36.3"), ..request() };
        assert_ne!(newer.recipe(), recipe);
        let base = BTreeMap::from([
            ("os".to_owned(), "ubuntu".to_owned()),
            ("capn.kind".to_owned(), "node".to_owned()),
            ("serial".to_owned(), "1".to_owned()),
        ]);
        let properties = request().properties(&recipe, &base);
        assert_eq!(properties["os"], "ubuntu");
        assert_eq!(properties["capn.kind"], "kubeadm");
        assert_eq!(properties["capn.kubernetes-version"], "v1.36.2");
        assert!(!properties.contains_key("serial"));
    }
}
