//! Settings of the programs in nodes. Only a configuration file can set them.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Maximum size of all files and drop-ins of a node in bytes: they are part of its bootstrap data.
const MAX_BYTES: usize = 48 << 10;
/// Maximum size of a file in bytes; the limit of KubeadmConfig.
const MAX_FILE: usize = 10 << 10;
/// Maximum number of list entries.
const MAX_ENTRIES: usize = 100;

/// Settings of the programs in nodes. Unset fields have the defaults of capn and kubeadm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Settings {
    /// Fields of the KubeletConfiguration on all nodes. They are applied as a patch to the
    /// configuration of kubeadm and capn.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub kubelet: Map<String, Value>,
    /// Settings of the API servers.
    #[serde(skip_serializing_if = "ApiServer::is_empty")]
    pub api_server: ApiServer,
    /// Settings of containerd on all nodes.
    #[serde(skip_serializing_if = "Containerd::is_empty")]
    pub containerd: Containerd,
    /// Container registries with mirrors, credentials or other settings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<Registry>,
    /// HTTP proxy of containerd and kubelet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Files on all nodes, written before kubeadm runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<NodeFile>,
    /// Commands on all nodes, run as root in a shell before kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_kubeadm_commands: Vec<String>,
    /// Commands on all nodes, run after kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_kubeadm_commands: Vec<String>,
}

/// Settings of the API servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct ApiServer {
    /// Flags of kube-apiserver without their dashes, for example audit-log-maxage: "7".
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_args: BTreeMap<String, String>,
}

impl ApiServer {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings of containerd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Containerd {
    /// Additional containerd configuration (TOML), by name; each is written to
    /// /etc/containerd/conf.d/NAME.toml.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drop_ins: BTreeMap<String, String>,
}

impl Containerd {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A container registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Registry {
    /// The registry in image names, for example docker.io or registry.example.org:5000.
    pub host: String,
    /// Mirrors to pull from, tried in this order before the registry itself. An http:// URL uses no
    /// TLS.
    pub mirrors: Vec<String>,
    /// Do not verify the TLS certificates of the mirrors.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_verify: bool,
    /// File on this machine, with mode 0600, that contains one line USER:PASSWORD for all mirrors.
    /// The credentials are stored in a Secret, and on nodes in a file that only root can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub credentials_file: Option<Utf8PathBuf>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Proxy {
    /// URL of the proxy for http:// (HTTP_PROXY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// URL of the proxy for https:// (HTTPS_PROXY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// Destinations that bypass the proxy (NO_PROXY). The ranges of pods and Services, the networks
    /// of the node and the cluster domain are added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
}

/// A file on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct NodeFile {
    /// Absolute path of the file on the node.
    pub path: String,
    /// Content of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// File on this machine with the content, instead of `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source: Option<Utf8PathBuf>,
    /// Octal file mode [default: "0644"].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// Owner as USER:GROUP [default: root:root].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Settings {
    /// Returns whether no setting is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the settings with unset fields taken from `recorded`.
    #[must_use]
    pub fn over(&self, recorded: &Self) -> Self {
        fn pick<T: Clone + Default + PartialEq>(given: &T, recorded: &T) -> T {
            if *given == T::default() { recorded.clone() } else { given.clone() }
        }
        Self {
            kubelet: pick(&self.kubelet, &recorded.kubelet),
            api_server: pick(&self.api_server, &recorded.api_server),
            containerd: pick(&self.containerd, &recorded.containerd),
            registries: pick(&self.registries, &recorded.registries),
            proxy: pick(&self.proxy, &recorded.proxy),
            files: pick(&self.files, &recorded.files),
            pre_kubeadm_commands: pick(&self.pre_kubeadm_commands, &recorded.pre_kubeadm_commands),
            post_kubeadm_commands: pick(
                &self.post_kubeadm_commands,
                &recorded.post_kubeadm_commands,
            ),
        }
    }

