//! Golden files. A change affects what machines boot with, so check every line.

use std::path::Path;
use std::process::Command as Process;

use capi_api::bootstrap::{
    ClusterConfiguration, InitConfiguration, JoinConfiguration, KubeadmConfigSpec,
};
use semver::Version;
use serde_json::{Value, json};

use super::cloud_config::{Command, TextFile, UserData};
use super::documents::{
    ApiVersion, ClusterFacts, cluster_configuration, init_configuration, join_configuration,
    with_taint,
};

/// The spec that the command line creates for the first control plane machine.
fn typical() -> KubeadmConfigSpec {
    serde_json::from_value(json!({
        "clusterConfiguration": {
            "apiServer": { "certSANs": ["192.0.2.10", "localhost"] },
            "etcd": { "local": { "imageTag": "3.5.24-0" } },
        },
        "initConfiguration": {
            "nodeRegistration": {
                "criSocket": "unix:///run/containerd/containerd.sock",
                "ignorePreflightErrors": ["SystemVerification"],
                "kubeletExtraArgs": [
                    { "name": "eviction-hard", "value": "nodefs.available<0%" },
                    { "name": "fail-swap-on", "value": "false" },
                    { "name": "provider-id", "value": "lxc:///{{ v1.local_hostname }}" },
                ],
            },
            "patches": { "directory": "/etc/kubernetes/patches" },
        },
        "joinConfiguration": {
            "nodeRegistration": {
                "kubeletExtraArgs": [
                    { "name": "provider-id", "value": "lxc:///{{ v1.local_hostname }}" },
                ],
            },
            "patches": { "directory": "/etc/kubernetes/patches" },
        },
        "files": [{
            "path": "/etc/kubernetes/patches/kubeletconfiguration0+strategic.yaml",
            "owner": "root:root",
            "permissions": "0400",
            "content": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfeatureGates:\n  KubeletInUserNamespace: true\n",
        }],
        "preKubeadmCommands": ["set -ex", "echo \"a: b\" >> /run/kubeadm/kubeadm.yaml"],
    }))
    .unwrap()
}

fn facts(version: &str) -> ClusterFacts {
    ClusterFacts {
        name: "demo".into(),
        endpoint: Some("192.0.2.10:6443".into()),
        kubernetes_version: Some(version.into()),
        service_subnet: Some("10.96.0.0/12".into()),
        pod_subnet: Some("10.244.0.0/16,fd00:10:244::/56".into()),
        dns_domain: None,
    }
}

fn init_documents(spec: &KubeadmConfigSpec, version: &str) -> Vec<String> {
    let api = ApiVersion::of(&Version::parse(version.trim_start_matches('v')).unwrap()).unwrap();
    let timeouts = spec.init_configuration.as_ref().and_then(|init| init.timeouts.as_ref());
    vec![
        cluster_configuration(api, spec.cluster_configuration.as_ref(), &facts(version), timeouts)
            .unwrap(),
        init_configuration(api, spec.init_configuration.as_ref()).unwrap(),
    ]
}

fn join(spec: &KubeadmConfigSpec) -> JoinConfiguration {
    let mut join = spec.join_configuration.clone().unwrap_or_default();
    join.discovery = serde_json::from_value(json!({ "bootstrapToken": {
        "token": "abcdef.0123456789abcdef",
        "apiServerEndpoint": "192.0.2.10:6443",
        "caCertHashes": ["sha256:00"],
    }}))
    .unwrap();
    join
}

fn user_data<'a>(
    spec: &'a KubeadmConfigSpec,
    command: Command,
    documents: Vec<String>,
) -> UserData<'a> {
    let mut files = vec![TextFile {
        path: "/etc/kubernetes/pki/ca.crt".into(),
        owner: Some("root:root".into()),
        permissions: Some("0640".into()),
        content: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
        ..TextFile::default()
    }];
    files.extend(spec.files.iter().map(|file| TextFile {
        path: file.path.clone(),
        owner: file.owner.clone(),
        permissions: file.permissions.clone(),
        encoding: file.encoding,
        append: file.append == Some(true),
        content: file.content.clone().unwrap_or_default(),
    }));
    UserData {
        files,
        command,
        documents,
        verbosity: spec.verbosity,
        boot_commands: &spec.boot_commands,
        pre_kubeadm_commands: &spec.pre_kubeadm_commands,
        post_kubeadm_commands: &spec.post_kubeadm_commands,
        ntp: spec.ntp.as_ref(),
        users: spec.users.clone(),
        disk_setup: spec.disk_setup.as_ref(),
        mounts: &spec.mounts,
    }
}

#[test]
fn the_first_control_plane_machine() {
    let spec = typical();
    let text = user_data(&spec, Command::Init, init_documents(&spec, "v1.36.2")).to_string();
    insta::assert_snapshot!(text);
}

