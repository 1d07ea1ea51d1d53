//! Instances launched from an image, looked at from inside, and removed.

use std::{fs::File, time::Duration};

use camino::Utf8Path;
use incus_client::{
    Client, Error, ExecRequest,
    api::{Config, Devices, InstanceAction, InstanceFilter, InstanceSource, InstancesPost},
};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{BuildError, Event, Stage, import::failed, plan::Plan, step::Progress};
use crate::catalog::PROPERTY_RECIPE;

mod checks;

/// Key of an instance that is made to look at an image; its value is the image's alias.
const MARK: &str = "user.capn.validates";
/// Kernel modules the server loads at the start of an instance.
const MODULES: &str = "linux.kernel_modules";
const CREATE: Duration = Duration::from_secs(300);
const START: Duration = Duration::from_secs(60);
const REMOVE: Duration = Duration::from_secs(120);
/// How long a script may run, those that wait for the system included.
pub(super) const CHECK: Duration = Duration::from_secs(180);

/// One kind of instance that the image has to work in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationCase {
    /// Part of the instance's name and of messages: `unprivileged`.
    pub name: &'static str,
    /// Whether it runs in a user namespace.
    pub unprivileged: bool,
    /// Config of the instance. Kernel modules that the server cannot load are left to its host.
    pub config: Config,
    /// Devices of the instance, besides those of the default profile.
    pub devices: Devices,
}

/// What was seen in the instance of one [`ValidationCase`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validated {
    /// [`ValidationCase::name`].
    pub case: &'static str,
    /// All that was looked at, in this order.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What has to hold: `systemd runs with no failed unit`.
    pub name: &'static str,
    /// Whether it does.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

/// Looks at the image in each case.
///
/// # Guarantees
///
/// The instances are removed again, whatever was seen. If the future is dropped or the process
/// killed they stay until [`remove_validation`] or the next validation of this image.
///
/// # Errors
///
/// [`BuildError::Invalid`] with everything that does not hold; [`BuildError::Busy`] while another
/// process does the same.
pub(super) async fn validate(
    client: &Client,
    plan: &Plan,
    cases: &[ValidationCase],
    fingerprint: &str,
    cache: &Utf8Path,
    progress: &mut Progress<'_>,
) -> Result<Vec<Validated>, BuildError> {
    let _lock = lock(cache)?;
    remove_validation(client, &plan.alias).await?;
    let mut validated = Vec::with_capacity(cases.len());
    for case in cases {
        let short = plan.properties.get(PROPERTY_RECIPE).map_or("", |recipe| &recipe[..8]);
        let name = format!("capn-validate-{short}-{}", case.name);
        let text = format!("{}: launching", case.name);
        progress(Event::Line { stage: Stage::Validate, text });
        let result = look(client, plan, case, &name, fingerprint, progress).await;
        let removed = remove(client, &name).await;
        let checks = result?;
        removed?;
        validated.push(Validated { case: case.name, checks });
    }
    let failures: Vec<String> = validated
        .iter()
        .flat_map(|of| of.checks.iter().map(move |check| (of.case, check)))
        .filter(|(_, check)| !check.passed)
        .map(|(case, check)| format!("{case}: not so that {}: {}", check.name, check.seen))
        .collect();
    match failures.is_empty() {
        true => Ok(validated),
        false => Err(BuildError::Invalid { failures }),
    }
}

/// Removes the instances that a validation of the image with this alias left behind. Nothing else
/// has their mark.
///
/// # Errors
///
/// [`BuildError::Server`].
pub async fn remove_validation(client: &Client, alias: &str) -> Result<(), BuildError> {
    let left = client
        .instances(&InstanceFilter::new().config(MARK, alias))
        .await
        .map_err(failed("look for instances of a former validation"))?;
    for instance in left {
        remove(client, &instance.name).await?;
    }
    Ok(())
}

/// Held while instances of a validation exist.
fn lock(cache: &Utf8Path) -> Result<File, BuildError> {
    let path = cache.join("validation.lock");
    let fail = super::workspace::failed("lock", &path);
    std::fs::create_dir_all(cache).map_err(fail)?;
    let file = File::create(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(BuildError::Busy { path: cache.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(fail(source)),
    }
}

async fn look(
    client: &Client,
    plan: &Plan,
    case: &ValidationCase,
    name: &str,
    fingerprint: &str,
    progress: &mut Progress<'_>,
) -> Result<Vec<Check>, BuildError> {
    let mut config = case.config.clone();
    config.insert(MARK.to_owned(), plan.alias.clone());
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
    let mut seen = Vec::new();
    for check in checks::of(plan, case) {
        progress(Event::Line {
            stage: Stage::Validate,
            text: format!("{}: {}", case.name, check.name()),
        });
        seen.push(check.run(client, name).await);
    }
    Ok(seen)
}

/// Starts it; a server that cannot load the kernel modules is not asked to.
async fn start(client: &Client, name: &str) -> Result<(), Error> {
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

async fn remove(client: &Client, name: &str) -> Result<(), BuildError> {
    let deadline = Instant::now() + REMOVE;
    loop {
        // One that is stopped already refuses, which is as good.
        if let Ok(stop) = client.set_state(name, InstanceAction::Stop, true, None).await
            && let Err(error) = stop.wait(START).await
        {
            tracing::debug!(%error, name, "not stopped");
        }
        let deleted = async { client.delete_instance(name).await?.wait(REMOVE).await.map(drop) };
        match deleted.await {
            Err(error) if error.is_not_found() => return Ok(()),
            // A start that was interrupted may still run.
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(%error, name, "not removed yet");
                sleep(Duration::from_millis(500)).await;
            }
            done => return done.map_err(failed("remove an instance of the validation")),
        }
    }
}

/// Runs a script; its exit code and output, or why it could not run.
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
