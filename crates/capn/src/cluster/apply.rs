//! Writing manifests into a plane.

use kube::api::{DynamicObject, GetParams, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};
use kube::{Api, Client};

use crate::error::CommandError;
use crate::manifest::Document;

/// Who writes, for the plane's records.
const FIELD_MANAGER: &str = "capn";

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// The object is new.
    Created,
    /// The object was changed.
    Configured,
    /// The object was as the document says.
    Unchanged,
}

impl Applied {
    /// The word, as kubectl says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Applies one document: creates the object or changes it into what the document says.
/// Fields the kind does not have are refused.
///
/// # Errors
///
/// When the kind is unknown, or the object is refused; with the path of the field.
pub async fn apply(
    client: &Client,
    document: &Document,
    namespace: &str,
) -> Result<Applied, CommandError> {
    let api = api_for(client, document, namespace).await?;
    let before = get(&api, document).await?;
    let after = patch(&api, document, false).await?;
    Ok(match before {
        None => Applied::Created,
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => {
            Applied::Unchanged
        }
        Some(_) => Applied::Configured,
    })
}

/// Asks the plane whether [`apply`] of a document would succeed, and writes nothing.
///
/// # Errors
///
/// As [`apply`].
pub async fn check(
    client: &Client,
    document: &Document,
    namespace: &str,
) -> Result<(), CommandError> {
    let api = api_for(client, document, namespace).await?;
    patch(&api, document, true).await.map(drop)
}

async fn patch(
    api: &Api<DynamicObject>,
    document: &Document,
    dry_run: bool,
) -> Result<DynamicObject, CommandError> {
    let params = PatchParams {
        dry_run,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply(FIELD_MANAGER).force()
    };
    api.patch(document.name(), &params, &Patch::Apply(document.value()))
        .await
        .map_err(|error| refused(document, error))
}

/// Creates the object unless it is there; an object that is there stays as it is.
///
/// # Errors
///
/// As [`apply`].
pub async fn create_missing(
    client: &Client,
    document: &Document,
    namespace: &str,
) -> Result<Applied, CommandError> {
    let api = api_for(client, document, namespace).await?;
    match get(&api, document).await? {
        Some(_) => Ok(Applied::Unchanged),
        None => apply(client, document, namespace).await,
    }
}

async fn get(
    api: &Api<DynamicObject>,
    document: &Document,
) -> Result<Option<DynamicObject>, CommandError> {
    match api.get_with(document.name(), &GetParams::default()).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => {
            Err(CommandError::caused(format!("cannot look up {}", document.shown()), error))
        }
    }
}

async fn api_for(
    client: &Client,
    document: &Document,
    namespace: &str,
) -> Result<Api<DynamicObject>, CommandError> {
    let gvk = GroupVersionKind::gvk(document.group(), document.version(), document.kind());
    let found = discovery::pinned_kind(client, &gvk).await;
    let (resource, capabilities): (ApiResource, _) = match found {
        Ok(found) => found,
        Err(error) => return Err(unknown(client, document, error).await),
    };
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(
            client.clone(),
            document.namespace().unwrap_or(namespace),
            &resource,
        ),
    })
}

/// Why a kind is not found: in another version it may be there.
async fn unknown(client: &Client, document: &Document, error: kube::Error) -> CommandError {
    let group = discovery::group(client, document.group()).await;
    let other = group.ok().and_then(|group| {
        let all = group.recommended_resources();
        let found = all.into_iter().find(|(resource, _)| resource.kind == document.kind());
        found.map(|(resource, _)| resource.api_version)
    });
    let (shown, version) = (document.shown(), document.api_version());
    match other {
        Some(other) => CommandError::new(format!(
            "{shown} is of {version}, and the plane has {} as {other} only",
            document.kind()
        ))
        .hint(format!("write it for {other}; fields have other names and places there")),
        None => {
            let act = format!("{shown} is of a kind that the plane does not have ({version})");
            CommandError::caused(act, error)
                .hint("`kubectl api-resources` against `capn serve` lists the kinds")
        }
    }
}

fn refused(document: &Document, error: kube::Error) -> CommandError {
    let act = format!("{} is refused", document.shown());
    match error {
        // The text of the server is the whole story: kind, name and the path of each field.
        kube::Error::Api(status) => CommandError::caused(act, status.message),
        other => CommandError::caused(act, other),
    }
}
