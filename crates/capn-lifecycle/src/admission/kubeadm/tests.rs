use serde_json::{Value, json};

use super::super::fields::set;
use super::*;

fn kcp(changes: &[(&str, Value)]) -> Value {
    let mut value = json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2",
        "kind": "KubeadmControlPlane",
        "metadata": { "name": "demo-control-plane" },
        "spec": {
            "version": "1.36.2",
            "machineTemplate": { "spec": {
                "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t" },
            }},
            "kubeadmConfigSpec": { "clusterConfiguration": { "imageRepository": "r.example" } },
        },
    });
    for (path, change) in changes {
        set(&mut value, &path.split('/').collect::<Vec<_>>(), change.clone());
    }
    value
}

/// Applies the defaults, validates, and returns the invalid fields.
fn admit(mut new: Value, old: Option<Value>) -> (Value, Vec<String>) {
    let complete = |value: &mut Value, old: Option<&Value>| control_plane::mutate(value, old);
    let old = old.map(|mut old| {
        complete(&mut old, None);
        old
    });
    complete(&mut new, old.as_ref());
    let problems = control_plane::validate(&new, old.as_ref());
    (new, problems.into_iter().map(|problem| problem.field).collect())
}

#[test]
fn defaults_of_a_control_plane_are_set() {
    let (new, problems) = admit(kcp(&[]), None);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(new["spec"]["replicas"], json!(1));
    assert_eq!(new["spec"]["version"], json!("v1.36.2"));
    assert_eq!(
        new["spec"]["rollout"],
        json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } })
    );
}

#[test]
fn invalid_fields_of_a_control_plane_are_named() {
    let cluster = "spec/kubeadmConfigSpec/clusterConfiguration";
    let at = |name: &str| format!("{cluster}/{name}");
    let external =
        json!({ "endpoints": ["https://e"], "caFile": "a", "certFile": "b", "keyFile": "c" });
    for (changes, expected) in [
        (vec![("spec/replicas".to_owned(), json!(0))], "spec.replicas"),
        (vec![("spec/replicas".to_owned(), json!(2))], "spec.replicas"),
        (vec![("spec/version".to_owned(), json!("latest"))], "spec.version"),
        (
            vec![("spec/machineNaming/template".to_owned(), json!("fixed"))],
            "spec.machineNaming.template",
        ),
        (
            vec![("spec/machineNaming/template".to_owned(), json!("A-{{ .random }}"))],
            "spec.machineNaming.template",
        ),
        (
            vec![("spec/rollout/strategy/rollingUpdate/maxSurge".to_owned(), json!(0))],
            "spec.rollout.strategy.rollingUpdate.maxSurge",
        ),
        (
            vec![
                (at("certificateValidityPeriodDays"), json!(400)),
                (at("caCertificateValidityPeriodDays"), json!(300)),
            ],
            "spec.kubeadmConfigSpec.clusterConfiguration.certificateValidityPeriodDays",
        ),
        (
            vec![(at("etcd/local/imageTag"), json!("x")), (at("etcd/external"), external)],
            "spec.kubeadmConfigSpec.clusterConfiguration.etcd",
        ),
        (
            vec![(
                "spec/kubeadmConfigSpec/initConfiguration/timeouts/controlPlaneComponentHealthCheckSeconds"
                    .to_owned(),
                json!(60),
            )],
            "spec.kubeadmConfigSpec.joinConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds",
        ),
        (
            vec![("spec/kubeadmConfigSpec/ignition".to_owned(), json!({}))],
            "spec.kubeadmConfigSpec.format",
        ),
    ] {
        let changes: Vec<_> = changes.iter().map(|(path, v)| (path.as_str(), v.clone())).collect();
        let (_, problems) = admit(kcp(&changes), None);
        assert_eq!(problems, [expected], "{changes:?}");
    }
    let external =
        json!({ "endpoints": ["https://e"], "caFile": "a", "certFile": "b", "keyFile": "c" });
    let even = kcp(&[("spec/replicas", json!(2)), (&at("etcd/external"), external)]);
    assert_eq!(admit(even, None).1, [] as [&str; 0]);
}

#[test]
fn only_some_fields_can_be_changed() {
    for (path, value, allowed) in [
        ("spec/replicas", json!(3), true),
        ("spec/version", json!("v1.37.0"), true),
        ("spec/version", json!("v1.38.0"), false),
        ("spec/machineTemplate/spec/infrastructureRef/name", json!("t2"), true),
        ("spec/kubeadmConfigSpec/files", json!([{ "path": "/a", "content": "b" }]), true),
        ("spec/kubeadmConfigSpec/clusterConfiguration/imageRepository", json!("q"), true),
        ("spec/kubeadmConfigSpec/clusterConfiguration/dns/imageTag", json!("v1.12.0"), true),
        ("spec/kubeadmConfigSpec/clusterConfiguration/certificatesDir", json!("/x"), false),
        ("spec/kubeadmConfigSpec/clusterConfiguration/controlPlaneEndpoint", json!("a:1"), false),
        ("spec/kubeadmConfigSpec/initConfiguration/skipPhases", json!(["a"]), true),
    ] {
        let (_, problems) = admit(kcp(&[(path, value)]), Some(kcp(&[])));
        let expected: Vec<String> = if allowed { Vec::new() } else { vec![path.replace('/', ".")] };
        assert_eq!(problems, expected, "{path}");
    }
}

