//! Access checks: what the holder of a restricted identity can and cannot do, tested with its
//! certificate.
//!
//! Each check sends a request that changes nothing if it is granted by mistake, or that is undone
//! at once.

use std::time::Duration;

use incus_client::api::{
    CertificatesPost, Config, Devices, Flavor, InstanceFilter, InstanceSource, InstancesPost,
    ProjectPut, ProjectsPost,
};
use incus_client::{Client, Error};

use super::keys;
use crate::error::{CommandError, Doing as _};

/// Time limit for creating an empty instance.
const DEADLINE: Duration = Duration::from_secs(60);
/// Configuration key that marks instances created by these checks.
const PROBE: &str = "user.capn.probe";

/// One access check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessCheck {
    /// The action, as an infinitive.
    pub what: String,
    /// Whether the holder is expected to be able to do it.
    pub should: bool,
    /// The outcome.
    pub found: CheckOutcome,
    /// Why this server is known to behave differently.
    pub known: Option<&'static str>,
}

/// Outcome of an access check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The server allowed the request.
    Allowed,
    /// The server refused the request, with its message.
    Refused(String),
    /// The request failed for another reason, so the check is inconclusive.
    Unclear(String),
}

impl AccessCheck {
    /// Returns whether the outcome is the expected one.
    pub fn holds(&self) -> bool {
        match &self.found {
            CheckOutcome::Allowed => self.should,
            CheckOutcome::Refused(_) => !self.should,
            CheckOutcome::Unclear(_) => false,
        }
    }

    /// Returns whether the identity has more access than intended be able to do, and this is not a
    /// known gap.
    pub fn is_open(&self) -> bool {
        !self.should && self.found == CheckOutcome::Allowed && self.known.is_none()
    }

    /// One line of text, without a mark.
    pub fn line(&self) -> String {
        let Self { what, found, known, .. } = self;
        match (found, known) {
            (CheckOutcome::Allowed, Some(known)) => {
                format!("can {what}, although it should not: {known}")
            }
            (CheckOutcome::Allowed, None) if !self.should => {
                format!("can {what}, although it should not")
            }
            (CheckOutcome::Allowed, None) => format!("can {what}"),
            (CheckOutcome::Refused(why), _) => format!("cannot {what}: {why}"),
            (CheckOutcome::Unclear(why), _) => {
                format!("could not check whether it can {what}: {why}")
            }
        }
    }
}

/// Runs the access checks of one identity.
pub struct AccessTester<'a> {
    /// Client with the identity under test, in its project.
    pub holder: &'a Client,
    /// Administrator's client; removes whatever the holder should not have been able to create.
    pub admin: &'a Client,
    /// Project that the identity is limited to.
    pub project: &'a str,
    /// Network of the default project that its instances use.
    pub network: &'a str,
    /// Whether the server is Incus or LXD.
    pub flavor: Flavor,
}

/// LXD only checks access to the project of the request, and networks of the default project can be
/// reached through any project without its own networks.
const LXD_NETWORKS: &str = "LXD also lets users of a shared network change it; Incus does not";

