//! What has to be right before boot data can be made. Pure.

use std::collections::BTreeMap;

use capi_api::KubeadmConfig;
use capi_api::bootstrap::{Encoding, FileContentFormat, Format, SecretKeySource, User};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::observe::{Inputs, Observed};
use super::render::cloud_config::TextFile;
use super::render::documents::ApiVersion;
use crate::objects;

/// A KubeadmConfig for which boot data can be made, with everything looked up.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    /// API version that the kubeadm on the machine reads.
    pub(super) api: ApiVersion,
    /// `spec.files` with their contents.
    pub(super) files: Vec<TextFile>,
    /// `spec.users` with their passwords.
    pub(super) users: Vec<User>,
}

/// What a user has to change; a sentence that names the field or the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Problem(pub(super) String);

/// Checks a KubeadmConfig. Everything that was read is looked at, nothing else.
pub(super) fn validate(config: &KubeadmConfig, seen: &Observed) -> Result<Valid, Problem> {
    if config.spec.format == Some(Format::Ignition) {
        return problem("spec.format: ignition is not supported; use cloud-config");
    }
    let Some(machine) = &seen.machine else {
        // Nothing is made before there is a machine; the plan says so.
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
        return problem(format!("Kubernetes {version} is too old; 1.22 is the oldest one"));
    };
    let joins_control_plane =
        config.spec.join_configuration.as_ref().is_some_and(|join| join.control_plane.is_some());
    if joins_control_plane && !machine.is_control_plane() {
        return problem("spec.joinConfiguration.controlPlane is set, but the Machine is a worker");
    }
    if machine.spec.bootstrap.data_secret_name.is_some() || super::observe::is_created(config) {
        return Ok(Valid { api, files: Vec::new(), users: Vec::new() });
    }
    Ok(Valid { api, files: files(config, &seen.inputs)?, users: users(config, &seen.inputs)? })
}

fn files(config: &KubeadmConfig, inputs: &Inputs) -> Result<Vec<TextFile>, Problem> {
    let mut files = Vec::new();
    for (index, file) in config.spec.files.iter().enumerate() {
        if file.content_format == Some(FileContentFormat::Template) {
            return problem(format!(
                "spec.files[{index}].contentFormat: Template is not supported; use Raw"
            ));
        }
        let mut text = TextFile {
            path: file.path.clone(),
            owner: file.owner.clone(),
            permissions: file.permissions.clone(),
            encoding: file.encoding,
            append: file.append == Some(true),
            content: file.content.clone().unwrap_or_default(),
        };
        if let Some(source) = &file.content_from {
            let field = format!("spec.files[{index}].contentFrom.secret");
            let bytes = lookup(&inputs.secrets, &source.secret, &field)?;
            (text.content, text.encoding) = as_text(bytes, file.encoding);
        }
        files.push(text);
    }
    Ok(files)
}

/// Bytes as text; what is none is sent as base64, which the node undoes.
fn as_text(bytes: &ByteString, encoding: Option<Encoding>) -> (String, Option<Encoding>) {
    use base64::Engine as _;
    match std::str::from_utf8(&bytes.0) {
        Ok(text) => (text.to_owned(), encoding),
        Err(_) => {
            let encoding = match encoding {
                Some(Encoding::Gzip | Encoding::GzipBase64) => Encoding::GzipBase64,
                Some(Encoding::Base64) | None => Encoding::Base64,
            };
            (base64::engine::general_purpose::STANDARD.encode(&bytes.0), Some(encoding))
        }
    }
}

fn users(config: &KubeadmConfig, inputs: &Inputs) -> Result<Vec<User>, Problem> {
    let mut users = Vec::new();
    for (index, user) in config.spec.users.iter().enumerate() {
        let mut user = user.clone();
        if let Some(source) = user.passwd_from.take() {
            let field = format!("spec.users[{index}].passwdFrom.secret");
            let bytes = lookup(&inputs.secrets, &source.secret, &field)?;
            let Ok(text) = std::str::from_utf8(&bytes.0) else {
                return problem(format!("{field}: the password is not text"));
            };
            user.passwd = Some(text.trim_end_matches('\n').to_owned());
        }
        users.push(user);
    }
    Ok(users)
}

fn lookup<'a>(
    secrets: &'a BTreeMap<String, Option<Secret>>,
    source: &SecretKeySource,
    field: &str,
) -> Result<&'a ByteString, Problem> {
    let SecretKeySource { name, key } = source;
    let Some(secret) = secrets.get(name).and_then(Option::as_ref) else {
        return problem(format!("{field}: the Secret {name} does not exist"));
    };
    match secret.data.as_ref().and_then(|data| data.get(key)) {
        Some(bytes) => Ok(bytes),
        None => problem(format!("{field}: the Secret {name} has no key {key}")),
    }
}

fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem(text.into()))
}
