//! Makes a restricted project and a certificate that is limited to it, through a client that may
//! do that. Every step can be done again.

use base64::Engine as _;
use incus_client::api::{
    CertificatePut, CertificatesPost, ProfilePut, Project, ProjectPut, ProjectsPost,
};
use incus_client::{Client, Versioned};

use super::fence::{self, Place, Wishes};
use super::kept::Kept;
use crate::error::{CommandError, Doing as _};

/// What became of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// It is new.
    Made,
    /// It was made for this identity, and is as it should be now.
    Kept,
    /// It is somebody's own and restricted; it stays as it is.
    Foreign,
}

/// The project, if it is there and can be a tenant's.
///
/// # Errors
///
/// When it is neither restricted nor made for this identity.
pub async fn usable(
    admin: &Client,
    identity: &str,
    project: &str,
) -> Result<Option<Versioned<Project>>, CommandError> {
    let found =
        admin.get_project(project).await.doing(format!("cannot look up project `{project}`"))?;
    let Some(found) = found else { return Ok(None) };
    let is_restricted = found.value.config.get("restricted").is_some_and(|value| value == "true");
    if is_restricted || owner(&found.value) == Some(identity) {
        return Ok(Some(found));
    }
    Err(CommandError::new(format!(
        "project `{project}` is there and is not restricted: an identity for it could reach the host"
    ))
    .hint("name a project that is not there: it is made with its restrictions")
    .hint(format!("or restrict this one yourself: `incus project set {project} restricted=true`, with the restricted.* keys that fit")))
}

/// Makes the project, or brings one that was made for this identity into shape.
///
/// # Errors
///
/// When a project of that name is there and not restricted, or the server refuses.
pub async fn project(
    admin: &Client,
    identity: &str,
    project: &str,
    wishes: &Wishes,
    place: &Place,
) -> Result<Fenced, CommandError> {
    let present = usable(admin, identity, project).await?;
    let networks = [place.network.clone()];
    let fenced = match present {
        None => {
            let config = fence::project(identity, None, wishes, &networks);
            let put = ProjectPut {
                description: format!("restricted, for capn identity {identity}"),
                config,
            };
            let post = ProjectsPost { name: project.to_owned(), put };
            match admin.create_project(&post).await {
                Ok(()) => Fenced::Made,
                Err(error) => {
                    return Err(error).doing(format!("cannot make project `{project}`"));
                }
            }
        }
        Some(found) if owner(&found.value) == Some(identity) => {
            let config = fence::project(identity, Some(&found.value.config), wishes, &networks);
            if config != found.value.config {
                let put = ProjectPut { description: found.value.description.clone(), config };
                admin
                    .put_project(project, &put, found.etag.as_deref())
                    .await
                    .doing(format!("cannot change project `{project}`"))?;
            }
            Fenced::Kept
        }
        Some(_) => return Ok(Fenced::Foreign),
    };
    default_profile(&admin.with_project(project), wishes, place).await?;
    Ok(fenced)
}

async fn default_profile(
    tenant: &Client,
    wishes: &Wishes,
    place: &Place,
) -> Result<(), CommandError> {
    let doing = "cannot set up the project's default profile";
    let Some(found) = tenant.profile("default").await.doing(doing)? else {
        return Err(CommandError::caused(doing, "the server made none"));
    };
    let (config, devices) =
        fence::profile(&found.value.config, &found.value.devices, wishes, place);
    if config == found.value.config && devices == found.value.devices {
        return Ok(());
    }
    let put = ProfilePut { description: found.value.description.clone(), config, devices };
    tenant.put_profile("default", &put, found.etag.as_deref()).await.doing(doing)
}

