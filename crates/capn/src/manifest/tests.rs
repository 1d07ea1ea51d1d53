//! Golden files, and round trips of every document through the types.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::request::{ImageFacts, KubeProxyMode, testing::demo};
use super::*;
use crate::identity::testing::local;

/// Secret values for the request of [`everything`].
fn secrets() -> Secrets {
    let registries = vec![("registry.example.org".to_owned(), "user:password".to_owned())];
    Secrets { bootstrap_data: None, registries }
}

fn yaml(request: &ClusterRequest) -> String {
    to_yaml(&documents(request, &local(), &secrets())).unwrap()
}

fn none() -> ClusterRequest {
    ClusterRequest { bootstrap: Bootstrap::None, kubernetes_version: None, ..demo() }
}

fn everything() -> ClusterRequest {
    ClusterRequest {
        control_planes: 3,
        workers: 2,
        image: Some("my-node".into()),
        isolation: Isolation::Isolated,
        load_balancer: LoadBalancer::External,
        control_plane_endpoint: Some(Endpoint { host: "192.0.2.9".into(), port: 7443 }),
        cni: Cni::None,
        flavor: Some("c2-m4".into()),
        profiles: vec!["default".into(), "nodes".into()],
        devices: vec!["data,type=disk,source=/srv,path=/srv".into()],
        config: [("limits.cpu".to_owned(), "2".to_owned())].into(),
        allow_cgroup_v1: true,
        machine_health_checks: false,
        timeouts: Timeouts::Slow,
        image_facts: ImageFacts {
            etcd_image_tag: Some("3.5.16-0".into()),
            without_coredns: true,
            without_host_boot: false,
        },
        settings: serde_json::from_value(json!({
            "kubelet": { "serializeImagePulls": false },
            "apiServer": { "extraArgs": { "event-ttl": "2h0m0s" } },
            "containerd": { "dropIns": { "mine": "version = 3\n" } },
            "registries": [
                { "host": "docker.io", "mirrors": ["http://192.0.2.1:5000"] },
                {
                    "host": "registry.example.org", "mirrors": ["https://192.0.2.2"],
                    "credentialsFile": "/login",
                },
            ],
            "proxy": { "https": "http://192.0.2.3:3128" },
            "files": [{ "path": "/etc/mine", "content": "mine\n", "permissions": "0600" }],
            "preKubeadmCommands": ["before"],
            "postKubeadmCommands": ["after"],
        }))
        .unwrap(),
        ..demo()
    }
    .with_pools(vec![
        Pool::plain(DEFAULT_POOL, 2),
        Pool {
            flavor: Some("c4-m8".into()),
            image: Some("gpu-node".into()),
            devices: vec!["gpu,type=gpu".into()],
            labels: [("a", "b"), ("node-role.kubernetes.io/gpu", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            taints: vec!["gpu=true:NoSchedule".into()],
            ..Pool::plain("gpu", 1)
        },
    ])
}

#[test]
fn the_default_cluster() {
    insta::assert_snapshot!("default", yaml(&demo()));
}

#[test]
fn a_cluster_without_bootstrap() {
    insta::assert_snapshot!("none", yaml(&none()));
}

#[test]
fn a_cluster_with_every_option() {
    insta::assert_snapshot!("everything", yaml(&everything()));
}

#[test]
fn a_privileged_node_does_not_turn_on_the_user_namespace_gate() {
    let text = yaml(&ClusterRequest { isolation: Isolation::Privileged, ..demo() });
    assert!(!text.contains("KubeletInUserNamespace"), "{text}");
    assert!(text.contains("unprivileged: false"), "{text}");
}

#[test]
fn kubeadm_continues_when_the_project_hides_the_kernel_config() {
    let hidden = ImageFacts { without_host_boot: true, ..ImageFacts::default() };
    let text = yaml(&ClusterRequest { image_facts: hidden, ..demo() });
    assert_eq!(text.matches("SystemVerification").count(), 3, "{text}");
    assert!(!text.contains("failCgroupV1"), "{text}");
    assert!(!yaml(&demo()).contains("SystemVerification"));
}

#[test]
fn kubelet_and_kube_proxy_settings_depend_on_version_and_node() {
    let with = |version: &str, change: fn(&mut ClusterRequest)| {
        let mut request = ClusterRequest { kubernetes_version: Some(version.into()), ..demo() };
        change(&mut request);
        yaml(&request)
    };
    let cgroup: fn(&mut ClusterRequest) = |request| request.allow_cgroup_v1 = true;
    assert!(with("v1.31.0", cgroup).contains("failCgroupV1: false"));
    assert!(!with("v1.30.4", cgroup).contains("failCgroupV1"));
    let zfs: fn(&mut ClusterRequest) = |request| request.root_on_zfs = true;
    let off = "localStorageCapacityIsolation: false";
    assert!(with("v1.36.2", zfs).contains(off));
    assert!(!with("v1.35.9", zfs).contains(off));
    assert!(!with("v1.36.2", |_| {}).contains(off));
    let text = with("v1.36.2", |request| request.kube_proxy_mode = KubeProxyMode::Nftables);
    assert!(text.contains("mode: nftables") && text.contains("maxPerCore: 0"), "{text}");
}

#[test]
fn slow_timeouts_reach_every_kubeadm() {
    let text = yaml(&ClusterRequest { timeouts: Timeouts::Slow, ..demo() });
    // The first control plane, joining ones, and workers.
    assert_eq!(text.matches("controlPlaneComponentHealthCheckSeconds: 1200").count(), 3, "{text}");
    // kubeadm's first API request waits for the whole startup.
    assert_eq!(text.matches("kubernetesAPICallSeconds: 1200").count(), 3, "{text}");
    assert_eq!(text.matches("discoverySeconds: 1500").count(), 3, "{text}");
    assert!(!yaml(&demo()).contains("timeouts"));
}

#[test]
fn kubelet_keeps_images_that_cannot_be_pulled_again() {
    assert_eq!(yaml(&demo()).matches("imageGCHighThresholdPercent: 100").count(), 2);
}

#[test]
fn a_stock_image_becomes_a_node_before_kubeadm_runs() {
    let text = yaml(&ClusterRequest {
        install_kubeadm: true,
        image: Some("ubuntu:24.04".into()),
        ..demo()
    });
    let path = "/opt/cluster-api/install-kubeadm.sh";
    // Control plane and workers: one file and one command each.
    assert_eq!(text.matches(&format!("path: {path}")).count(), 2);
    assert_eq!(text.matches(&format!("- {path} v1.36.0")).count(), 2);
    assert!(!yaml(&demo()).contains("install-kubeadm"));
}

#[test]
fn max_pods_sets_kubelet_and_the_ids_of_isolated_nodes() {
    for (isolation, has_ids) in [(Isolation::Shared, false), (Isolation::Isolated, true)] {
        let text = yaml(&ClusterRequest { isolation, max_pods: Some(16), ..demo() });
        // Control plane and workers.
        assert_eq!(text.matches("maxPods: 16").count(), 2, "{isolation:?}");
        let ids = text.matches("security.idmap.size: \"1114112\"").count();
        assert_eq!(ids, if has_ids { 2 } else { 0 }, "{isolation:?}: {text}");
    }
    let text = yaml(&ClusterRequest { isolation: Isolation::Isolated, ..demo() });
    assert!(!text.contains("maxPods") && !text.contains("idmap.size"));
}

#[test]
fn the_lifecycle_writes_the_documents_that_the_table_names() {
    use capn_plan::versions;
    for version in ["1.21.0", "1.22.0", "1.30.99", "1.31.0", "1.36.2", "1.37.0"] {
        let expected = versions::kubeadm_api(version.parse().unwrap());
        assert_eq!(capn_lifecycle::kubeadm_api_version(version), expected, "{version}");
    }
}

#[test]
fn optional_images_have_the_names_that_pods_reference() {
    assert_eq!(capn_image::FLANNEL_IMAGE, capn_plan::flannel::IMAGE);
    assert_eq!(capn_image::KUBE_VIP_IMAGE, capn_plan::kube_vip::IMAGE);
}

#[test]
fn dual_stack_ranges_are_in_every_document_that_names_them() {
    let request = ClusterRequest {
        pod_cidr: "10.244.0.0/16,fd00:10:244::/56".into(),
        service_cidr: "10.96.0.0/12,fd00:10:96::/112".into(),
        storage_pool: Some("fast".into()),
        ..demo()
    };
    let text = yaml(&request);
    for (part, times) in [
        ("- fd00:10:244::/56", 1),
        ("- fd00:10:96::/112", 1),
        ("kubelet-node-ip 4 6", 2),
        ("storagePool: fast", 1),
        ("root,path=/,pool=fast,type=disk", 2),
    ] {
        assert_eq!(text.matches(part).count(), times, "{part} in {text}");
    }
}

#[test]
fn the_lifecycle_makes_the_binding_for_kubelets_where_the_table_says() {
    use capn_plan::versions;
    for minor in 30..=38 {
        for patch in 0..16 {
            let version = format!("1.{minor}.{patch}");
            let expected = versions::needs_kubelet_client_binding(version.parse().unwrap());
            let found = capn_lifecycle::needs_kubelet_client_binding(&format!("v{version}"));
            assert_eq!(found, expected, "{version}");
        }
    }
}

#[test]
fn doctor_knows_the_runc_that_the_table_names() {
    use capn_plan::versions;
    for runc in ["1.1.15+ds1-2", "1.2.7", "1.2.8", "1.3.0", "1.3.2", "1.3.3", "1.4.0-rc.1", "2.0"] {
        let expected = versions::runc_needs_nesting(runc.parse().unwrap());
        assert_eq!(capn_doctor::rules::writes_through_detached_procfs(runc), expected, "{runc}");
    }
}

#[test]
fn the_image_builder_writes_the_configuration_that_the_table_names() {
    use capn_image::containerd::ConfigFormat;
    use capn_plan::versions;
    for version in ["1.6.20", "1.7.24", "2.0.0", "2.2.1"] {
        let expected = versions::containerd_config_version(version.parse().unwrap());
        let found = ConfigFormat::of(version).number().to_string();
        assert_eq!(Some(found.as_str()), expected, "{version}");
    }
}

/// Parses a document as `T` and serializes it again: whatever is missing then is not a field of
/// `T`.
fn round_trip<T: DeserializeOwned + Serialize>(document: &Document) {
    let typed: T = serde_json::from_value(document.value().clone())
        .unwrap_or_else(|error| panic!("{}: {error}", document.shown()));
    let back = serde_json::to_value(typed).unwrap();
    assert_contains(&back, document.value(), &document.shown());
}

/// Asserts that everything in `part` is in `whole`, except for empty defaults.
fn assert_contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                let path = format!("{path}.{key}");
                match whole.get(key) {
                    Some(found) => assert_contains(found, value, &path),
                    None => panic!("{path} is lost"),
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

#[test]
fn types_round_trip_every_document() {
    for request in [demo(), none(), everything()] {
        for document in documents(&request, &local(), &secrets()) {
            match document.kind() {
                "Cluster" => round_trip::<capi_api::Cluster>(&document),
                "Machine" => round_trip::<capi_api::Machine>(&document),
                "MachineDeployment" => round_trip::<capi_api::MachineDeployment>(&document),
                "MachineHealthCheck" => round_trip::<capi_api::MachineHealthCheck>(&document),
                "KubeadmControlPlane" => round_trip::<capi_api::KubeadmControlPlane>(&document),
                "KubeadmConfigTemplate" => round_trip::<capi_api::KubeadmConfigTemplate>(&document),
                "LXCCluster" => round_trip::<capn_api::LXCCluster>(&document),
                "LXCMachine" => round_trip::<capn_api::LXCMachine>(&document),
                "LXCMachineTemplate" => round_trip::<capn_api::LXCMachineTemplate>(&document),
                "Secret" => round_trip::<k8s_openapi::api::core::v1::Secret>(&document),
                other => panic!("no type for {other}"),
            }
        }
    }
}

#[test]
fn the_recorded_request_round_trips() {
    let request = everything();
    let documents = documents(&request, &local(), &secrets());
    let pointer = format!("/metadata/annotations/{}", REQUEST_ANNOTATION.replace('/', "~1"));
    let recorded = documents[0].value().pointer(&pointer).and_then(Value::as_str).unwrap();
    assert_eq!(serde_json::from_str::<ClusterRequest>(recorded).unwrap(), request);
}

#[test]
fn the_longest_cluster_name_yields_valid_instance_names() {
    let request = ClusterRequest { name: "a".repeat(request::MAX_CLUSTER_NAME), ..demo() };
    assert!(format!("{}-xxxxx", request.control_plane_name()).len() <= 63);
    assert!(format!("{}-xxxxx-xxxxx", request.deployment_name(DEFAULT_POOL)).len() <= 63);
    assert!(format!("{}-12345-lb", request.name).len() <= 63);
}

#[test]
fn every_load_balancer_kind_sets_one_property_of_the_cluster() {
    let range = vec!["10.0.0.96/28".to_owned()];
    let cases = [
        (LoadBalancer::Lxc, json!({ "lxc": { "ranges": ["10.0.0.96/28"] } })),
        (LoadBalancer::Oci, json!({ "oci": { "ranges": ["10.0.0.96/28"] } })),
        (
            LoadBalancer::Ovn,
            json!({ "ovn": { "ranges": ["10.0.0.96/28"], "networkName": "ovn0" } }),
        ),
        (LoadBalancer::KubeVip, json!({ "kubeVIP": { "interface": "eth0" } })),
        (LoadBalancer::External, json!({ "external": {} })),
    ];
    for (load_balancer, expected) in cases {
        let request = ClusterRequest {
            load_balancer,
            load_balancer_network: Some("ovn0".into()),
            load_balancer_interface: Some("eth0".into()),
            load_balancer_ranges: range.clone(),
            ..demo()
        };
        let document = cluster::lxc_cluster(&request);
        assert_eq!(document.value()["spec"]["loadBalancer"], expected, "{load_balancer:?}");
        let spec = document.value()["spec"].clone();
        let spec: capn_api::LXCClusterSpec = serde_json::from_value(spec).unwrap();
        assert!(spec.load_balancer.kind().is_some(), "{load_balancer:?}");
    }
}
