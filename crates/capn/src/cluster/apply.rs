//! Applies manifests to a plane.

use kube::api::{DynamicObject, GetParams, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};
use kube::{Api, Client};

use crate::error::CommandError;
use crate::manifest::Document;

/// Field manager of this command.
const FIELD_MANAGER: &str = "capn";

/// Result of applying a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// The object was created.
    Created,
    /// The object was changed.
    Configured,
    /// The object already matched the document.
    Unchanged,
}

impl Applied {
    /// Returns the word that kubectl uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Applies one document: creates or updates the object. Unknown fields are refused.
///
/// # Errors
///
/// Returns an error if the kind is unknown or the object is refused; the error contains the path of
/// the field.
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

/// Runs [`apply`] as a server-side dry run.
///
/// # Errors
///
/// Like [`apply`].
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

/// Creates the object if it does not exist. An existing object is not changed.
///
/// # Errors
///
/// Like [`apply`].
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

/// Explains why a kind was not found: it may exist in another version.
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
            "{shown} uses {version}, but the plane only has {} in {other}",
            document.kind()
        ))
        .hint(format!("rewrite it for {other}; field names and locations differ")),
        None => {
            let act = format!("{shown} has a kind that the plane does not support ({version})");
            CommandError::caused(act, error)
                .hint("`kubectl api-resources` against `capn serve` lists the kinds")
        }
    }
}

fn refused(document: &Document, error: kube::Error) -> CommandError {
    let act = format!("{} is refused", document.shown());
    match error {
        // The server's message contains the kind, the name and the path of each field.
        kube::Error::Api(status) => CommandError::caused(act, status.message),
        other => CommandError::caused(act, other),
    }
}