#[test]
fn a_worker_that_joins() {
    let spec = typical();
    let mut join = join(&spec);
    join.node_registration = Some(with_taint(
        join.node_registration.as_ref(),
        "node.cluster.x-k8s.io/uninitialized",
        "NoSchedule",
    ));
    let document = join_configuration(ApiVersion::V1Beta4, &join).unwrap();
    insta::assert_snapshot!(user_data(&spec, Command::Join, vec![document]).to_string());
}

/// Sets every field that differs between kubeadm's API versions.
fn everything() -> KubeadmConfigSpec {
    serde_json::from_value(json!({
        "clusterConfiguration": {
            "controlPlaneEndpoint": "cp.example:6443",
            "apiServer": {
                "extraArgs": [{ "name": "v", "value": "2" }, { "name": "v", "value": "4" }],
                "extraEnvs": [{ "name": "A", "value": "b" }],
                "extraVolumes": [{ "name": "x", "hostPath": "/x", "mountPath": "/y", "readOnly": true, "pathType": "Directory" }],
            },
            "controllerManager": { "extraArgs": [{ "name": "bind-address", "value": "" }] },
            "scheduler": { "extraEnvs": [] },
            "etcd": { "local": { "dataDir": "/var/etcd", "extraArgs": [{ "name": "q", "value": "8" }], "extraEnvs": [{ "name": "E" }] } },
            "dns": { "imageTag": "v1.12.0" },
            "certificateValidityPeriodDays": 365,
            "caCertificateValidityPeriodDays": 3650,
            "encryptionAlgorithm": "ECDSA-P256",
        },
        "initConfiguration": {
            "bootstrapTokens": [{ "token": "abcdef.0123456789abcdef", "ttlSeconds": 3600 }],
            "nodeRegistration": {
                "taints": [],
                "imagePullPolicy": "Never",
                "imagePullSerial": true,
                "kubeletExtraArgs": [{ "name": "v", "value": "2" }],
            },
            "localAPIEndpoint": { "advertiseAddress": "192.0.2.1", "bindPort": 6443 },
            "skipPhases": ["addon/kube-proxy"],
            "timeouts": {
                "controlPlaneComponentHealthCheckSeconds": 240,
                "kubernetesAPICallSeconds": 60,
                "etcdAPICallSeconds": 30,
                "tlsBootstrapSeconds": 301,
            },
        },
        "joinConfiguration": {
            "caCertPath": "/x/ca.crt",
            "nodeRegistration": { "taints": [{ "key": "a", "value": "b", "effect": "NoExecute" }] },
            "controlPlane": {},
            "discovery": { "file": {
                "kubeConfigPath": "/run/discovery.conf",
                "kubeConfig": { "user": { "exec": { "command": "token", "env": [{ "name": "A", "value": "b" }] } } },
            }},
            "timeouts": { "tlsBootstrapSeconds": 301, "discoverySeconds": 0 },
        },
    }))
    .unwrap()
}

#[test]
fn kubeadm_v1beta4_has_every_field() {
    let spec = everything();
    let mut text = init_documents(&spec, "v1.31.0").join("---\n");
    text += "---\n";
    let join = spec.join_configuration.unwrap();
    text += &join_configuration(ApiVersion::V1Beta4, &join).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn kubeadm_v1beta3_has_maps_and_lacks_newer_fields() {
    let spec = everything();
    let mut text = init_documents(&spec, "v1.30.9").join("---\n");
    text += "---\n";
    let join = spec.join_configuration.unwrap();
    text += &join_configuration(ApiVersion::V1Beta3, &join).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn the_kubernetes_version_decides_the_api_version() {
    for (version, expected) in [
        ("1.21.14", None),
        ("1.22.0", Some(ApiVersion::V1Beta3)),
        ("1.30.99", Some(ApiVersion::V1Beta3)),
        ("1.31.0-alpha.1", Some(ApiVersion::V1Beta4)),
        ("1.36.2", Some(ApiVersion::V1Beta4)),
        ("2.0.0", Some(ApiVersion::V1Beta4)),
    ] {
        assert_eq!(ApiVersion::of(&Version::parse(version).unwrap()), expected, "{version}");
    }
}

#[test]
fn absent_taints_are_left_to_kubeadm_and_no_taints_are_written() {
    for (taints, expected) in [(None, None), (Some(json!([])), Some(json!([])))] {
        let mut configuration = json!({ "nodeRegistration": { "name": "n" } });
        if let Some(taints) = taints {
            configuration["nodeRegistration"]["taints"] = taints;
        }
        let configuration: InitConfiguration = serde_json::from_value(configuration).unwrap();
        for api in [ApiVersion::V1Beta3, ApiVersion::V1Beta4] {
            let text = init_configuration(api, Some(&configuration)).unwrap();
            let read: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(read["nodeRegistration"].get("taints"), expected.as_ref(), "{text}");
        }
    }
}

#[test]
fn an_empty_configuration_is_filled_from_the_cluster() {
    let text = cluster_configuration(
        ApiVersion::V1Beta4,
        None::<&ClusterConfiguration>,
        &facts("v1.36.0"),
        None,
    )
    .unwrap();
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        read,
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "clusterName": "demo",
            "controlPlaneEndpoint": "192.0.2.10:6443",
            "kubernetesVersion": "v1.36.0",
            "networking": {
                "serviceSubnet": "10.96.0.0/12",
                "podSubnet": "10.244.0.0/16,fd00:10:244::/56",
            },
        })
    );
}

