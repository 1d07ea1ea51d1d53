use std::path::Path;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;

const GOLDEN: &str = "golden/infrastructure-components.yaml";

fn release() -> Release {
    Release::new("v0.1.0", "ghcr.io/capn-rs/capn:v0.1.0").unwrap()
}

/// The text after substitution by clusterctl with no variable set.
fn with_defaults(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}').unwrap();
        result.push_str(before);
        result.push_str(variable.split_once(":=").unwrap().1);
        rest = behind;
    }
    result + rest
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Parses an object as its type and serializes it again: nothing may be lost.
fn is<T: DeserializeOwned + Serialize>(value: &Value) {
    let object: T =
        serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"));
    let mut again = serde_json::to_value(object).unwrap();
    let mut value = value.clone();
    drop_empty(&mut again);
    drop_empty(&mut value);
    assert_eq!(again, value);
}

/// Empty lists and maps are the same as absent ones.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_empty);
            fields.retain(|_, value| *value != json!([]) && *value != json!({}));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

fn check(value: &Value) {
    match value["kind"].as_str().unwrap() {
        "Namespace" => is::<Namespace>(value),
        "CustomResourceDefinition" => is::<CustomResourceDefinition>(value),
        "ServiceAccount" => is::<ServiceAccount>(value),
        "Role" => is::<Role>(value),
        "ClusterRole" => is::<ClusterRole>(value),
        "RoleBinding" => is::<RoleBinding>(value),
        "ClusterRoleBinding" => is::<ClusterRoleBinding>(value),
        "Deployment" => is::<Deployment>(value),
        "NetworkPolicy" => is::<NetworkPolicy>(value),
        "Service" => is::<Service>(value),
        "ServiceMonitor" | "Issuer" | "Certificate" => {}
        other => panic!("no type for {other}"),
    }
    assert_eq!(value["metadata"]["labels"]["cluster.x-k8s.io/provider"], "infrastructure-incus");
}

#[test]
fn components_match_the_reviewed_golden_file() {
    let text = components(&release()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("CAPN_UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == golden,
        "{GOLDEN} is outdated: update it with CAPN_UPDATE=1 cargo test -p capn-package"
    );
}

#[test]
fn every_object_is_valid_kubernetes_with_and_without_variables() {
    for file in repository(&release(), &[]).unwrap() {
        if file.path.ends_with("metadata.yaml") {
            continue;
        }
        for value in documents(&with_defaults(&file.text)) {
            check(&value);
        }
        // clusterctl parses the file before it substitutes variables.
        assert!(!documents(&file.text).is_empty(), "{}", file.path);
        assert!(!file.text.contains("XX"), "{}: a slot is not filled", file.path);
    }
    let text = components(&release()).unwrap();
    let socket = text
        .replace("${CAPN_VOLUMES:=[]}", "[{name: s, hostPath: {path: /run/incus.socket}}]")
        .replace("${CAPN_VOLUME_MOUNTS:=[]}", "[{name: s, mountPath: /run-unix.socket}]")
        .replace("${CAPN_RUN_AS_NON_ROOT:=true}", "false")
        .replace("${CAPN_RUN_AS_USER:=65532}", "0");
    let deployment = documents(&with_defaults(&socket)).pop().unwrap();
    check(&deployment);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["hostPath"]["path"], "/run/incus.socket");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/run-unix.socket");
    assert_eq!(pod["containers"][0]["securityContext"]["runAsUser"], 0);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], false);
}

#[test]
fn crds_match_the_types() {
    let golden = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN));
    let found = documents(&golden.unwrap()).into_iter();
    let found: Vec<Value> =
        found.filter(|value| value["kind"] == "CustomResourceDefinition").collect();
    let types: Vec<Value> =
        capn_api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
    assert_eq!(found, types);
    for definition in &found {
        let labels = &definition["metadata"]["labels"];
        assert_eq!(labels["cluster.x-k8s.io/v1beta2"], "v1alpha2");
        assert_eq!(labels["clusterctl.cluster.x-k8s.io"], "");
    }
}

#[test]
fn the_manager_role_is_minimal() {
    let text = with_defaults(&components(&release()).unwrap());
    let deployment = documents(&text).pop().unwrap();
    assert_eq!(deployment["kind"], "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["name"], "manager");
    assert_eq!(
        container["args"],
        json!([
            "--leader-elect",
            "--diagnostics-address=:8443",
            "--insecure-diagnostics=false",
            "--diagnostics-certificate-secret=capn-diagnostics-certificate",
            "--local-socket-namespaces=default",
            "--v=2"
        ])
    );
    // The restricted Pod Security Standard.
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let security = &container["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["runAsUser"], 65532);
    for value in documents(&text) {
        let cluster = value["kind"] == "ClusterRole";
        for rule in value["rules"].as_array().into_iter().flatten().filter(|_| cluster) {
            assert!(!rule.to_string().contains('*'), "{rule}");
            let secrets = rule["resources"].to_string().contains("secrets");
            // Only get: listing would give access to all Secrets.
            assert!(!secrets || rule["verbs"] == json!(["get"]), "{rule}");
        }
    }
}

#[test]
fn the_network_policy_allows_only_required_ports() {
    let text = with_defaults(&components(&release()).unwrap());
    let all = documents(&text);
    let policy = all.iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
    let rules = policy["spec"]["egress"].as_array().unwrap();
    let ports: Vec<_> = rules.iter().flat_map(|rule| rule["ports"].as_array().unwrap()).collect();
    let ports: Vec<_> = ports.iter().map(|port| (&port["protocol"], &port["port"])).collect();
    let tcp = [53, 443, 6443, 8443, 16_443].map(|port| (json!("TCP"), json!(port)));
    let expected = [(json!("UDP"), json!(53))].into_iter().chain(tcp);
    let expected: Vec<_> = expected.collect();
    assert_eq!(ports, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
}

#[test]
fn only_known_variables_are_in_the_components() {
    let text = components(&release()).unwrap();
    let variables = text.split("${").skip(1).map(|rest| rest.split_once(":=").unwrap().0);
    let mut variables: Vec<&str> = variables.collect();
    variables.sort_unstable();
    variables.dedup();
    let expected = [
        "CAPI_DIAGNOSTICS_ADDRESS",
        "CAPI_INSECURE_DIAGNOSTICS",
        "CAPN_LOCAL_SOCKET_NAMESPACES",
        "CAPN_RUN_AS_NON_ROOT",
        "CAPN_RUN_AS_USER",
        "CAPN_VOLUMES",
        "CAPN_VOLUME_MOUNTS",
    ];
    assert_eq!(variables, expected);
    assert!(!text.contains("$$"), "clusterctl replaces $$ with $");
}

#[test]
fn the_directory_is_a_clusterctl_repository() {
    let template = File::new("cluster-template-x.yaml", "a: b\n");
    let paths: Vec<String> =
        repository(&release(), &[template]).unwrap().into_iter().map(|file| file.path).collect();
    let expected = [
        "metadata.yaml",
        "infrastructure-components.yaml",
        "service-monitor.yaml",
        "cluster-template-x.yaml",
    ];
    assert_eq!(paths, expected.map(|name| format!("infrastructure-incus/v0.1.0/{name}")));
}