impl AccessTester<'_> {
    /// Runs every check, one by one.
    ///
    /// # Errors
    ///
    /// Returns an error if the holder cannot use the server at all, or if something created by a
    /// check cannot be removed.
    pub async fn all(&self) -> Result<Vec<AccessCheck>, CommandError> {
        let server = self.holder.server().await.doing("cannot use the identity")?;
        if !server.is_trusted() {
            return Err(CommandError::new("the server does not know the identity's certificate"));
        }
        self.clean().await?;
        let project = self.project;
        let mut checks = vec![
            can(
                format!("list the instances of project {project}"),
                found(self.holder.instances(&InstanceFilter::new()).await),
            ),
            can(
                "create an unprivileged container there".to_owned(),
                self.instance(self.holder, &[], Devices::new()).await?,
            ),
        ];
        let default = self.holder.with_project("default");
        let instances = found(default.instances(&InstanceFilter::new()).await);
        checks.push(cannot("list the instances of project default", instances));
        let read = match self.holder.get_project("default").await {
            Ok(None) => CheckOutcome::Refused("not found".to_owned()),
            other => found(other),
        };
        checks.push(cannot("read project default", read));
        let made = self.instance(&default, &[], Devices::new()).await?;
        checks.push(cannot("create a container in project default", made));
        let configs: [(&str, &str, &str); 4] = [
            ("create a privileged container", "security.privileged", "true"),
            ("create a container with raw LXC settings", "raw.lxc", "lxc.cap.drop="),
            ("load kernel modules on the host", "linux.kernel_modules", "overlay"),
            ("use more memory than its project allows", "limits.memory", "1024TiB"),
        ];
        for (what, key, value) in configs {
            let made = self.instance(self.holder, &[(key, value)], Devices::new()).await?;
            checks.push(cannot(what, made));
        }
        let devices: [(&str, &[(&str, &str)]); 2] = [
            (
                "attach a directory of the host",
                &[("type", "disk"), ("source", "/"), ("path", "/mnt")],
            ),
            (
                "attach a device of the host",
                &[("type", "unix-char"), ("source", "/dev/kmsg"), ("path", "/dev/kmsg")],
            ),
        ];
        for (what, settings) in devices {
            let device = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let devices = Devices::from([("door".to_owned(), device)]);
            checks.push(cannot(what, self.instance(self.holder, &[], devices).await?));
        }
        checks.extend(self.administration().await?);
        Ok(checks)
    }

    /// Checks that do not involve instances.
    async fn administration(&self) -> Result<Vec<AccessCheck>, CommandError> {
        let nothing = Config::new();
        let mut checks = vec![
            cannot(
                "change its project",
                found(self.holder.patch_project(self.project, &nothing).await),
            ),
            cannot("create another project", self.other_project().await?),
            cannot("add trusted certificates", self.other_certificate().await?),
            cannot(
                "change the server's configuration",
                found(self.holder.patch_server_config(&nothing).await),
            ),
        ];
        let network = found(self.holder.patch_network(self.network, &nothing).await);
        checks.push(AccessCheck {
            known: (self.flavor == Flavor::Lxd).then_some(LXD_NETWORKS),
            ..cannot(&format!("change the network {}", self.network), network)
        });
        Ok(checks)
    }

    /// Tries to create an empty instance that is never started, and removes it.
    async fn instance(
        &self,
        client: &Client,
        config: &[(&str, &str)],
        devices: Devices,
    ) -> Result<CheckOutcome, CommandError> {
        let name = format!("capn-probe-{}", std::process::id());
        let mut settings: Config =
            [(PROBE, "true"), ("limits.cpu", "1"), ("limits.memory", "64MiB")]
                .into_iter()
                .chain(config.iter().copied())
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
        settings.retain(|_, value| !value.is_empty());
        let post = InstancesPost {
            name: name.clone(),
            source: InstanceSource::none(),
            config: settings,
            devices,
            ..InstancesPost::default()
        };
        let made = async {
            client.create_instance(&post, None).await?.wait(DEADLINE).await?;
            Ok(())
        };
        let made: CheckOutcome = found(made.await);
        if made == CheckOutcome::Allowed {
            // The administrator can always undo what the holder did.
            let admin = match client.project() {
                Some(project) => self.admin.with_project(project),
                None => self.admin.clone(),
            };
            delete(&admin, &name).await?;
        }
        Ok(made)
    }

    async fn other_project(&self) -> Result<CheckOutcome, CommandError> {
        let name = format!("capn-probe-{}", std::process::id());
        let post = ProjectsPost { name: name.clone(), put: ProjectPut::default() };
        let made = found(self.holder.create_project(&post).await);
        if made == CheckOutcome::Allowed {
            self.admin
                .delete_project(&name)
                .await
                .doing(format!("cannot delete project `{name}`, which was created for a check"))?;
        }
        Ok(made)
    }

    async fn other_certificate(&self) -> Result<CheckOutcome, CommandError> {
        use base64::Engine as _;
        let minted = keys::mint("capn-probe", jiff::Timestamp::now())?;
        let body: String =
            minted.certificate.lines().filter(|line| !line.starts_with("-----")).collect();
        let engine = base64::engine::general_purpose::STANDARD;
        let post = CertificatesPost {
            name: format!("capn-probe-{}", std::process::id()),
            kind: "client".to_owned(),
            certificate: engine.decode(&body).map_or(body, |der| engine.encode(der)),
            ..CertificatesPost::default()
        };
        let added = found(self.holder.add_certificate(&post).await);
        if added == CheckOutcome::Allowed {
            let fingerprint = incus_client::certificate_fingerprint(&minted.certificate)
                .doing("cannot compute the fingerprint of a certificate")?;
            super::tenant::distrust(self.admin, &fingerprint).await?;
        }
        Ok(added)
    }

    /// Removes instances left over from interrupted checks.
    async fn clean(&self) -> Result<(), CommandError> {
        let left = InstanceFilter::new().config(PROBE, "true");
        let admin = self.admin.with_project(self.project);
        let instances =
            admin.instances(&left).await.doing("cannot list instances of earlier checks")?;
        for instance in instances {
            delete(&admin, &instance.name).await?;
        }
        Ok(())
    }
}