/// The network and pool for the tenant's instances: what is given, else those of the default
/// profile of the default project.
///
/// # Errors
///
/// When neither names both, or the network is not the server's own.
pub async fn place(
    admin: &Client,
    network: Option<&str>,
    pool: Option<&str>,
) -> Result<Place, CommandError> {
    let default = admin.with_project("default");
    let found = default.profile("default").await.doing("cannot read the default profile")?;
    let (profile_network, profile_pool) =
        found.map_or((None, None), |found| fence::place(&found.value.devices));
    let missing = |what: &str, option: &str| {
        CommandError::new(format!("the default profile names no {what} for the tenant's instances"))
            .hint(format!("name one: `{option} NAME`"))
    };
    let network = network
        .map(str::to_owned)
        .or(profile_network)
        .ok_or_else(|| missing("network of the server's own", "--network"))?;
    let pool = pool
        .map(str::to_owned)
        .or(profile_pool)
        .ok_or_else(|| missing("storage pool", "--pool"))?;
    let known = default
        .network(&network)
        .await
        .doing(format!("cannot look at network `{network}`"))?
        .is_some_and(|found| found.value.managed);
    if !known {
        return Err(CommandError::new(format!(
            "network `{network}` is not one that the server manages, and a restricted project can use no other"
        ))
        .hint("see those that are there: `incus network list`"));
    }
    Ok(Place { network, pool })
}

/// Lets the server trust the kept certificate, for one project only.
///
/// # Errors
///
/// When the server refuses.
pub async fn trust(admin: &Client, kept: &Kept, project: &str) -> Result<(), CommandError> {
    let doing = || format!("cannot make the certificate of `{}` known to the server", kept.name);
    let fingerprint = kept.fingerprint()?;
    let name = certificate_name(&kept.name);
    match admin.certificate(&fingerprint).await.doing(doing())? {
        None => {
            let post = CertificatesPost {
                name,
                kind: "client".to_owned(),
                certificate: der_base64(&kept.client_certificate),
                restricted: true,
                projects: vec![project.to_owned()],
                ..CertificatesPost::default()
            };
            admin.add_certificate(&post).await.doing(doing())
        }
        Some(found) if found.value.restricted && found.value.projects == [project] => Ok(()),
        Some(found) => {
            let put = CertificatePut {
                name,
                kind: "client".to_owned(),
                restricted: true,
                projects: vec![project.to_owned()],
                certificate: String::new(),
            };
            admin
                .put_certificate(&fingerprint, &put, found.etag.as_deref())
                .await
                .doing(format!("cannot limit the certificate of `{}` to its project", kept.name))
        }
    }
}

/// Takes the trust in a certificate back. One that is not trusted is no failure; says whether it
/// was.
///
/// # Errors
///
/// When the server refuses.
pub async fn distrust(client: &Client, fingerprint: &str) -> Result<bool, CommandError> {
    match client.delete_certificate(fingerprint).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => {
            Err(error).doing("cannot take the trust in the certificate back").map_err(|error| {
                error.hint(format!(
                    "do it on the server: `incus config trust remove {}`",
                    fingerprint.get(..12).unwrap_or(fingerprint)
                ))
            })
        }
    }
}

/// Deletes the project that was made for an identity, with the images in it. Says whether it was
/// there.
///
/// # Errors
///
/// When it is not the identity's, or instances are in it.
pub async fn remove_project(
    admin: &Client,
    identity: &str,
    project: &str,
) -> Result<bool, CommandError> {
    let doing = || format!("cannot delete project `{project}`");
    let Some(found) = admin.get_project(project).await.doing(doing())? else { return Ok(false) };
    if owner(&found.value) != Some(identity) {
        return Err(CommandError::new(format!(
            "project `{project}` was not made for identity `{identity}`, so it stays"
        ))
        .hint("leave out `--with-project`"));
    }
    let tenant = admin.with_project(project);
    let instances = tenant.instances(&Default::default()).await.doing(doing())?;
    if !instances.is_empty() {
        let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        return Err(CommandError::caused(
            doing(),
            format!("it has instances: {}", names.join(", ")),
        )
        .hint("delete their clusters first"));
    }
    for image in tenant.images().await.doing(doing())? {
        let deletion = tenant.delete_image(&image.fingerprint).await.doing(doing())?;
        deletion.wait(std::time::Duration::from_secs(60)).await.doing(doing())?;
    }
    match admin.delete_project(project).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error).doing(doing()),
    }
}

/// The identity that a project was made for.
fn owner(project: &Project) -> Option<&str> {
    project.config.get(fence::OWNER).map(String::as_str)
}

/// How the server's list of certificates shows the identity.
pub fn certificate_name(identity: &str) -> String {
    format!("capn-{identity}")
}

/// The form in which the API takes a certificate: PEM without its first and last line.
fn der_base64(pem: &str) -> String {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    // What is not base64 is refused by the server with its own words.
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(&body).map_or(body, |der| engine.encode(der))
}
