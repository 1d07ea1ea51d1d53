//! The kubeconfig for discovery by file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capi_api::bootstrap::{FileDiscovery, FileDiscoveryKubeConfig, KubeConfigUser};
use serde_json::{Map, Value, json};

use super::cloud_config::TextFile;
use super::{Error, yaml};

/// Default API version of a credential plugin.
const EXEC_API: &str = "client.authentication.k8s.io/v1";

/// Returns the file to write for `discovery`, or `None` if the user provides the file.
///
/// `server` and `authority` (PEM) are used if the configuration omits them.
pub(crate) fn kubeconfig_file(
    discovery: &FileDiscovery,
    server: &str,
    authority: &str,
) -> Result<Option<TextFile>, Error> {
    let Some(FileDiscoveryKubeConfig { cluster, user }) = &discovery.kube_config else {
        return Ok(None);
    };
    let given = cluster.clone().unwrap_or_default();
    let mut cluster = Map::new();
    cluster.insert("server".into(), json!(given.server.as_deref().unwrap_or(server)));
    let data = given
        .certificate_authority_data
        .map_or_else(|| STANDARD.encode(authority), |bytes| STANDARD.encode(bytes.0));
    cluster.insert("certificate-authority-data".into(), json!(data));
    for (key, value) in [("tls-server-name", given.tls_server_name), ("proxy-url", given.proxy_url)]
    {
        if let Some(value) = value {
            cluster.insert(key.into(), json!(value));
        }
    }
    if given.insecure_skip_tls_verify == Some(true) {
        cluster.insert("insecure-skip-tls-verify".into(), json!(true));
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "default", "cluster": cluster }],
        "contexts": [{ "name": "default", "context": { "cluster": "default", "user": "default" } }],
        "current-context": "default",
        "users": [{ "name": "default", "user": user_of(user) }],
    });
    Ok(Some(TextFile {
        path: discovery.kube_config_path.clone(),
        owner: Some("root:root".into()),
        permissions: Some("0640".into()),
        content: yaml::document("the kubeconfig for discovery", config)?,
        ..TextFile::default()
    }))
}

fn user_of(user: &KubeConfigUser) -> Value {
    let mut out = Map::new();
    if let Some(provider) = &user.auth_provider {
        let config = json!({ "name": provider.name, "config": provider.config });
        out.insert("auth-provider".into(), config);
    }
    if let Some(exec) = &user.exec {
        let env: Vec<_> =
            exec.env.iter().map(|env| json!({ "name": env.name, "value": env.value })).collect();
        let config = json!({
            "apiVersion": exec.api_version.as_deref().unwrap_or(EXEC_API),
            "command": exec.command,
            "args": exec.args,
            "env": env,
            "interactiveMode": "Never",
            "provideClusterInfo": exec.provide_cluster_info.unwrap_or(false),
        });
        out.insert("exec".into(), config);
    }
    out.into()
}
