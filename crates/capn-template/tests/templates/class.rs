//! The class: rendering of its templates with the variables of a topology.

use capn_template::class::{Class, ClassError, Rendered};
use capn_template::flavor::CLASS_MANIFESTS;
use serde_json::{Value, json};

use super::{flavors, objects, of_kind, plane, yaml};

fn class() -> Class {
    Class::parse(CLASS_MANIFESTS).unwrap()
}

/// The Cluster of the default flavor, with these template variables.
fn cluster(set: &[(&str, &str)]) -> Value {
    let mut cluster = of_kind(&objects("default", set), "Cluster").clone();
    cluster["metadata"]["namespace"] = json!("default");
    cluster
}

/// The same, with class variables in the topology.
fn with(variables: &[(&str, Value)]) -> Value {
    let mut cluster = cluster(&[]);
    let list = cluster["spec"]["topology"]["variables"].as_array_mut().unwrap();
    for (name, value) in variables {
        list.retain(|variable| variable["name"] != *name);
        if !value.is_null() {
            list.push(json!({ "name": name, "value": value }));
        }
    }
    cluster
}

fn render(cluster: &Value) -> Rendered {
    let rendered = class().render(cluster).unwrap_or_else(|error| panic!("{error}"));
    for object in all(&rendered) {
        flavors::our_types_read(object);
    }
    rendered
}

fn all(rendered: &Rendered) -> Vec<&Value> {
    let workers = rendered.workers.values().flat_map(|w| [&w.bootstrap, &w.infrastructure]);
    [&rendered.infrastructure_cluster, &rendered.control_plane, &rendered.control_plane_machines]
        .into_iter()
        .chain(workers)
        .collect()
}

fn lxc_cluster(rendered: &Rendered) -> capn_api::LXCClusterSpec {
    let spec = rendered.infrastructure_cluster["spec"]["template"]["spec"].clone();
    serde_json::from_value(spec).unwrap()
}

/// Paths of the files of the control plane, and of the workers.
fn files(rendered: &Rendered) -> [Vec<&str>; 2] {
    let control_plane = &rendered.control_plane["spec"]["template"]["spec"]["kubeadmConfigSpec"];
    let workers = &rendered.workers["md-0"].bootstrap["spec"]["template"]["spec"];
    [control_plane, workers].map(|spec| {
        let files = spec["files"].as_array().unwrap();
        files.iter().map(|file| file["path"].as_str().unwrap()).collect()
    })
}

const USER_NAMESPACE: &str = "/etc/kubernetes/patches/kubeletconfiguration1+strategic.yaml";

#[test]
fn privileged_left_out_true_and_false() {
    let unset = render(&with(&[("privileged", Value::Null), ("isolation", Value::Null)]));
    let yes = render(&with(&[("privileged", json!(true))]));
    let no = render(&with(&[("privileged", json!(false))]));
    assert_eq!(unset, yes);
    assert_eq!(lxc_cluster(&yes).unprivileged, Some(false));
    assert_eq!(lxc_cluster(&no).unprivileged, Some(true));
    for (rendered, expected) in [(&yes, false), (&no, true)] {
        for files in files(rendered) {
            assert_eq!(files.contains(&USER_NAMESPACE), expected, "{files:?}");
        }
    }
    let file =
        no.workers["md-0"].bootstrap["spec"]["template"]["spec"]["files"][1]["content"].as_str();
    assert!(file.unwrap().contains("KubeletInUserNamespace: true"), "{file:?}");
    // The template does the same with its variable.
    assert_eq!(render(&cluster(&[("PRIVILEGED", "false")])), no);
    assert_eq!(render(&cluster(&[("PRIVILEGED", "")])), yes);
}

