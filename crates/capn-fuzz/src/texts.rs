//! Text from tenants.

use std::collections::BTreeMap;

use capn_controller::workload::{self, Reach};
use capn_plan::{InstanceName, devices, families, haproxy, kind, ranges};
use capn_provider::Identity;
use capn_template::{Template, class::Class};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use tokio::runtime::Runtime;

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Also renders the template for two control planes.
pub(crate) fn haproxy_template(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        drop(haproxy::Template::new(text));
    }
}

pub(crate) fn cluster_template(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(template) = Template::new(text) {
        let values =
            template.variables().map(|variable| (variable.name.clone(), "value".to_owned()));
        drop(template.render(&values.collect::<BTreeMap<_, _>>()));
    }
}

pub(crate) fn cluster_class(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(class) = Class::parse(text) {
        let topology = json!({
            "classRef": { "name": "class" }, "version": "v1.36.0",
            "variables": [{ "name": "a", "value": "b" }],
            "workers": { "machineDeployments": [{ "class": "default-worker", "name": "md-0" }] },
        });
        let cluster = json!({ "metadata": { "name": "c" }, "spec": { "topology": topology } });
        drop(class.render(&cluster));
    }
}

pub(crate) fn cloud_config(bytes: &[u8]) {
    let (Some(text), Ok(name)) = (text(bytes), InstanceName::new("node")) else { return };
    if let Ok(pieces) = kind::injected_files(text, &name, None, kind::BootstrapRunner::Script) {
        assert!(!pieces.is_empty(), "bootstrap data without an effect");
    }
}

/// A file of a KubeadmConfig with `contentFormat: Template`.
pub(crate) fn file_template(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(content) = capn_lifecycle::render_file_template(text, "v1.37.2") {
        assert!(content.len() <= 1 << 20, "{} bytes of content", content.len());
    }
}

/// `additionalConfig` of a KubeadmConfig with `format: ignition`.
pub(crate) fn container_linux_config(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(config) = capn_lifecycle::ignition_of_additional_config(text) {
        assert!(config.is_object(), "Ignition is an object");
    }
}

/// Short texts: devices, address ranges, names.
pub(crate) fn words(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    drop(devices::parse(&lines));
    drop(ranges::parse(&lines));
    drop(families::parse(text));
    drop(families::fit(&lines, &lines));
    drop(families::room(&lines, 10));
    for line in &lines {
        if let Ok(name) = InstanceName::new(line) {
            assert!(name.as_str().len() <= 63, "{line} is a name");
        }
        let _diagnosis = capn_plan::diagnosis::diagnose(line);
    }
    drop(capn_plan::diagnosis::start_failure(text, 10));
}

/// Creates a client without sending a request.
pub(crate) fn kubeconfig(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(runtime) = Runtime::new() else { return };
    let _context = runtime.enter();
    if let Err(error) = workload::client(text, Reach::Network, "") {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?} has control characters");
    }
}

/// Values of a Secret, one `key=value` per line.
pub(crate) fn identity(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let data: BTreeMap<String, ByteString> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), ByteString(value.replace("\\n", "\n").into_bytes())))
        .collect();
    for value in data.values() {
        if let Ok(pem) = std::str::from_utf8(&value.0) {
            drop(incus_client::certificate_fingerprint(pem));
        }
    }
    if let Err(error) = Identity::from_secret(&Secret { data: Some(data), ..Secret::default() }) {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?} has control characters");
    }
}