async fn delete(admin: &Client, name: &str) -> Result<(), CommandError> {
    let deleted = async { admin.delete_instance(name).await?.wait(DEADLINE).await };
    match deleted.await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error)
            .doing(format!("cannot delete instance `{name}`, which was created for a check")),
    }
}

fn can(what: String, found: CheckOutcome) -> AccessCheck {
    AccessCheck { what, should: true, found, known: None }
}

fn cannot(what: &str, found: CheckOutcome) -> AccessCheck {
    AccessCheck { what: what.to_owned(), should: false, found, known: None }
}

/// Phrases in refusals that do not come with the usual status code. Observed with Incus 6.0 and LXD
/// 5.0.
const REFUSALS: [&str; 6] = [
    "forbidden",
    "not allowed",
    "permission",
    "is restricted",
    "not authorized",
    "reached maximum",
];

fn found<T>(result: Result<T, Error>) -> CheckOutcome {
    let Err(error) = result else { return CheckOutcome::Allowed };
    let text = error.server_text().map_or_else(|| error.to_string(), |text| text.trim().to_owned());
    let lower = text.to_lowercase();
    match error.is_forbidden()
        || error.is_not_found()
        || REFUSALS.iter().any(|words| lower.contains(words))
    {
        true => CheckOutcome::Refused(last_part(&text)),
        false => CheckOutcome::Unclear(text),
    }
}

/// Returns the reason at the end of a server message, which prefixes it with context separated by
/// `: `.
fn last_part(text: &str) -> String {
    text.rsplit(": ").next().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_holds_only_when_the_outcome_is_expected() {
        let refused = CheckOutcome::Refused("no".into());
        let unclear = CheckOutcome::Unclear("?".into());
        for (should, result, holds, open) in [
            (true, CheckOutcome::Allowed, true, false),
            (true, refused.clone(), false, false),
            (false, refused, true, false),
            (false, CheckOutcome::Allowed, false, true),
            (false, unclear.clone(), false, false),
            (true, unclear, false, false),
        ] {
            let check = AccessCheck { what: "x".into(), should, found: result, known: None };
            assert_eq!((check.holds(), check.is_open()), (holds, open), "{check:?}");
        }
    }

    #[test]
    fn a_known_gap_is_reported_but_is_not_a_failure() {
        let check = AccessCheck {
            known: Some("so it is"),
            ..cannot("change the network", CheckOutcome::Allowed)
        };
        assert!(!check.is_open() && !check.holds());
        assert_eq!(check.line(), "can change the network, although it should not: so it is");
    }

    #[test]
    fn a_refusal_shows_its_reason() {
        let text = "Failed checking if instance creation allowed: Invalid value \"true\" for config \"security.privileged\" on container \"a\" of project \"p\": Privileged containers are forbidden";
        assert_eq!(last_part(text), "Privileged containers are forbidden");
    }
}
