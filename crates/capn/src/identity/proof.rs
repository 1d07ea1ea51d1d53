//! What the holder of a restricted identity can and cannot do, tried with its certificate.
//!
//! Each try asks the server for something that changes nothing if it is granted by mistake, or
//! that is undone at once.

use std::time::Duration;

use incus_client::api::{
    CertificatesPost, Config, Devices, Flavor, InstanceFilter, InstanceSource, InstancesPost,
    ProjectPut, ProjectsPost,
};
use incus_client::{Client, Error};

use super::keys;
use crate::error::{CommandError, Doing as _};

/// How long the server may take for an empty instance.
const DEADLINE: Duration = Duration::from_secs(60);
/// Mark of the instances of these tries.
const PROBE: &str = "user.capn.probe";

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What was tried, as an infinitive.
    pub what: String,
    /// Whether the holder should be able to.
    pub should: bool,
    /// What came out.
    pub found: Found,
    /// Why it is known to come out otherwise on this server.
    pub known: Option<&'static str>,
}

/// What came out of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The server did it.
    Allowed,
    /// The server refused, in its words.
    Refused(String),
    /// Something else went wrong, so that nothing is proven.
    Unclear(String),
}

impl Proof {
    /// Whether it came out as it should.
    pub fn holds(&self) -> bool {
        match &self.found {
            Found::Allowed => self.should,
            Found::Refused(_) => !self.should,
            Found::Unclear(_) => false,
        }
    }

    /// Whether the holder can do what it should not, and nobody knew.
    pub fn is_open(&self) -> bool {
        !self.should && self.found == Found::Allowed && self.known.is_none()
    }

    /// One line for people, without a mark.
    pub fn line(&self) -> String {
        let Self { what, found, known, .. } = self;
        match (found, known) {
            (Found::Allowed, Some(known)) => format!("can {what}, although it should not: {known}"),
            (Found::Allowed, None) if !self.should => format!("can {what}, although it should not"),
            (Found::Allowed, None) => format!("can {what}"),
            (Found::Refused(why), _) => format!("cannot {what}: {why}"),
            (Found::Unclear(why), _) => format!("not tried to {what}: {why}"),
        }
    }
}

/// Which doors to try, and whom to ask to close one that opens.
pub struct Tries<'a> {
    /// With the identity to try, in its project.
    pub holder: &'a Client,
    /// Removes what the holder should not have been able to make.
    pub admin: &'a Client,
    /// The project it is limited to.
    pub project: &'a str,
    /// A network of the default project that its instances use.
    pub network: &'a str,
    /// Which server it is.
    pub flavor: Flavor,
}

/// LXD asks for access to the project of the request only, and networks of the default project
/// are reached through any project without networks of its own.
const LXD_NETWORKS: &str = "LXD lets whoever uses a shared network change it too; Incus does not";

