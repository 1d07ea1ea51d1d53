//! Turns settings of a configuration file into files, commands and arguments of nodes.

use serde_json::{Map, Value, json};

use super::Document;
use super::cluster::metadata;
use super::request::ClusterRequest;
use super::settings::{Proxy, Registry, Settings};

/// Makes systemd and containerd read their files.
const RELOAD: &str = "systemctl daemon-reload && systemctl restart containerd";
/// Finds the node's networks, which bypass the proxy.
const PROXY_SCRIPT: &str = include_str!("proxy-env");
const PROXY_PATH: &str = "/usr/local/lib/capn/proxy-env";
/// Sorted after the node image's own drop-ins.
const PROXY_DROP_IN: &str = "30-capn-proxy.conf";

/// Returns the name of the Secret with the configuration of registries that need credentials.
pub(super) fn secret_name(request: &ClusterRequest) -> String {
    format!("{}-registries", request.name)
}

/// Returns the Secret with the configuration of registries that need credentials, given as host and
/// USER:PASSWORD. `None` if no registry needs them.
pub(super) fn secret(
    request: &ClusterRequest,
    credentials: &[(String, String)],
) -> Option<Document> {
    let mut data = Map::new();
    for registry in &request.settings.registries {
        if let Some((host, credential)) = credentials.iter().find(|(of, _)| *of == registry.host) {
            data.insert(Settings::secret_key(host), json!(hosts(registry, Some(credential))));
        }
    }
    if data.is_empty() {
        return None;
    }
    let mut metadata = metadata(request, &secret_name(request));
    // The Secret has no owner, so `clusterctl move` needs this label to include it.
    metadata["labels"][capi_api::labels::MOVE] = json!("true");
    Some(Document::new(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": data,
        "type": "Opaque",
    })))
}

/// Files of a node.
pub(super) fn files(request: &ClusterRequest) -> Vec<Value> {
    let Settings { kubelet, containerd, registries, proxy, files, .. } = &request.settings;
    let mut all = Vec::new();
    if !kubelet.is_empty() {
        // A value of strings, numbers, lists and maps; serializing it cannot fail.
        let text = super::value_to_yaml(&Value::Object(kubelet.clone())).unwrap_or_default();
        all.push(file(
            &format!("{}/kubeletconfiguration1+strategic.yaml", super::kubeadm::PATCHES),
            "0644",
            &text,
        ));
    }
    for (name, text) in &containerd.drop_ins {
        all.push(file(&format!("/etc/containerd/conf.d/{name}.toml"), "0644", text));
    }
    for registry in registries {
        let path = format!("/etc/containerd/certs.d/{}/hosts.toml", registry.host);
        all.push(match &registry.credentials_file {
            None => file(&path, "0644", &hosts(registry, None)),
            Some(_) => json!({
                "path": path, "owner": "root:root", "permissions": "0600",
                "contentFrom": { "secret": {
                    "name": secret_name(request), "key": Settings::secret_key(&registry.host),
                } },
            }),
        });
    }
    if let Some(proxy) = proxy {
        all.push(file(PROXY_PATH, "0755", &proxy_script(request, proxy)));
        for unit in ["containerd", "kubelet"] {
            let path = format!("/etc/systemd/system/{unit}.service.d/{PROXY_DROP_IN}");
            let text = format!(
                "[Service]\nExecStartPre={PROXY_PATH}\nEnvironmentFile=-/run/capn/proxy.env\n"
            );
            all.push(file(&path, "0644", &text));
        }
    }
    all.extend(files.iter().map(|given| {
        json!({
            "path": given.path,
            "owner": given.owner.as_deref().unwrap_or("root:root"),
            "permissions": given.permissions.as_deref().unwrap_or("0644"),
            "content": given.content.as_deref().unwrap_or_default(),
        })
    }));
    all
}

/// Commands that run on a node before kubeadm.
pub(super) fn commands(request: &ClusterRequest) -> Vec<String> {
    let Settings { containerd, proxy, pre_kubeadm_commands, .. } = &request.settings;
    // containerd reads the registry configuration on each pull.
    let is_changed = !containerd.drop_ins.is_empty() || proxy.is_some();
    let reload = is_changed.then(|| RELOAD.to_owned());
    reload.into_iter().chain(pre_kubeadm_commands.iter().cloned()).collect()
}

