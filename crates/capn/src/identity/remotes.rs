//! Remotes in the configuration of the `incus` or `lxc` client.

use std::collections::BTreeMap;

use camino::Utf8Path;
use capn_controller::workload::Reach;
use serde::Deserialize;

use super::Identity;
use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};

/// The part of `config.yml` that capn reads.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    remotes: BTreeMap<String, Remote>,
}

#[derive(Debug, Deserialize)]
struct Remote {
    #[serde(default)]
    addr: String,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    public: bool,
}

/// Returns the identity for a remote, from the first configuration that has it.
pub(super) fn find(
    environment: &Environment,
    name: &str,
    project: Option<&str>,
) -> Result<Identity, CommandError> {
    let mut looked_at = Vec::new();
    let mut known = Vec::new();
    for dir in environment.client_configs() {
        let path = dir.join("config.yml");
        let Some(config) = read(&path)? else { continue };
        if let Some(remote) = config.remotes.get(name) {
            return identity(&dir, name, remote, project);
        }
        known.extend(config.remotes.into_keys());
        looked_at.push(path);
    }
    let error = match looked_at.as_slice() {
        [] => CommandError::new(format!(
            "remote `{name}` does not exist: no configuration of the `incus` or `lxc` client was found"
        )),
        paths => {
            let paths: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
            CommandError::new(format!("remote `{name}` does not exist in {}", paths.join(", ")))
        }
    };
    known.sort();
    known.dedup();
    let error = if known.is_empty() {
        error
    } else {
        error.hint(format!("available remotes: {}", known.join(", ")))
    };
    Err(error.hint(format!("add it: `incus remote add {name} https://HOST:8443`")))
}

/// Names of remotes that are reached over the network and can run instances.
pub(super) fn with_address(environment: &Environment) -> Vec<String> {
    let mut found = Vec::new();
    for dir in environment.client_configs() {
        // Only used for suggestions, so read errors are ignored here.
        let text = std::fs::read_to_string(dir.join("config.yml")).unwrap_or_default();
        let Ok(config) = serde_saphyr::from_str::<Config>(&text) else { continue };
        let usable = config.remotes.into_iter().filter(|(name, remote)| {
            remote.addr.starts_with("https://") && identity(&dir, name, remote, None).is_ok()
        });
        found.extend(usable.map(|(name, _)| name));
    }
    found.sort();
    found.dedup();
    found
}

/// Reads a client configuration, if it exists.
fn read(path: &Utf8Path) -> Result<Option<Config>, CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_saphyr::from_str(&text).map(Some).doing(format!("cannot parse {path}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(format!("cannot read {path}")),
    }
}

/// The remote that both clients know without any configuration.
const BUILT_IN: (&str, &str) = ("images", capn_image::catalog::LINUX_CONTAINERS);

/// Returns the URL of a simplestreams remote, from the first configuration that has the remote.
pub(super) fn image_server(
    environment: &Environment,
    name: &str,
) -> Result<Option<String>, CommandError> {
    for dir in environment.client_configs() {
        let Some(config) = read(&dir.join("config.yml"))? else { continue };
        if let Some(remote) = config.remotes.get(name) {
            let is_one = remote.protocol.as_deref() == Some("simplestreams");
            return Ok(is_one.then(|| remote.addr.clone()));
        }
    }
    Ok((name == BUILT_IN.0).then(|| BUILT_IN.1.to_owned()))
}

fn identity(
    dir: &Utf8Path,
    name: &str,
    remote: &Remote,
    project: Option<&str>,
) -> Result<Identity, CommandError> {
    let project = project.or(remote.project.as_deref()).filter(|project| !project.is_empty());
    if let Some(path) = remote.addr.strip_prefix("unix://") {
        return Ok(Identity::unix(Utf8Path::new(path), project));
    }
    let images_only =
        remote.public || matches!(remote.protocol.as_deref(), Some("simplestreams" | "oci"));
    if images_only || !remote.addr.starts_with("https://") {
        return Err(CommandError::new(format!(
            "remote `{name}` ({}) only serves images and cannot run instances",
            remote.addr
        )));
    }
    let server_certificate = optional(&dir.join("servercerts").join(format!("{name}.crt")))?;
    Ok(Identity {
        server: remote.addr.trim_end_matches('/').to_owned(),
        server_certificate,
        client_certificate: Some(required(dir, "client.crt", name)?),
        client_key: Some(required(dir, "client.key", name)?),
        project: project.map(str::to_owned),
        reach: Reach::ThisMachine,
    })
}

fn required(dir: &Utf8Path, file: &str, name: &str) -> Result<String, CommandError> {
    let path = dir.join(file);
    std::fs::read_to_string(&path)
        .doing(format!("cannot read {path}, the client certificate or key for remote `{name}`"))
        .map_err(|error| {
            error.hint(format!("create one: `incus remote add {name} https://HOST:8443`"))
        })
}

/// Reads an optional file: a server with a publicly trusted certificate has no pinned one.
fn optional(path: &Utf8Path) -> Result<Option<String>, CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(format!("cannot read {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(config: &str) -> (tempfile::TempDir, Environment) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".config/incus");
        std::fs::create_dir_all(dir.join("servercerts")).unwrap();
        std::fs::write(dir.join("config.yml"), config).unwrap();
        for (file, text) in
            [("client.crt", "CRT"), ("client.key", "KEY"), ("servercerts/lab.crt", "SERVER")]
        {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let environment = Environment::with([("HOME", home.path().to_str().unwrap())]);
        (home, environment)
    }

    const CONFIG: &str = "default-remote: local\nremotes:\n  \
        lab:\n    addr: https://192.0.2.1:8443\n    auth_type: tls\n    project: nodes\n    \
        protocol: incus\n    public: false\n  \
        images:\n    addr: https://images.linuxcontainers.org\n    protocol: simplestreams\n    \
        public: true\n";

    #[test]
    fn a_remote_gives_address_project_and_certificates() {
        let (_home, environment) = home(CONFIG);
        let identity = find(&environment, "lab", None).unwrap();
        assert_eq!(identity.server, "https://192.0.2.1:8443");
        assert_eq!(identity.project.as_deref(), Some("nodes"));
        assert_eq!(identity.server_certificate.as_deref(), Some("SERVER"));
        assert_eq!(identity.client_key.as_deref(), Some("KEY"));
        let other = find(&environment, "lab", Some("other")).unwrap();
        assert_eq!(other.project.as_deref(), Some("other"));
    }

    #[test]
    fn an_image_server_is_refused() {
        let (_home, environment) = home(CONFIG);
        let error = find(&environment, "images", None).unwrap_err();
        assert!(error.to_string().contains("only serves images"), "{error}");
    }

    #[test]
    fn only_remotes_that_can_run_instances_are_suggested() {
        let (_home, environment) = home(CONFIG);
        assert_eq!(with_address(&environment), ["lab"]);
    }

    #[test]
    fn an_unknown_remote_lists_those_that_are_there() {
        let (_home, environment) = home(CONFIG);
        let text = find(&environment, "labb", None).unwrap_err().render(|_, text| text.into());
        assert!(text.contains("available remotes: images, lab"), "{text}");
    }
}
