//! Every flavor with its example.

use capn_template::flavor::{CLASS_MANIFESTS, FLAVORS};
use capn_template::{Flavor, Template, TemplateError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{example, objects, of_kind, parse, plane, values, yaml};

/// Parses an object as `T` and serializes it again: missing data was not a field of `T`.
fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) {
    let shown = &object["kind"];
    let typed: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_contains(&serde_json::to_value(typed).unwrap(), object, &shown.to_string());
}

/// Everything in `part` is in `whole`, apart from empty values, which mean "not set".
fn assert_contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                let path = format!("{path}.{key}");
                match whole.get(key) {
                    Some(found) => assert_contains(found, value, &path),
                    None => assert!(is_empty(value), "{path} is lost"),
                }
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            for (index, (found, value)) in whole.iter().zip(part).enumerate() {
                assert_contains(found, value, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(whole, part, "{path}"),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

pub(crate) fn our_types_read(object: &Value) {
    match object["kind"].as_str().unwrap() {
        "Cluster" => round_trip::<capi_api::Cluster>(object),
        "MachineDeployment" => round_trip::<capi_api::MachineDeployment>(object),
        "KubeadmControlPlane" => round_trip::<capi_api::KubeadmControlPlane>(object),
        "KubeadmControlPlaneTemplate" => {
            round_trip::<capi_api::controlplane::KubeadmControlPlaneTemplate>(object);
        }
        "KubeadmConfigTemplate" => round_trip::<capi_api::KubeadmConfigTemplate>(object),
        "ClusterResourceSet" => round_trip::<capi_api::addons::ClusterResourceSet>(object),
        "ClusterClass" => round_trip::<capi_api::core::ClusterClass>(object),
        "LXCCluster" => round_trip::<capn_api::LXCCluster>(object),
        "LXCClusterTemplate" => round_trip::<capn_api::LXCClusterTemplate>(object),
        "LXCMachineTemplate" => round_trip::<capn_api::LXCMachineTemplate>(object),
        "ConfigMap" => round_trip::<k8s_openapi::api::core::v1::ConfigMap>(object),
        other => panic!("no type for {other}"),
    }
}

/// The objects of a flavor, without those of other bootstrap and control plane providers.
fn known(flavor: &Flavor) -> Vec<Value> {
    let mut objects = objects(flavor.name, &[]);
    if flavor.providers.is_some() {
        let before = objects.len();
        let known = ["Cluster", "MachineDeployment", "LXCCluster", "LXCMachineTemplate"];
        objects.retain(|object| known.contains(&object["kind"].as_str().unwrap()));
        assert_eq!(objects.len(), before - 2, "a control plane and a configuration of workers");
    }
    objects
}

#[tokio::test]
async fn every_flavor_and_the_class_are_valid() {
    let flavors = FLAVORS.iter().map(|flavor| (flavor.name, known(flavor)));
    let sets: Vec<_> = flavors.chain([("class", parse(CLASS_MANIFESTS))]).collect();
    sets.iter().flat_map(|(_, objects)| objects).for_each(our_types_read);
    plane::accepts(&sets).await;
}

#[test]
fn every_flavor_renders_to_its_golden_file() {
    for flavor in FLAVORS {
        insta::assert_snapshot!(flavor.name, yaml(&objects(flavor.name, &[])));
    }
    // clusterctl uses a class unchanged.
    assert_eq!(Template::new(CLASS_MANIFESTS).unwrap().variables().count(), 0);
}

#[test]
fn every_object_uses_current_api_versions() {
    let class = parse(CLASS_MANIFESTS);
    for object in FLAVORS.iter().flat_map(known).chain(class) {
        let version = object["apiVersion"].as_str().unwrap();
        let expected = match version.split_once('/') {
            None => "v1",
            Some(("infrastructure.cluster.x-k8s.io", _)) => "v1alpha2",
            Some((group, _)) if group.ends_with("cluster.x-k8s.io") => "v1beta2",
            Some(_) => panic!("{version}"),
        };
        assert!(version.ends_with(expected), "{version} of {}", object["kind"]);
    }
}

#[test]
fn variables_are_described_and_examples_set_only_them() {
    for flavor in FLAVORS {
        let template = Template::new(flavor.template).unwrap();
        let names: Vec<&str> = template.variables().map(|v| v.name.as_str()).collect();
        for variable in template.variables() {
            assert!(!variable.description.is_empty(), "{}: {}", flavor.name, variable.name);
            let default = variable.default.as_deref().unwrap_or_default();
            let known = default.is_empty() || matches!(default, "\"\"") || default.contains("${");
            assert!(known || variable.kind.check(&variable.name, default).is_ok(), "{variable:?}");
        }
        let comments = flavor.example.lines().filter_map(|line| line.strip_prefix("#export "));
        let commented: String = comments.map(|line| format!("export {line}\n")).collect();
        let set = example(flavor.example).into_iter().chain(example(&commented));
        for (name, value) in set {
            assert!(names.contains(&name.as_str()), "{}.rc sets {name}", flavor.name);
            let variable = template.variables().find(|v| v.name == name).unwrap();
            assert!(value.is_empty() || variable.kind.check(&name, &value).is_ok(), "{name}");
        }
        let described = flavor.template.lines().filter_map(|line| line.strip_prefix("## "));
        for line in described.filter(|line| !line.starts_with(' ')) {
            let name = line.split(' ').next().unwrap();
            assert!(names.contains(&name), "{}: nothing uses {name}", flavor.name);
        }
    }
}

#[test]
fn privileged_decides_unless_isolation_is_given() {
    for flavor in ["development", "ubuntu", "kube-vip", "ovn"] {
        for (set, isolation) in [
            (&[][..], "privileged"),
            (&[("PRIVILEGED", "true")][..], "privileged"),
            (&[("PRIVILEGED", "")][..], "privileged"),
            (&[("PRIVILEGED", "false")][..], "shared"),
            (&[("PRIVILEGED", "true"), ("ISOLATION", "isolated")][..], "isolated"),
        ] {
            let objects = objects(flavor, set);
            let spec = &of_kind(&objects, "LXCCluster")["spec"];
            assert_eq!(spec["isolation"], isolation, "{flavor} {set:?}");
        }
    }
}

#[test]
fn a_target_may_be_a_quoted_or_unquoted_group() {
    for (value, target) in
        [("@gpu", "@gpu"), ("\"@gpu\"", "@gpu"), ("member-1", "member-1"), ("", "")]
    {
        let set = [
            ("CONTROL_PLANE_MACHINE_TARGET", value),
            ("WORKER_MACHINE_TARGET", value),
            ("LOAD_BALANCER_MACHINE_TARGET", value),
        ];
        let objects = objects("development", &set);
        let cluster = of_kind(&objects, "LXCCluster");
        assert_eq!(cluster["spec"]["loadBalancer"]["lxc"]["instanceSpec"]["target"], target);
        for template in objects.iter().filter(|object| object["kind"] == "LXCMachineTemplate") {
            assert_eq!(template["spec"]["template"]["spec"]["target"], target);
        }
        let objects = super::objects("default", &set[..2]);
        let topology = &of_kind(&objects, "Cluster")["spec"]["topology"];
        let variables = topology["variables"].as_array().unwrap();
        let placed: Vec<_> = variables.iter().filter_map(|it| it["value"].get("target")).collect();
        assert!(!placed.is_empty() && placed.iter().all(|it| **it == target), "{placed:?}");
    }
}

#[test]
fn the_requested_load_balancer_is_used() {
    for flavor in ["development", "ubuntu"] {
        let set = [("LXC_LOAD_BALANCER_TYPE", "oci"), ("LOAD_BALANCER_RANGES", "[10.0.0.9]")];
        let objects = objects(flavor, &set);
        let balancer = &of_kind(&objects, "LXCCluster")["spec"]["loadBalancer"];
        assert_eq!(balancer["oci"]["ranges"], json!(["10.0.0.9"]));
        assert_eq!(balancer.as_object().unwrap().len(), 1);
    }
}

#[test]
fn config_is_a_map_body() {
    let set = [("WORKER_MACHINE_CONFIG", r#"limits.cpu: "2", boot.autostart: "true""#)];
    let objects = objects("development", &set);
    let templates = objects.iter().filter(|object| object["kind"] == "LXCMachineTemplate");
    let configs: Vec<&Value> =
        templates.map(|t| &t["spec"]["template"]["spec"]["config"]).collect();
    assert_eq!(configs, [&json!({}), &json!({ "limits.cpu": "2", "boot.autostart": "true" })]);
}

#[test]
fn invalid_values_are_reported_before_output() {
    let flavor = capn_template::flavor::find("").unwrap();
    let template = Template::new(flavor.template).unwrap();
    let set = [
        ("CONTROL_PLANE_MACHINE_COUNT", "two"),
        ("PRIVILEGED", "maybe"),
        ("LOAD_BALANCER", "lxc"),
        ("WORKER_MACHINE_PROFILES", "default,nodes"),
    ];
    let error = template.render(&values(flavor, &set)).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace("; ", ";\n"), @r"
    CONTROL_PLANE_MACHINE_COUNT is `two`, which is not a whole number such as 3;
    LOAD_BALANCER is `lxc`, which is not a map such as lxc: {flavor: c1-m1};
    PRIVILEGED is `maybe`, which is not true or false;
    WORKER_MACHINE_PROFILES is `default,nodes`, which is not a list such as [a, b]
    ");
    assert!(
        matches!(template.render(&[].into()), Err(TemplateError::Missing(missing)) if missing.len() == 4)
    );
}

/// Flavors without a class differ in the load balancer, the image, and the installation of nodes.
#[test]
fn flavors_without_a_class_are_consistent() {
    let development = objects("development", &[]);
    for flavor in ["kube-vip", "ovn", "ubuntu"] {
        for (object, expected) in objects(flavor, &[]).iter().zip(&development) {
            let kind = object["kind"].as_str().unwrap();
            let differs = match flavor {
                "ubuntu" => ["LXCMachineTemplate", "KubeadmControlPlane", "KubeadmConfigTemplate"]
                    .contains(&kind),
                _ => kind == "LXCCluster",
            };
            assert_eq!(object != expected, differs, "{flavor}: {kind}");
        }
    }
    let install = "/opt/cluster-api/install-kubeadm.sh v1.36.2";
    let ubuntu = objects("ubuntu", &[]);
    let control_plane = &of_kind(&ubuntu, "KubeadmControlPlane")["spec"]["kubeadmConfigSpec"];
    let workers = &of_kind(&ubuntu, "KubeadmConfigTemplate")["spec"]["template"]["spec"];
    assert_eq!(control_plane["preKubeadmCommands"][0], install);
    assert_eq!(workers["preKubeadmCommands"][0], install);
}

/// References by name must resolve.
#[test]
fn references_resolve_within_the_template() {
    fn references<'v>(value: &'v Value, found: &mut Vec<(&'v str, &'v str)>) {
        match value {
            Value::Object(fields) => {
                if let (Some(kind), Some(name), true) =
                    (fields.get("kind"), fields.get("name"), fields.get("metadata").is_none())
                {
                    found.push((kind.as_str().unwrap(), name.as_str().unwrap()));
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let sets = FLAVORS.iter().map(|flavor| objects(flavor.name, &[]));
    for objects in sets.chain([parse(CLASS_MANIFESTS)]) {
        let mut found = Vec::new();
        objects.iter().for_each(|object| references(object, &mut found));
        for (kind, name) in found {
            let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
            assert!(objects.iter().any(|object| is(&object)), "there is no {kind} {name}");
        }
    }
}

#[test]
fn an_embedded_haproxy_configuration_is_valid() {
    for flavor in FLAVORS.iter().filter(|flavor| flavor.providers.is_some()) {
        let objects = objects(flavor.name, &[]);
        let balancer = &of_kind(&objects, "LXCCluster")["spec"]["loadBalancer"]["lxc"];
        let text = balancer["customHAProxyConfigTemplate"].as_str().unwrap();
        capn_plan::haproxy::Template::new(text).unwrap_or_else(|error| panic!("{error}"));
    }
}