fn file(path: &str, permissions: &str, content: &str) -> Value {
    json!({ "path": path, "owner": "root:root", "permissions": permissions, "content": content })
}

/// `hosts.toml` of containerd.
fn hosts(registry: &Registry, credential: Option<&str>) -> String {
    use base64::Engine as _;

    let mut text = String::new();
    for mirror in &registry.mirrors {
        // Without `server`, containerd tries the registry itself last.
        text.push_str(&format!("[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"));
        if registry.skip_verify {
            text.push_str("  skip_verify = true\n");
        }
        if let Some(credential) = credential {
            let token = base64::engine::general_purpose::STANDARD.encode(credential);
            text.push_str(&format!(
                "  [host.\"{mirror}\".header]\n    authorization = \"Basic {token}\"\n"
            ));
        }
    }
    text
}

fn proxy_script(request: &ClusterRequest, proxy: &Proxy) -> String {
    let mut without = vec![
        "localhost".to_owned(),
        "127.0.0.0/8".to_owned(),
        "::1".to_owned(),
        ".svc".to_owned(),
        ".cluster.local".to_owned(),
    ];
    without.extend(request.pod_cidrs());
    without.extend(request.service_cidrs());
    without.extend(request.control_plane_endpoint.iter().map(|endpoint| endpoint.host.clone()));
    without.extend(proxy.no_proxy.iter().cloned());
    let quoted = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    PROXY_SCRIPT
        .replace("{{ http }}", &quoted(&proxy.http))
        .replace("{{ https }}", &quoted(&proxy.https))
        .replace("{{ without }}", &without.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::request::testing::demo;
    use super::*;

    fn with(settings: Value) -> ClusterRequest {
        ClusterRequest { settings: serde_json::from_value(settings).unwrap(), ..demo() }
    }

    fn content<'a>(files: &'a [Value], path: &str) -> &'a str {
        let found = files.iter().find(|file| file["path"] == path);
        found.and_then(|file| file["content"].as_str()).unwrap_or_default()
    }

    #[test]
    fn without_settings_nodes_get_nothing() {
        assert!(files(&demo()).is_empty() && commands(&demo()).is_empty());
        assert!(secret(&demo(), &[]).is_none());
    }

    #[test]
    fn registry_credentials_are_only_in_the_secret() {
        let request = with(json!({ "registries": [
            { "host": "docker.io", "mirrors": ["http://10.0.0.1:5000"] },
            { "host": "a.example:5000", "mirrors": ["https://b.example"], "credentialsFile": "/c" },
        ] }));
        let files = files(&request);
        let open = content(&files, "/etc/containerd/certs.d/docker.io/hosts.toml");
        assert!(open.contains("[host.\"http://10.0.0.1:5000\"]"), "{open}");
        assert_eq!(files[1]["permissions"], "0600");
        assert_eq!(files[1]["contentFrom"]["secret"]["key"], "a.example_5000.toml");
        assert!(files[1].get("content").is_none());
        let credentials = [("a.example:5000".to_owned(), "user:secret".to_owned())];
        let secret = secret(&request, &credentials).unwrap();
        let text = secret.value()["stringData"]["a.example_5000.toml"].as_str().unwrap();
        assert!(text.contains("authorization = \"Basic dXNlcjpzZWNyZXQ=\""), "{text}");
        let recorded = serde_json::to_string(&request).unwrap();
        assert!(!recorded.contains("secret\"") && !recorded.contains("dXNlcjp"), "{recorded}");
    }

    #[test]
    fn a_proxy_excludes_cluster_addresses_and_is_set_for_kubelet_and_containerd() {
        let request = with(json!({ "proxy": { "https": "http://p:3128", "noProxy": [".lab"] } }));
        let files = files(&request);
        let script = content(&files, PROXY_PATH);
        assert!(script.contains("10.244.0.0/16,10.96.0.0/12,.lab"), "{script}");
        assert!(script.contains("https='http://p:3128'"), "{script}");
        assert_eq!(files.len(), 3);
        assert_eq!(commands(&request), [RELOAD]);
    }

    #[test]
    fn kubelet_settings_are_patched_after_capn_defaults() {
        let request = with(json!({ "kubelet": { "serializeImagePulls": false } }));
        let path = "/etc/kubernetes/patches/kubeletconfiguration1+strategic.yaml";
        assert_eq!(content(&files(&request), path), "serializeImagePulls: false\n");
    }
}