#[test]
fn isolation_decides_instead_of_privileged() {
    for (isolation, in_user_namespace) in
        [("shared", true), ("isolated", true), ("privileged", false)]
    {
        for privileged in [true, false] {
            let variables = [("isolation", json!(isolation)), ("privileged", json!(privileged))];
            let rendered = render(&with(&variables));
            let spec = lxc_cluster(&rendered);
            assert_eq!(spec.isolation.map(|i| i.to_string()).as_deref(), Some(isolation));
            assert_eq!(spec.unprivileged, None);
            assert!(
                files(&rendered).iter().all(|f| f.contains(&USER_NAMESPACE) == in_user_namespace)
            );
        }
    }
}

#[test]
fn a_virtual_machine_has_no_user_namespace() {
    let set = [("PRIVILEGED", "false"), ("WORKER_MACHINE_TYPE", "virtual-machine")];
    let rendered = render(&cluster(&set));
    let [control_plane, workers] = files(&rendered);
    assert!(control_plane.contains(&USER_NAMESPACE) && !workers.contains(&USER_NAMESPACE));
    assert_eq!(
        rendered.workers["md-0"].infrastructure["spec"]["template"]["spec"]["instanceType"],
        "virtual-machine"
    );
}

#[test]
fn every_load_balancer_option_reaches_the_cluster() {
    for (variable, endpoint, balancer) in [
        (json!({ "lxc": {} }), Value::Null, json!({ "lxc": {} })),
        (
            json!({ "lxc": { "target": "@gpu", "flavor": "c1-m1", "profiles": ["a"], "image": "haproxy" } }),
            Value::Null,
            json!({ "lxc": { "instanceSpec": { "target": "@gpu", "flavor": "c1-m1", "profiles": ["a"], "image": { "name": "haproxy" } } } }),
        ),
        (
            json!({ "oci": { "target": "@gpu" } }),
            Value::Null,
            json!({ "oci": { "instanceSpec": { "target": "@gpu" } } }),
        ),
        (
            json!({ "oci": {
                "ranges": ["10.0.0.1-10.0.0.9"],
                "disableHealthzCheck": true,
                "customHAProxyConfigTemplate": "bind {{ .FrontendControlPlanePort }} # \"<a>\"\n",
                "imageFingerprint": "abc", "imageServer": "https://s.example.org", "imageProtocol": "oci",
            } }),
            Value::Null,
            json!({ "oci": {
                "ranges": ["10.0.0.1-10.0.0.9"],
                "disableHealthzCheck": true,
                "customHAProxyConfigTemplate": "bind {{ .FrontendControlPlanePort }} # \"<a>\"\n",
                "instanceSpec": { "image": { "fingerprint": "abc", "server": "https://s.example.org", "protocol": "oci" } },
            } }),
        ),
        (
            json!({ "kube-vip": { "host": "10.0.42.1" } }),
            json!({ "host": "10.0.42.1", "port": 6443 }),
            json!({ "kubeVIP": {} }),
        ),
        (
            json!({ "kube-vip": { "host": "10.0.42.1", "interface": "eth0", "image": "i", "kubeconfigPath": "/k", "manifestPath": "/m" } }),
            json!({ "host": "10.0.42.1", "port": 6443 }),
            json!({ "kubeVIP": { "interface": "eth0", "image": "i", "kubeconfigPath": "/k", "manifestPath": "/m" } }),
        ),
        (
            json!({ "ovn": { "host": "10.100.42.1", "networkName": "ovn-0" } }),
            json!({ "host": "10.100.42.1", "port": 6443 }),
            json!({ "ovn": { "networkName": "ovn-0" } }),
        ),
        (
            json!({ "ovn": { "networkName": "ovn-0", "ranges": ["10.100.42.0/28"] } }),
            Value::Null,
            json!({ "ovn": { "networkName": "ovn-0", "ranges": ["10.100.42.0/28"] } }),
        ),
        (
            json!({ "external": { "host": "k8s.example.org" } }),
            json!({ "host": "k8s.example.org", "port": 6443 }),
            json!({ "external": {} }),
        ),
    ] {
        let rendered = render(&with(&[("loadBalancer", variable.clone())]));
        let spec = serde_json::to_value(lxc_cluster(&rendered)).unwrap();
        assert_eq!(spec["loadBalancer"], balancer, "{variable}");
        assert_eq!(spec["controlPlaneEndpoint"], endpoint, "{variable}");
        assert_eq!(spec["secretRef"]["name"], "lxc-secret");
    }
}

