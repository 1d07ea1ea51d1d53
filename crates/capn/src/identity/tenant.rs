//! Creates a restricted project and a certificate that is limited to it. Uses an administrator's
//! client; every step is idempotent.

use base64::Engine as _;
use incus_client::api::{
    CertificatePut, CertificatesPost, ProfilePut, Project, ProjectPut, ProjectsPost,
};
use incus_client::{Client, Versioned};

use super::restrictions::{self, NetworkAndPool, TenantOptions};
use super::stored::StoredIdentity;
use crate::error::{CommandError, Doing as _};

/// What was done with the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectOutcome {
    /// It was created.
    Created,
    /// It was created earlier for this identity, and is up to date.
    Reused,
    /// It has another owner and is restricted; it is not changed.
    Foreign,
}

/// Returns the project, if it exists and is suitable for a tenant.
///
/// # Errors
///
/// Returns an error if it is neither restricted nor created for this identity.
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
        "project `{project}` exists and is not restricted, so an identity for it could access the host"
    ))
    .hint("use a project name that does not exist yet: capn creates it with restrictions")
    .hint(format!("or restrict this one yourself: `incus project set {project} restricted=true`, plus the restricted.* keys you need")))
}

/// Creates the project, or updates one that was created for this identity.
///
/// # Errors
///
/// Returns an error if an unrestricted project with that name exists, or if the server refuses the
/// change.
pub async fn project(
    admin: &Client,
    identity: &str,
    project: &str,
    options: &TenantOptions,
    network_and_pool: &NetworkAndPool,
) -> Result<ProjectOutcome, CommandError> {
    let present = usable(admin, identity, project).await?;
    let networks = [network_and_pool.network.clone()];
    let outcome = match present {
        None => {
            let config = restrictions::project(identity, None, options, &networks);
            let put = ProjectPut {
                description: format!("restricted, for capn identity {identity}"),
                config,
            };
            let post = ProjectsPost { name: project.to_owned(), put };
            match admin.create_project(&post).await {
                Ok(()) => ProjectOutcome::Created,
                Err(error) => {
                    return Err(error).doing(format!("cannot create project `{project}`"));
                }
            }
        }
        Some(found) if owner(&found.value) == Some(identity) => {
            let config =
                restrictions::project(identity, Some(&found.value.config), options, &networks);
            if config != found.value.config {
                let put = ProjectPut { description: found.value.description.clone(), config };
                admin
                    .put_project(project, &put, found.etag.as_deref())
                    .await
                    .doing(format!("cannot change project `{project}`"))?;
            }
            ProjectOutcome::Reused
        }
        Some(_) => return Ok(ProjectOutcome::Foreign),
    };
    default_profile(&admin.with_project(project), options, network_and_pool).await?;
    Ok(outcome)
}

async fn default_profile(
    tenant: &Client,
    options: &TenantOptions,
    network_and_pool: &NetworkAndPool,
) -> Result<(), CommandError> {
    let doing = "cannot set up the project's default profile";
    let Some(found) = tenant.profile("default").await.doing(doing)? else {
        return Err(CommandError::caused(doing, "the server did not create one"));
    };
    let (config, devices) =
        restrictions::profile(&found.value.config, &found.value.devices, options, network_and_pool);
    if config == found.value.config && devices == found.value.devices {
        return Ok(());
    }
    let put = ProfilePut { description: found.value.description.clone(), config, devices };
    tenant.put_profile("default", &put, found.etag.as_deref()).await.doing(doing)
}

/// Returns the network and storage pool for the tenant's instances: the given ones, or those of the
/// default profile in the default project.
///
/// # Errors
///
/// Returns an error if one of them is unknown, or if the server does not manage the network.
pub async fn network_and_pool(
    admin: &Client,
    network: Option<&str>,
    pool: Option<&str>,
) -> Result<NetworkAndPool, CommandError> {
    let default = admin.with_project("default");
    let found = default.profile("default").await.doing("cannot read the default profile")?;
    let (profile_network, profile_pool) =
        found.map_or((None, None), |found| restrictions::network_and_pool(&found.value.devices));
    let missing = |what: &str, option: &str| {
        CommandError::new(format!("the default profile has no {what} for the tenant's instances"))
            .hint(format!("set one: `{option} NAME`"))
    };
    let network = network
        .map(str::to_owned)
        .or(profile_network)
        .ok_or_else(|| missing("network that the server manages", "--network"))?;
    let pool = pool
        .map(str::to_owned)
        .or(profile_pool)
        .ok_or_else(|| missing("storage pool", "--pool"))?;
    let known = default
        .network(&network)
        .await
        .doing(format!("cannot read network `{network}`"))?
        .is_some_and(|found| found.value.managed);
    if !known {
        return Err(CommandError::new(format!(
            "network `{network}` is not managed by the server, and a restricted project can only use managed networks"
        ))
        .hint("list networks: `incus network list`"));
    }
    Ok(NetworkAndPool { network, pool })
}

/// Adds the stored certificate to the server's trust store, limited to one project.
///
/// # Errors
///
/// Returns an error if the server refuses.
pub async fn trust(
    admin: &Client,
    stored: &StoredIdentity,
    project: &str,
) -> Result<(), CommandError> {
    let doing =
        || format!("cannot add the certificate of `{}` to the server's trust store", stored.name);
    let fingerprint = stored.fingerprint()?;
    let name = certificate_name(&stored.name);
    match admin.certificate(&fingerprint).await.doing(doing())? {
        None => {
            let post = CertificatesPost {
                name,
                kind: "client".to_owned(),
                certificate: der_base64(&stored.client_certificate),
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
            admin.put_certificate(&fingerprint, &put, found.etag.as_deref()).await.doing(format!(
                "cannot restrict the certificate of `{}` to its project",
                stored.name
            ))
        }
    }
}

/// Revokes a certificate. Returns whether it was trusted; an untrusted one is not an error.
///
/// # Errors
///
/// Returns an error if the server refuses.
pub async fn distrust(client: &Client, fingerprint: &str) -> Result<bool, CommandError> {
    match client.delete_certificate(fingerprint).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error).doing("cannot revoke the certificate").map_err(|error| {
            error.hint(format!(
                "revoke it on the server: `incus config trust remove {}`",
                fingerprint.get(..12).unwrap_or(fingerprint)
            ))
        }),
    }
}

/// Deletes the project that was created for an identity, including its images. Returns whether it
/// existed.
///
/// # Errors
///
/// Returns an error if the project does not belong to the identity, or if it contains instances.
pub async fn remove_project(
    admin: &Client,
    identity: &str,
    project: &str,
) -> Result<bool, CommandError> {
    let doing = || format!("cannot delete project `{project}`");
    let Some(found) = admin.get_project(project).await.doing(doing())? else { return Ok(false) };
    if owner(&found.value) != Some(identity) {
        return Err(CommandError::new(format!(
            "project `{project}` was not created for identity `{identity}`, so it is kept"
        ))
        .hint("omit `--with-project`"));
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

/// Returns the identity that a project was created for.
fn owner(project: &Project) -> Option<&str> {
    project.config.get(restrictions::OWNER).map(String::as_str)
}

/// Returns the name of the identity in the server's trust store.
pub fn certificate_name(identity: &str) -> String {
    format!("capn-{identity}")
}

/// Returns the certificate as the API expects it: PEM without its first and last line.
fn der_base64(pem: &str) -> String {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    // The server rejects invalid base64 with its own message.
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(&body).map_or(body, |der| engine.encode(der))
}