#[test]
fn invalid_fields_of_a_config_are_named() {
    for (spec, expected) in [
        (json!({}), None),
        (
            json!({ "files": [{ "path": "/a", "content": "x" }, { "path": "/a", "content": "y" }] }),
            Some("spec.files[1].path"),
        ),
        (
            json!({ "files": [{ "path": "/a", "content": "x",
                "contentFrom": { "secret": { "name": "s", "key": "k" } } }] }),
            Some("spec.files[0]"),
        ),
        (
            json!({ "users": [{ "name": "u", "passwd": "x",
                "passwdFrom": { "secret": { "name": "s", "key": "k" } } }] }),
            Some("spec.users[0]"),
        ),
        (
            json!({ "diskSetup": { "partitions": [{ "device": "/dev/x", "diskLayout": [
                { "percentage": 60 }, { "percentage": 60 }] }] } }),
            Some("spec.diskSetup.partitions[0].diskLayout"),
        ),
        (
            json!({ "diskSetup": { "partitions": [{ "device": "/dev/x", "diskLayout": [
                { "percentage": i32::MAX }, { "percentage": i32::MAX }] }] } }),
            Some("spec.diskSetup.partitions[0].diskLayout"),
        ),
        (
            json!({ "diskSetup": { "partitions": [{ "device": "/dev/x" }] } }),
            Some("spec.diskSetup.partitions[0]"),
        ),
        (
            json!({ "joinConfiguration": { "nodeRegistration": { "kubeletExtraArgs": [
                { "name": "v", "value": "1" }, { "name": "v", "value": "2" }] } } }),
            Some("spec.joinConfiguration.nodeRegistration.kubeletExtraArgs"),
        ),
    ] {
        let object = json!({ "metadata": { "name": "c" }, "spec": spec });
        let problems = config(&object, None);
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, expected.into_iter().collect::<Vec<_>>(), "{object}");
    }
}

// The cases with Ignition of TestClusterValidate, Cluster API v1.14,
// bootstrap/kubeadm/webhooks/admission/kubeadmconfig_test.go. The feature gate is always on here.
#[test]
fn what_ignition_cannot_do_is_named_by_its_field() {
    let disks = |disks: Value| json!({ "format": "ignition", "diskSetup": disks });
    for (spec, expected) in [
        (json!({ "format": "ignition" }), None),
        (json!({ "format": "ignition", "ignition": { "containerLinuxConfig": {} } }), None),
        (json!({ "ignition": { "containerLinuxConfig": { "strict": true } } }), Some("format")),
        (
            json!({ "format": "cloud-config", "ignition": { "containerLinuxConfig": {} } }),
            Some("format"),
        ),
        (
            json!({ "format": "ignition", "users": [{ "name": "foo", "inactive": true }] }),
            Some("users[0].inactive"),
        ),
        (
            json!({ "format": "ignition", "files": [{ "path": "/a", "encoding": "gzip" }] }),
            Some("files[0].encoding"),
        ),
        (
            json!({ "format": "ignition", "files": [{ "path": "/a", "encoding": "gzip+base64" }] }),
            Some("files[0].encoding"),
        ),
        (json!({ "format": "ignition", "bootCommands": ["true"] }), Some("bootCommands")),
        (
            disks(
                json!({ "partitions": [{ "device": "/d", "layout": true, "tableType": "MS-DOS" }] }),
            ),
            Some("diskSetup.partitions[0].tableType"),
        ),
        (
            disks(
                json!({ "partitions": [{ "device": "/d", "layout": true, "tableType": "gpt" }] }),
            ),
            None,
        ),
        (
            disks(json!({ "filesystems": [
                { "device": "/d", "filesystem": "ext4", "replaceFS": "ntfs" }] })),
            Some("diskSetup.filesystems[0].replaceFS"),
        ),
        (
            disks(json!({ "filesystems": [
                { "device": "/d", "filesystem": "ext4", "partition": "1" }] })),
            Some("diskSetup.filesystems[0].partition"),
        ),
        // Ours: upstream drops the layout without a word.
        (
            disks(
                json!({ "partitions": [{ "device": "/d", "diskLayout": [{ "percentage": 9 }] }] }),
            ),
            Some("diskSetup.partitions[0].diskLayout"),
        ),
    ] {
        let object = json!({ "metadata": { "name": "c" }, "spec": spec });
        let fields: Vec<_> = config(&object, None).into_iter().map(|found| found.field).collect();
        let expected: Vec<_> = expected.map(|field| format!("spec.{field}")).into_iter().collect();
        assert_eq!(fields, expected, "{object}");
    }
}

#[test]
fn a_template_is_admitted_whatever_it_says() {
    let files = json!([{ "path": "/a", "contentFormat": "Template", "content": "{{ x" }]);
    let object = json!({ "metadata": { "name": "c" }, "spec": { "files": files } });
    assert_eq!(config(&object, None).len(), 0);
}
