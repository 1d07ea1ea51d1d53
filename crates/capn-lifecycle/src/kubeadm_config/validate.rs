//! Validates a KubeadmConfig before bootstrap data is created. Pure.

use capi_api::KubeadmConfig;
use capi_api::bootstrap::User;

use super::files::{Budget, files, lookup};
use super::observe::{Inputs, Observed, SECRETS_BYTES};
use super::render::cloud_config::TextFile;
use super::render::documents::ApiVersion;
use crate::objects;

/// A validated KubeadmConfig with resolved references.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    /// API version for the kubeadm on the machine.
    pub(super) api: ApiVersion,
    /// `spec.files` with their contents.
    pub(super) files: Vec<TextFile>,
    /// `spec.users` with their passwords.
    pub(super) users: Vec<User>,
}

/// A problem that a user must fix. The message names the field or the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Problem(pub(super) String);

/// Validates a KubeadmConfig with the objects that were read.
pub(super) fn validate(config: &KubeadmConfig, seen: &Observed) -> Result<Valid, Problem> {
    let Some(machine) = &seen.machine else {
        // Nothing is created before there is a machine; the plan reports it.
        return Ok(Valid { api: ApiVersion::V1Beta4, files: Vec::new(), users: Vec::new() });
    };
    let Some(version) = &machine.spec.version else {
        return problem(
            "spec.version of the Machine is not set; kubeadm's configuration depends on it",
        );
    };
    let Some(parsed) = objects::version(version) else {
        return problem(format!("spec.version of the Machine: {version} is not a version"));
    };
    let Some(api) = ApiVersion::of(&parsed) else {
        return problem(format!("Kubernetes {version} is too old; 1.22 or later is required"));
    };
    let joins_control_plane =
        config.spec.join_configuration.as_ref().is_some_and(|join| join.control_plane.is_some());
    if joins_control_plane && !machine.is_control_plane() {
        return problem("spec.joinConfiguration.controlPlane is set, but the Machine is a worker");
    }
    if !super::observe::needs_data(config, Some(machine), seen.pool) {
        return Ok(Valid { api, files: Vec::new(), users: Vec::new() });
    }
    if seen.inputs.has_large_secrets {
        return problem(format!(
            "the Secrets that spec.files and spec.users name have more than {SECRETS_BYTES} bytes together"
        ));
    }
    let mut budget = Budget::default();
    let files = files(config, &seen.inputs, &mut budget)?;
    let users = users(config, &seen.inputs, &mut budget)?;
    Ok(Valid { api, files, users })
}

fn users(
    config: &KubeadmConfig,
    inputs: &Inputs,
    budget: &mut Budget,
) -> Result<Vec<User>, Problem> {
    let mut users = Vec::new();
    for (index, user) in config.spec.users.iter().enumerate() {
        let mut user = user.clone();
        if let Some(source) = user.passwd_from.take() {
            let field = format!("spec.users[{index}].passwdFrom.secret");
            let bytes = lookup(&inputs.secrets, &source.secret, &field)?;
            let Ok(text) = std::str::from_utf8(&bytes.0) else {
                return problem(format!("{field}: the password is not text"));
            };
            budget.take(text.len(), &field)?;
            user.passwd = Some(text.trim_end_matches('\n').to_owned());
        }
        users.push(user);
    }
    Ok(users)
}

/// Returns an error that the user has to fix.
pub(super) fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem(text.into()))
}