impl Tries<'_> {
    /// Tries every door, one after the other.
    ///
    /// # Errors
    ///
    /// When the holder cannot use the server at all, or something that should not have been made
    /// cannot be removed.
    pub async fn all(&self) -> Result<Vec<Proof>, CommandError> {
        let server = self.holder.server().await.doing("cannot use the identity")?;
        if !server.is_trusted() {
            return Err(CommandError::new("the server does not know the identity's certificate"));
        }
        self.clean().await?;
        let project = self.project;
        let mut proofs = vec![
            can(
                format!("list the instances of project {project}"),
                found(self.holder.instances(&InstanceFilter::new()).await),
            ),
            can(
                "make an unprivileged container there".to_owned(),
                self.instance(self.holder, &[], Devices::new()).await?,
            ),
        ];
        let default = self.holder.with_project("default");
        let instances = found(default.instances(&InstanceFilter::new()).await);
        proofs.push(cannot("list the instances of project default", instances));
        let read = match self.holder.get_project("default").await {
            Ok(None) => Found::Refused("not found".to_owned()),
            other => found(other),
        };
        proofs.push(cannot("look at project default", read));
        let made = self.instance(&default, &[], Devices::new()).await?;
        proofs.push(cannot("make a container in project default", made));
        let configs: [(&str, &str, &str); 4] = [
            ("make a privileged container", "security.privileged", "true"),
            ("make a container with raw settings of LXC", "raw.lxc", "lxc.cap.drop="),
            ("have kernel modules loaded on the host", "linux.kernel_modules", "overlay"),
            ("take more memory than its project has", "limits.memory", "1024TiB"),
        ];
        for (what, key, value) in configs {
            let made = self.instance(self.holder, &[(key, value)], Devices::new()).await?;
            proofs.push(cannot(what, made));
        }
        let devices: [(&str, &[(&str, &str)]); 2] = [
            ("attach a folder of the host", &[("type", "disk"), ("source", "/"), ("path", "/mnt")]),
            (
                "attach a device of the host",
                &[("type", "unix-char"), ("source", "/dev/kmsg"), ("path", "/dev/kmsg")],
            ),
        ];
        for (what, settings) in devices {
            let device = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let devices = Devices::from([("door".to_owned(), device)]);
            proofs.push(cannot(what, self.instance(self.holder, &[], devices).await?));
        }
        proofs.extend(self.administration().await?);
        Ok(proofs)
    }

    /// The doors that have nothing to do with instances.
    async fn administration(&self) -> Result<Vec<Proof>, CommandError> {
        let nothing = Config::new();
        let mut proofs = vec![
            cannot(
                "change its project",
                found(self.holder.patch_project(self.project, &nothing).await),
            ),
            cannot("make another project", self.other_project().await?),
            cannot("let the server trust others", self.other_certificate().await?),
            cannot(
                "change the server's configuration",
                found(self.holder.patch_server_config(&nothing).await),
            ),
        ];
        let network = found(self.holder.patch_network(self.network, &nothing).await);
        proofs.push(Proof {
            known: (self.flavor == Flavor::Lxd).then_some(LXD_NETWORKS),
            ..cannot(&format!("change the network {}", self.network), network)
        });
        Ok(proofs)
    }

    /// Tries to make an empty instance that is never started, and removes it.
    async fn instance(
        &self,
        client: &Client,
        config: &[(&str, &str)],
        devices: Devices,
    ) -> Result<Found, CommandError> {
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
        let made: Found = found(made.await);
        if made == Found::Allowed {
            // Whatever the holder may do, the administrator may undo.
            let admin = match client.project() {
                Some(project) => self.admin.with_project(project),
                None => self.admin.clone(),
            };
            delete(&admin, &name).await?;
        }
        Ok(made)
    }

    async fn other_project(&self) -> Result<Found, CommandError> {
        let name = format!("capn-probe-{}", std::process::id());
        let post = ProjectsPost { name: name.clone(), put: ProjectPut::default() };
        let made = found(self.holder.create_project(&post).await);
        if made == Found::Allowed {
            self.admin
                .delete_project(&name)
                .await
                .doing(format!("cannot delete project `{name}`, which was made for a try"))?;
        }
        Ok(made)
    }

    async fn other_certificate(&self) -> Result<Found, CommandError> {
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
        if added == Found::Allowed {
            let fingerprint = incus_client::certificate_fingerprint(&minted.certificate)
                .doing("cannot tell the fingerprint of a certificate")?;
            super::tenant::distrust(self.admin, &fingerprint).await?;
        }
        Ok(added)
    }

    /// Removes instances of tries that were cut off.
    async fn clean(&self) -> Result<(), CommandError> {
        let left = InstanceFilter::new().config(PROBE, "true");
        let admin = self.admin.with_project(self.project);
        let instances =
            admin.instances(&left).await.doing("cannot look for instances of earlier tries")?;
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
        Err(error) => {
            Err(error).doing(format!("cannot delete instance `{name}`, which was made for a try"))
        }
    }
}

fn can(what: String, found: Found) -> Proof {
    Proof { what, should: true, found, known: None }
}

fn cannot(what: &str, found: Found) -> Proof {
    Proof { what: what.to_owned(), should: false, found, known: None }
}

/// Words of refusals that do not come with the status that means one. Seen in Incus 6.0 and
/// LXD 5.0.
const REFUSALS: [&str; 6] = [
    "forbidden",
    "not allowed",
    "permission",
    "is restricted",
    "not authorized",
    "reached maximum",
];

fn found<T>(result: Result<T, Error>) -> Found {
    let Err(error) = result else { return Found::Allowed };
    let text = error.server_text().map_or_else(|| error.to_string(), |text| text.trim().to_owned());
    let lower = text.to_lowercase();
    match error.is_forbidden()
        || error.is_not_found()
        || REFUSALS.iter().any(|words| lower.contains(words))
    {
        true => Found::Refused(last_part(&text)),
        false => Found::Unclear(text),
    }
}

/// Servers put what they were at before the reason, with `: ` between.
fn last_part(text: &str) -> String {
    text.rsplit(": ").next().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_out_as_it_should_holds() {
        let refused = Found::Refused("no".into());
        let unclear = Found::Unclear("?".into());
        for (should, result, holds, open) in [
            (true, Found::Allowed, true, false),
            (true, refused.clone(), false, false),
            (false, refused, true, false),
            (false, Found::Allowed, false, true),
            (false, unclear.clone(), false, false),
            (true, unclear, false, false),
        ] {
            let proof = Proof { what: "x".into(), should, found: result, known: None };
            assert_eq!((proof.holds(), proof.is_open()), (holds, open), "{proof:?}");
        }
    }

    #[test]
    fn a_known_gap_is_shown_and_not_taken_for_news() {
        let proof =
            Proof { known: Some("so it is"), ..cannot("change the network", Found::Allowed) };
        assert!(!proof.is_open() && !proof.holds());
        assert_eq!(proof.line(), "can change the network, although it should not: so it is");
    }

    #[test]
    fn a_refusal_is_shown_by_its_reason() {
        let text = "Failed checking if instance creation allowed: Invalid value \"true\" for config \"security.privileged\" on container \"a\" of project \"p\": Privileged containers are forbidden";
        assert_eq!(last_part(text), "Privileged containers are forbidden");
    }
}