#[test]
fn the_network_defaults_to_that_of_the_profile() {
    for variable in [json!({ "mode": "own" }), json!({ "mode": "existing", "name": "lab" })] {
        let rendered = render(&with(&[("network", variable.clone())]));
        let spec = serde_json::to_value(lxc_cluster(&rendered)).unwrap();
        assert_eq!(spec["network"], variable);
    }
    let rendered = render(&with(&[("network", Value::Null)]));
    let spec = serde_json::to_value(lxc_cluster(&rendered)).unwrap();
    assert_eq!(spec.get("network"), None);
}

#[test]
fn the_endpoint_can_be_given_whole_or_in_part() {
    for (endpoint, balancer, expected) in [
        (json!({ "port": 7443 }), json!({ "lxc": {} }), json!({ "port": 7443 })),
        (
            json!({ "host": "10.0.0.9" }),
            json!({ "lxc": {} }),
            json!({ "host": "10.0.0.9", "port": 6443 }),
        ),
        (
            json!({ "host": "a", "port": 1 }),
            json!({ "external": { "host": "b" } }),
            json!({ "host": "b", "port": 1 }),
        ),
    ] {
        let rendered =
            render(&with(&[("controlPlaneEndpoint", endpoint), ("loadBalancer", balancer)]));
        let spec = serde_json::to_value(lxc_cluster(&rendered)).unwrap();
        assert_eq!(spec["controlPlaneEndpoint"], expected);
    }
}

#[test]
fn every_field_of_a_machine_can_be_reached() {
    let instance = json!({
        "type": "kind", "flavor": "c2-m4", "profiles": ["a"], "devices": ["eth0,type=nic,network=n"],
        "config": { "limits.cpu": "2" }, "target": "@gpu",
        "image": "i", "imageFingerprint": "abc", "imageServer": "https://s.example.org", "imageProtocol": "simplestreams",
    });
    let rendered =
        render(&with(&[("instance", instance), ("skipDefaultKubeadmProfile", json!(true))]));
    let spec = &rendered.control_plane_machines["spec"]["template"]["spec"];
    let expected = json!({
        "instanceType": "kind", "flavor": "c2-m4", "profiles": ["a"], "devices": ["eth0,type=nic,network=n"],
        "config": { "limits.cpu": "2" }, "target": "@gpu",
        "image": { "name": "i", "fingerprint": "abc", "server": "https://s.example.org", "protocol": "simplestreams" },
    });
    assert_eq!(spec, &expected);
    // The provider sets `providerID`; these are all other fields.
    let all = serde_json::to_value(
        serde_json::from_value::<capn_api::LXCMachineSpec>(spec.clone()).unwrap(),
    )
    .unwrap();
    assert_eq!(all, expected);
    assert!(lxc_cluster(&rendered).skip_default_kubeadm_profile);
    // The workers override the value.
    let workers = &rendered.workers["md-0"].infrastructure["spec"]["template"]["spec"];
    assert_eq!(workers["instanceType"], "container");
}

#[test]
fn nodes_install_at_boot_on_request() {
    let rendered = render(&cluster(&[("INSTALL_KUBEADM", "true")]));
    let install = "/opt/cluster-api/install-kubeadm.sh v1.36.2";
    let control_plane = &rendered.control_plane["spec"]["template"]["spec"]["kubeadmConfigSpec"];
    let workers = &rendered.workers["md-0"].bootstrap["spec"]["template"]["spec"];
    assert_eq!(control_plane["preKubeadmCommands"][0], install);
    assert_eq!(control_plane["preKubeadmCommands"].as_array().unwrap().len(), 2);
    assert_eq!(workers["preKubeadmCommands"], json!([install]));
    let rendered = render(&cluster(&[]));
    assert!(!all(&rendered).iter().any(|object| object.to_string().contains("install-kubeadm")));
}

