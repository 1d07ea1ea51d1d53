//! Validation of an image in instances that are launched from it and removed again.

use std::time::Duration;

use incus_client::{
    Client, Error, ExecRequest,
    api::{Config, Devices, Image, InstanceAction, InstanceFilter, InstanceSource, InstancesPost},
};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    BuildError, Event, Stage,
    import::{self, failed},
    layers,
    step::Progress,
};

mod checks;

/// Key of an instance for validating or building an image; the value is the alias of the image.
pub(super) const MARK: &str = "user.capn.validates";
/// Kernel modules that the server loads when it starts the instance.
const MODULES: &str = "linux.kernel_modules";
const CREATE: Duration = Duration::from_secs(300);
const START: Duration = Duration::from_secs(60);
const REMOVE: Duration = Duration::from_secs(120);
/// Time limit of a script, including scripts that wait for the system.
pub(super) const CHECK: Duration = Duration::from_secs(180);

/// A kind of instance in which the image must work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationCase {
    /// Part of the instance's name and of messages, such as `unprivileged`.
    pub name: &'static str,
    /// Whether it runs in a user namespace.
    pub unprivileged: bool,
    /// Configuration of the instance. Kernel modules that the server cannot load are left to its
    /// host.
    pub config: Config,
    /// Devices of the instance, in addition to those of the default profile.
    pub devices: Devices,
}

/// Result of a [`ValidationCase`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validated {
    /// [`ValidationCase::name`].
    pub case: &'static str,
    /// All checks, in order.
    pub checks: Vec<Check>,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The expectation, such as `systemd runs with no failed unit`.
    pub name: &'static str,
    /// Whether it is met.
    pub passed: bool,
    /// The observed result.
    #[serde(rename = "seen")]
    pub observed: String,
}

/// The image to validate.
#[derive(Debug, Clone)]
pub(super) struct ValidatedImage {
    /// Alias that it will get.
    pub(super) alias: String,
    /// Hash of its recipe.
    pub(super) recipe: String,
    /// Requirements.
    pub(super) needs: Needs,
}

/// Requirements on an image.
#[derive(Debug, Clone)]
pub(super) enum Needs {
    /// It is a load balancer.
    Haproxy,
    /// It is a node.
    Node,
    /// It is a node with Kubernetes.
    Kubernetes {
        /// Version, such as `v1.36.2`.
        version: String,
        /// The components without container images, or `None` if the node has no images at all.
        images: Option<Vec<&'static str>>,
    },
}

/// Validates the image before it gets its alias, if there are cases. An image that fails and was
/// not there `before` is deleted. The caller holds the lock of the cache directory.
pub(super) async fn validate_before_alias(
    client: &Client,
    subject: &ValidatedImage,
    cases: &[ValidationCase],
    fingerprint: &str,
    before: &[&Image],
    progress: &mut Progress<'_>,
) -> Result<Vec<Validated>, BuildError> {
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let started = layers::start(Stage::Validate, progress);
    let result = validate(client, subject, cases, fingerprint, progress).await;
    let was_there = before.iter().any(|image| image.fingerprint == fingerprint);
    if let Err(BuildError::Invalid { .. }) = &result
        && !was_there
    {
        import::discard(client, fingerprint).await?;
    }
    let validated = result?;
    layers::finish(Stage::Validate, started, progress);
    Ok(validated)
}

/// Validates the image in each case.
///
/// # Guarantees
///
/// The instances are removed in any case. If the future is dropped or the process is killed, they
/// stay until [`remove_validation`] or the next validation of this image.
///
/// # Errors
///
/// [`BuildError::Invalid`] with all failed checks.
async fn validate(
    client: &Client,
    subject: &ValidatedImage,
    cases: &[ValidationCase],
    fingerprint: &str,
    progress: &mut Progress<'_>,
) -> Result<Vec<Validated>, BuildError> {
    remove_validation(client, &subject.alias).await?;
    let mut validated = Vec::with_capacity(cases.len());
    for case in cases {
        let short: String = subject.recipe.chars().take(8).collect();
        let name = format!("capn-validate-{short}-{}", case.name);
        let text = format!("{}: launching", case.name);
        progress(Event::Line { stage: Stage::Validate, text });
        let result = run_checks(client, subject, case, &name, fingerprint, progress).await;
        let removed = remove(client, &name).await;
        let checks = result?;
        removed?;
        validated.push(Validated { case: case.name, checks });
    }
    let failures: Vec<String> = validated
        .iter()
        .flat_map(|of| of.checks.iter().map(move |check| (of.case, check)))
        .filter(|(_, check)| !check.passed)
        .map(|(case, check)| format!("{case}: check `{}` failed: {}", check.name, check.observed))
        .collect();
    match failures.is_empty() {
        true => Ok(validated),
        false => Err(BuildError::Invalid { failures }),
    }
}