    /// Validates everything that does not require reading files of this machine.
    ///
    /// # Errors
    ///
    /// Returns the path of the field and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        for key in ["apiVersion", "kind", "maxPods"] {
            if self.kubelet.contains_key(key) {
                return Err(match key {
                    "maxPods" => "kubelet.maxPods: use `machines.maxPods` instead, which also \
                                  reserves IDs on isolated nodes"
                        .to_owned(),
                    _ => format!("kubelet.{key}: capn sets this field; remove it"),
                });
            }
        }
        for name in self.api_server.extra_args.keys() {
            let is_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.starts_with('-') || !name.chars().all(is_flag) {
                return Err(format!(
                    "apiServer.extraArgs.{name}: expected a flag without its dashes"
                ));
            }
        }
        for name in self.containerd.drop_ins.keys() {
            if !is_file_name(name) {
                return Err(format!(
                    "containerd.dropIns.{name}: the name may only contain letters, digits, `-` and `_`"
                ));
            }
        }
        for (index, registry) in self.registries.iter().enumerate() {
            registry.check().map_err(|problem| format!("registries[{index}].{problem}"))?;
        }
        if let Some(proxy) = &self.proxy {
            proxy.check().map_err(|problem| format!("proxy.{problem}"))?;
        }
        for (index, file) in self.files.iter().enumerate() {
            file.check().map_err(|problem| format!("files[{index}].{problem}"))?;
        }
        self.bounds()
    }

    fn bounds(&self) -> Result<(), String> {
        for (list, length) in [
            ("registries", self.registries.len()),
            ("files", self.files.len()),
            ("preKubeadmCommands", self.pre_kubeadm_commands.len()),
            ("postKubeadmCommands", self.post_kubeadm_commands.len()),
        ] {
            if length > MAX_ENTRIES {
                return Err(format!("{list}: more than {MAX_ENTRIES} entries"));
            }
        }
        let of_files = self.files.iter().filter_map(|file| file.content.as_deref());
        let drop_ins = self.containerd.drop_ins.values().map(String::as_str);
        let commands = self.pre_kubeadm_commands.iter().chain(&self.post_kubeadm_commands);
        let mut sum = 0_usize;
        for text in of_files.chain(drop_ins).chain(commands.map(String::as_str)) {
            if text.len() > MAX_FILE {
                return Err(format!(
                    "each file, drop-in and command can have at most {MAX_FILE} bytes"
                ));
            }
            sum = sum.saturating_add(text.len());
        }
        match sum > MAX_BYTES {
            true => Err(format!("files, drop-ins and commands exceed {MAX_BYTES} bytes in total")),
            false => Ok(()),
        }
    }

    /// Returns the key of a registry's `hosts.toml` in the Secret of the cluster's registries.
    pub fn secret_key(host: &str) -> String {
        format!("{}.toml", host.replace(':', "_"))
    }
}

fn is_file_name(name: &str) -> bool {
    let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= 63 && name.chars().all(is_char)
}

/// Returns whether text can be used in double quotes of TOML or systemd without escaping.
fn is_plain(text: &str) -> bool {
    let is_char = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '\'' | '$' | '`');
    !text.is_empty() && text.len() <= 512 && text.chars().all(is_char)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or(text.strip_prefix("https://"));
    is_plain(text) && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

impl Registry {
    fn check(&self) -> Result<(), String> {
        let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
        let host = self.host.as_str();
        if host.is_empty()
            || host.len() > 253
            || host.starts_with('.')
            || !host.chars().all(is_char)
        {
            return Err("host: expected a host name with an optional port".to_owned());
        }
        if self.mirrors.is_empty() || self.mirrors.len() > MAX_ENTRIES {
            return Err("mirrors: at least one is required".to_owned());
        }
        for (index, mirror) in self.mirrors.iter().enumerate() {
            if !is_url(mirror) {
                return Err(format!(
                    "mirrors[{index}]: expected a URL such as https://mirror.example.org"
                ));
            }
            if mirror.contains('@') {
                return Err(format!("mirrors[{index}]: use `credentialsFile` for credentials"));
            }
        }
        Ok(())
    }
}