#[test]
fn tags_of_images_are_in_the_cluster_configuration() {
    for (etcd, dns, expected) in [
        ("", "", Value::Null),
        ("3.5.16-0", "", json!({ "etcd": { "local": { "imageTag": "3.5.16-0" } } })),
        ("", "v1.11.3", json!({ "dns": { "imageTag": "v1.11.3" } })),
        ("1", "2", json!({ "etcd": { "local": { "imageTag": "1" } }, "dns": { "imageTag": "2" } })),
    ] {
        let rendered =
            render(&with(&[("etcdImageTag", json!(etcd)), ("coreDNSImageTag", json!(dns))]));
        let spec = &rendered.control_plane["spec"]["template"]["spec"]["kubeadmConfigSpec"];
        assert_eq!(spec.get("clusterConfiguration").unwrap_or(&Value::Null), &expected);
    }
}

#[test]
fn connection_tracking_is_left_to_the_host_in_every_cluster() {
    for privileged in ["true", "false"] {
        let rendered = render(&cluster(&[("PRIVILEGED", privileged)]));
        let [control_plane, _] = files(&rendered);
        assert!(control_plane.contains(&"/etc/kubernetes/kube-proxy.yaml"), "{control_plane:?}");
    }
}

#[tokio::test]
async fn rendered_objects_are_valid() {
    let render = |set: &[(&str, &str)]| {
        let rendered = render(&cluster(set));
        let mut objects: Vec<Value> = all(&rendered).into_iter().cloned().collect();
        for (index, object) in objects.iter_mut().enumerate() {
            object["metadata"]["name"] = json!(format!("demo-{index}"));
        }
        objects
    };
    let privileged = render(&[]);
    let unprivileged = render(&[("PRIVILEGED", "false"), ("INSTALL_KUBEADM", "true")]);
    insta::assert_snapshot!("class_unprivileged", yaml(&unprivileged));
    plane::accepts(&[("privileged", privileged), ("unprivileged", unprivileged)]).await;
}

#[test]
fn a_topology_that_does_not_fit_is_refused() {
    for (variables, says) in [
        (vec![("secretRef", Value::Null)], "variable secretRef: it is required but not set"),
        (vec![("unheard", json!(1))], "variable unheard: the class does not define it"),
        (vec![("privileged", json!("no"))], "variable privileged: \"no\" is not of type boolean"),
        (vec![("isolation", json!("jail"))], "is not one of"),
        (vec![("loadBalancer", json!({}))], "variable loadBalancer: it has 0 fields"),
        (vec![("loadBalancer", json!({ "lxc": {}, "oci": {} }))], "it has 2 fields: lxc, oci"),
        (
            vec![("loadBalancer", json!({ "kube-vip": {} }))],
            "variable loadBalancer.kube-vip: field host is missing",
        ),
        (
            vec![("instance", json!({ "size": 1 }))],
            "variable instance.size: the class does not define it",
        ),
        (vec![("controlPlaneEndpoint", json!({ "port": 70000 }))], "out of range"),
        (
            vec![("instance", json!({ "profiles": [1] }))],
            "variable instance.profiles[0]: 1 is not of type string",
        ),
    ] {
        let error = class().render(&with(&variables)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let mut unknown = cluster(&[]);
    unknown["spec"]["topology"]["workers"]["machineDeployments"][0]["class"] = json!("x");
    let error = class().render(&unknown).unwrap_err();
    assert_eq!(error.to_string(), "worker class `x` of the ClusterClass does not exist");
    assert!(matches!(Class::parse("a: b"), Err(ClassError::Manifests(_))));
}