/// Removes the instances that a validation of the image with this alias left behind. Only these
/// instances have the mark.
///
/// # Errors
///
/// [`BuildError::Server`].
pub async fn remove_validation(client: &Client, alias: &str) -> Result<(), BuildError> {
    let left = client
        .instances(&InstanceFilter::new().config(MARK, alias))
        .await
        .map_err(failed("list instances of an earlier validation"))?;
    for instance in left {
        remove(client, &instance.name).await?;
    }
    Ok(())
}

async fn run_checks(
    client: &Client,
    subject: &ValidatedImage,
    case: &ValidationCase,
    name: &str,
    fingerprint: &str,
    progress: &mut Progress<'_>,
) -> Result<Vec<Check>, BuildError> {
    let mut config = case.config.clone();
    config.insert(MARK.to_owned(), subject.alias.clone());
    config.insert("cloud-init.user-data".to_owned(), checks::USER_DATA.to_owned());
    let post = InstancesPost {
        name: name.to_owned(),
        source: InstanceSource::fingerprint(fingerprint),
        config,
        devices: case.devices.clone(),
        ..InstancesPost::default()
    };
    let created = async { client.create_instance(&post, None).await?.wait(CREATE).await.map(drop) };
    created.await.map_err(failed("launch an instance of the image"))?;
    start(client, name).await.map_err(failed("start an instance of the image"))?;
    let mut observed = Vec::new();
    for check in checks::of(&subject.needs, case) {
        progress(Event::Line {
            stage: Stage::Validate,
            text: format!("{}: {}", case.name, check.name()),
        });
        observed.push(check.run(client, name).await);
    }
    Ok(observed)
}

/// Starts the instance, without kernel modules if the server cannot load them.
pub(super) async fn start(client: &Client, name: &str) -> Result<(), Error> {
    let start = || async {
        let started = client.set_state(name, InstanceAction::Start, false, None).await?;
        started.wait(START).await.map(drop)
    };
    match start().await {
        Err(error) if error.to_string().contains("load kernel module") => {
            tracing::info!(%error, "kernel modules are left to the host");
            let change = serde_json::json!({ "config": { MODULES: "" } });
            client.patch_instance(name, &change, None).await?;
            start().await
        }
        done => done,
    }
}

/// Stops and deletes an instance, if it exists.
pub(super) async fn remove(client: &Client, name: &str) -> Result<(), BuildError> {
    let deadline = Instant::now() + REMOVE;
    loop {
        // A stopped instance returns an error, which is fine.
        if let Ok(stop) = client.set_state(name, InstanceAction::Stop, true, None).await
            && let Err(error) = stop.wait(START).await
        {
            tracing::debug!(%error, name, "not stopped");
        }
        let deleted = async { client.delete_instance(name).await?.wait(REMOVE).await.map(drop) };
        match deleted.await {
            Err(error) if error.is_not_found() => return Ok(()),
            // An interrupted start may still be running.
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(%error, name, "not removed yet");
                sleep(Duration::from_millis(500)).await;
            }
            done => return done.map_err(failed("remove an instance of the validation")),
        }
    }
}

/// Runs a script. Returns whether it succeeded, and its output or the reason why it could not run.
pub(super) async fn shell(client: &Client, name: &str, script: &str) -> (bool, String) {
    match client.exec(name, ExecRequest::shell(script).deadline(CHECK)).await {
        Err(error) => (false, error.to_string()),
        Ok(output) => {
            let text = match output.stdout_text().trim() {
                "" => output.stderr_text().trim().to_owned(),
                text => text.to_owned(),
            };
            (output.success(), text)
        }
    }
}