impl Proxy {
    fn check(&self) -> Result<(), String> {
        if self.http.is_none() && self.https.is_none() {
            return Err("http: set a proxy here or in `https`".to_owned());
        }
        for (field, url) in [("http", &self.http), ("https", &self.https)] {
            let Some(url) = url else { continue };
            if !is_url(url) {
                return Err(format!(
                    "{field}: expected a URL such as http://proxy.example.org:3128"
                ));
            }
            // It would appear in objects and files that everybody can read.
            if url.contains('@') {
                return Err(format!("{field}: a proxy with a password is not supported"));
            }
        }
        match self.no_proxy.iter().position(|entry| !is_plain(entry) || entry.contains(',')) {
            Some(index) => Err(format!("noProxy[{index}]: expected a host, a domain or a range")),
            None => Ok(()),
        }
    }
}

impl NodeFile {
    fn check(&self) -> Result<(), String> {
        let path = self.path.as_str();
        let is_clean = path.starts_with('/')
            && path.len() <= 512
            && !path.ends_with('/')
            && !path.split('/').any(|part| part == ".." || part == ".")
            && !path.chars().any(char::is_control);
        if !is_clean {
            return Err("path: expected an absolute path without `.` and `..`".to_owned());
        }
        if self.content.is_none() == self.source.is_none() {
            return Err("content: set either `content` or `source`".to_owned());
        }
        let is_octal = |mode: &str| {
            (3..=4).contains(&mode.len()) && mode.chars().all(|c| ('0'..='7').contains(&c))
        };
        if self.permissions.as_deref().is_some_and(|mode| !is_octal(mode)) {
            return Err("permissions: expected a quoted octal mode such as \"0644\"".to_owned());
        }
        if self.owner.as_deref().is_some_and(|owner| !is_plain(owner)) {
            return Err("owner: expected USER:GROUP".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Settings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn invalid_settings_are_named_by_path() {
        let registry =
            |mirror: &str| json!({ "registries": [{ "host": "docker.io", "mirrors": [mirror] }] });
        for (value, problem) in [
            (json!({ "kubelet": { "maxPods": 3 } }), "kubelet.maxPods"),
            (json!({ "kubelet": { "kind": "x" } }), "kubelet.kind"),
            (json!({ "apiServer": { "extraArgs": { "--v": "1" } } }), "apiServer.extraArgs.--v"),
            (json!({ "containerd": { "dropIns": { "../a": "" } } }), "containerd.dropIns.../a"),
            (registry("mirror"), "registries[0].mirrors[0]"),
            (registry("https://a:b@mirror"), "credentialsFile"),
            (registry("https://a\"\n"), "registries[0].mirrors[0]"),
            (
                json!({ "registries": [{ "host": "../a", "mirrors": ["http://a"] }] }),
                "registries[0].host",
            ),
            (json!({ "registries": [{ "host": "a", "mirrors": [] }] }), "registries[0].mirrors"),
            (json!({ "proxy": {} }), "proxy.http"),
            (json!({ "proxy": { "http": "http://u:p@a" } }), "password"),
            (json!({ "proxy": { "https": "a:1" } }), "proxy.https"),
            (json!({ "proxy": { "http": "http://a", "noProxy": ["a b"] } }), "proxy.noProxy[0]"),
            (json!({ "files": [{ "path": "a", "content": "" }] }), "files[0].path"),
            (json!({ "files": [{ "path": "/a/../b", "content": "" }] }), "files[0].path"),
            (json!({ "files": [{ "path": "/a" }] }), "files[0].content"),
            (
                json!({ "files": [{ "path": "/a", "content": "", "permissions": "rw" }] }),
                "permissions",
            ),
            (
                json!({ "files": [{ "path": "/a", "content": "x".repeat(MAX_FILE + 1) }] }),
                "can have at most",
            ),
        ] {
            let said = read(value.clone()).check().unwrap_err();
            assert!(said.contains(problem), "{value}: {said}");
        }
        let fine = read(json!({
            "kubelet": { "serializeImagePulls": false },
            "apiServer": { "extraArgs": { "audit-log-maxage": "7" } },
            "containerd": { "dropIns": { "mine": "version = 2\n" } },
            "registries": [{ "host": "docker.io", "mirrors": ["http://10.0.0.1:5000"] }],
            "proxy": { "http": "http://proxy:3128", "noProxy": ["10.0.0.0/8", ".example.org"] },
            "files": [{ "path": "/etc/mine", "content": "x", "permissions": "0600" }],
        }));
        assert_eq!(fine.check(), Ok(()));
        assert_eq!(Settings::default().over(&fine), fine);
    }
}