#[test]
fn every_section_of_a_cloud_config() {
    let spec: KubeadmConfigSpec = serde_json::from_value(json!({
        "verbosity": 5,
        "files": [
            { "path": "/a b", "encoding": "gzip+base64", "content": "H4sI", "append": true },
            { "path": "/c", "content": "  indented\n" },
        ],
        "bootCommands": ["modprobe x"],
        "preKubeadmCommands": ["echo 'a' > \"/b\"", "printf 'x\\n'"],
        "postKubeadmCommands": ["true"],
        "ntp": { "servers": ["0.pool.example"], "enabled": true },
        "users": [{
            "name": "a", "gecos": "A: B", "groups": "g,h", "homeDir": "/h", "inactive": true,
            "shell": "/bin/sh", "passwd": "$6$x", "primaryGroup": "p", "lockPassword": false,
            "sudo": "ALL=(ALL) NOPASSWD:ALL", "sshAuthorizedKeys": ["ssh-ed25519 AAAA a@b"],
        }],
        "diskSetup": {
            "partitions": [
                { "device": "/dev/vdb", "layout": true, "overwrite": true, "tableType": "gpt" },
                { "device": "/dev/vdc", "diskLayout": [
                    { "percentage": 60, "partitionType": "Linux" }, { "percentage": 40 },
                ]},
            ],
            "filesystems": [{
                "device": "/dev/vdb", "filesystem": "ext4", "label": "data", "partition": "auto",
                "overwrite": true, "replaceFS": "ntfs", "extraOpts": ["-F", "-E"],
            }],
        },
        "mounts": [["LABEL=data", "/data", "auto", "defaults,nofail"]],
    }))
    .unwrap();
    let text =
        user_data(&spec, Command::Join, vec!["kind: JoinConfiguration\n".into()]).to_string();
    // The content must match the encoding.
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(read["runcmd"][0], json!("echo 'a' > \"/b\""));
    assert_eq!(read["runcmd"][1], json!("printf 'x\\n'"));
    assert_eq!(read["write_files"][2]["content"], json!("  indented\n"));
    assert_eq!(read["write_files"][0]["permissions"], json!("0640"));
    assert_eq!(read["mounts"][0][3], json!("defaults,nofail"));
    assert_eq!(read["users"][0]["gecos"], json!("A: B"));
    insta::assert_snapshot!(text);
}

#[test]
fn kubeadm_itself_accepts_the_documents() {
    let Some(kubeadm) = kubeadm() else { return };
    let spec = typical();
    let version = "v1.36.2";
    let mut control_plane = join(&spec);
    control_plane.control_plane = Some(Default::default());
    control_plane.discovery.as_mut().unwrap().bootstrap_token.as_mut().unwrap().ca_cert_hashes =
        vec![format!("sha256:{}", "00".repeat(32))];
    let mut full = everything();
    // Not reported by kubeadm 1.36: this data directory and this CA do not exist.
    full.join_configuration = None;
    for (name, documents) in [
        ("init", init_documents(&spec, version)),
        ("init with everything", init_documents(&full, version)),
        ("join", vec![join_configuration(ApiVersion::V1Beta4, &control_plane).unwrap()]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeadm.yaml");
        std::fs::write(&path, documents.join("---\n")).unwrap();
        let output = Process::new(&kubeadm)
            .args(["config", "validate", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}:\n{}\n{}",
            documents.join("---\n"),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[cfg(test)]
fn kubeadm() -> Option<std::path::PathBuf> {
    let directory = std::env::var_os("CAPN_KUBERNETES_BINARIES")
        .map_or_else(|| Path::new("/var/lib/capn/kubernetes").to_owned(), Into::into);
    let kubeadm = directory.join("kubeadm");
    if !kubeadm.is_file() {
        println!("SKIPPED: no kubeadm at {}", kubeadm.display());
        return None;
    }
    Some(kubeadm)
}
