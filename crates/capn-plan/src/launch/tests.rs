use super::*;
use crate::owner::Role;

fn owner() -> Owner {
    Owner {
        namespace: "default".into(),
        name: "demo-cp-abc".into(),
        uid: "6a0b".into(),
        cluster: "demo".into(),
        machine: Some("demo-cp-abc".into()),
        role: Role::ControlPlane,
    }
}

fn server(flavor: Flavor) -> ServerFacts {
    ServerFacts {
        flavor,
        clustered: false,
        create_and_start: flavor == Flavor::Incus,
        unloadable_modules: UnloadableModules::default(),
    }
}

fn launched(
    spec: &LXCMachineSpec,
    isolation: Isolation,
    skip_defaults: bool,
    server: &ServerFacts,
) -> Launch {
    machine(&MachineLaunch {
        name: &InstanceName::new("demo-cp-abc").unwrap(),
        owner: &owner(),
        spec,
        isolation,
        skip_defaults,
        source: InstanceSource::alias("capn/kubeadm/v1.36.0"),
        user_data: Some("#cloud-config\n"),
        server,
        restrictions: &ProjectRestrictions::default(),
        injected_files: Vec::new(),
        placement: &spec.target,
        cluster_nic: None,
    })
    .unwrap()
}

fn json(launch: &Launch) -> String {
    serde_json::to_string_pretty(&launch.request).unwrap()
}

#[test]
fn an_unprivileged_container_on_incus() {
    let launch =
        launched(&LXCMachineSpec::default(), Isolation::Shared, false, &server(Flavor::Incus));
    insta::assert_snapshot!(json(&launch), @r##"
    {
      "name": "demo-cp-abc",
      "type": "container",
      "source": {
        "type": "image",
        "alias": "capn/kubeadm/v1.36.0"
      },
      "config": {
        "cloud-init.user-data": "#cloud-config\n",
        "linux.kernel_modules": "ip_vs,ip_vs_rr,ip_vs_wrr,ip_vs_sh,ip_tables,ip6_tables,iptable_raw,netlink_diag,nf_nat,overlay,br_netfilter,xt_socket,vxlan",
        "security.nesting": "true",
        "user.capn.owner": "default/demo-cp-abc",
        "user.capn.owner-uid": "6a0b",
        "user.cluster-name": "demo",
        "user.cluster-namespace": "default",
        "user.cluster-role": "control-plane",
        "user.machine-name": "demo-cp-abc"
      },
      "devices": {
        "kubeadm-host-boot": {
          "path": "/usr/lib/ostree-boot",
          "readonly": "true",
          "required": "false",
          "source": "/boot",
          "type": "disk"
        }
      },
      "ephemeral": false,
      "profiles": [
        "default"
      ],
      "start": true
    }
    "##);
}

#[test]
fn a_privileged_container_on_lxd_with_flavor_profiles_and_devices() {
    let spec = LXCMachineSpec {
        flavor: "c2-m4".into(),
        profiles: vec!["default".into(), "storage".into()],
        devices: vec!["kubeadm-host-boot,type=none".into(), "eth0,type=nic,network=lab".into()],
        config: [("limits.cpu".to_owned(), "3".to_owned())].into(),
        ..LXCMachineSpec::default()
    };
    let launch = launched(&spec, Isolation::Privileged, false, &server(Flavor::Lxd));
    insta::assert_snapshot!(json(&launch), @r##"
    {
      "name": "demo-cp-abc",
      "type": "container",
      "source": {
        "type": "image",
        "alias": "capn/kubeadm/v1.36.0"
      },
      "instance_type": "c2-m4",
      "config": {
        "cloud-init.user-data": "#cloud-config\n",
        "limits.cpu": "3",
        "linux.kernel_modules": "ip_vs,ip_vs_rr,ip_vs_wrr,ip_vs_sh,ip_tables,ip6_tables,iptable_raw,netlink_diag,nf_nat,overlay,br_netfilter,xt_socket,vxlan",
        "raw.lxc": "lxc.apparmor.profile=unconfined\nlxc.mount.auto=proc:rw sys:rw cgroup:rw\nlxc.cgroup.devices.allow=a\nlxc.cgroup2.devices.allow=a\nlxc.cap.drop=\n",
        "security.nesting": "true",
        "security.privileged": "true",
        "user.capn.owner": "default/demo-cp-abc",
        "user.capn.owner-uid": "6a0b",
        "user.cluster-name": "demo",
        "user.cluster-namespace": "default",
        "user.cluster-role": "control-plane",
        "user.machine-name": "demo-cp-abc"
      },
      "devices": {
        "eth0": {
          "network": "lab",
          "type": "nic"
        },
        "kubeadm-host-boot": {
          "type": "none"
        },
        "kubelet-dev-kmsg": {
          "path": "/dev/kmsg",
          "source": "/dev/kmsg",
          "type": "unix-char"
        }
      },
      "ephemeral": false,
      "profiles": [
        "default",
        "storage"
      ]
    }
    "##);
}

#[test]
fn without_defaults_an_isolated_container_keeps_its_own_user_ids() {
    let launch =
        launched(&LXCMachineSpec::default(), Isolation::Isolated, true, &server(Flavor::Incus));
    let config: Vec<_> = launch.request.config.keys().map(String::as_str).collect();
    assert_eq!(
        config,
        [
            "cloud-init.user-data",
            "security.idmap.isolated",
            "user.capn.owner",
            "user.capn.owner-uid",
            "user.cluster-name",
            "user.cluster-namespace",
            "user.cluster-role",
            "user.machine-name",
        ]
    );
    assert!(launch.request.devices.is_empty());
}

#[test]
fn the_user_overrides_everything_but_the_owner_keys() {
    let config = [
        ("security.nesting", "false"),
        ("cloud-init.user-data", "mine"),
        ("user.cluster-name", "other"),
        ("user.capn.owner-uid", "other"),
    ];
    let spec = LXCMachineSpec {
        config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..LXCMachineSpec::default()
    };
    let launch = launched(&spec, Isolation::Shared, false, &server(Flavor::Incus));
    let get = |key: &str| launch.request.config[key].as_str();
    assert_eq!(get("security.nesting"), "false");
    assert_eq!(get("cloud-init.user-data"), "mine");
    assert_eq!(get("user.cluster-name"), "demo");
    assert_eq!(get("user.capn.owner-uid"), "6a0b");
}

#[test]
fn a_target_is_only_used_on_a_clustered_server() {
    let spec = LXCMachineSpec { target: "@gpu".into(), ..LXCMachineSpec::default() };
    let mut server = server(Flavor::Incus);
    assert_eq!(launched(&spec, Isolation::Shared, false, &server).target, None);
    server.clustered = true;
    assert_eq!(launched(&spec, Isolation::Shared, false, &server).target.as_deref(), Some("@gpu"));
}

#[test]
fn a_server_known_to_load_no_modules_is_not_asked_to() {
    let mut server = server(Flavor::Incus);
    server
        .unloadable_modules
        .learn("Failed to load kernel module 'ip_vs': executable file not found");
    let launch = launched(&LXCMachineSpec::default(), Isolation::Shared, false, &server);
    assert_eq!(launch.request.config.get(modules::KEY), None);
    assert!(launch.request.config["user.capn.kernel-modules"].contains("no modprobe"));
}

#[test]
fn a_missing_module_is_removed_from_an_existing_instance() {
    let mut server = server(Flavor::Incus);
    let made = launched(&LXCMachineSpec::default(), Isolation::Shared, false, &server).request;
    server
        .unloadable_modules
        .learn("Failed to load kernel module 'ip_vs': executable file not found");
    let changes = without_modules(&made.config, &server.unloadable_modules).unwrap();
    assert_eq!(changes[modules::KEY], "");

    let own = [(modules::KEY.to_owned(), "zfs".to_owned())].into();
    assert_eq!(without_modules(&own, &server.unloadable_modules), None);
}

#[test]
fn a_load_balancer_is_unprivileged_and_marked() {
    let owner = Owner { name: "demo".into(), machine: None, role: Role::LoadBalancer, ..owner() };
    let name = InstanceName::load_balancer("demo", "default").unwrap();
    let launch = load_balancer(
        &name,
        &owner,
        &LoadBalancerInstanceSpec::default(),
        Isolation::Privileged,
        InstanceSource::alias("capn/haproxy"),
        None,
        &server(Flavor::Incus),
    );
    insta::assert_snapshot!(json(&launch), @r##"
    {
      "name": "demo-37a8e-lb",
      "type": "container",
      "source": {
        "type": "image",
        "alias": "capn/haproxy"
      },
      "config": {
        "security.nesting": "true",
        "user.capn.owner": "default/demo",
        "user.capn.owner-uid": "6a0b",
        "user.cluster-name": "demo",
        "user.cluster-namespace": "default",
        "user.cluster-role": "loadbalancer"
      },
      "devices": {},
      "ephemeral": false,
      "start": true
    }
    "##);
}

#[test]
fn a_load_balancer_of_isolated_nodes_has_ids_of_its_own() {
    let owner = Owner { name: "demo".into(), machine: None, role: Role::LoadBalancer, ..owner() };
    let name = InstanceName::load_balancer("demo", "default").unwrap();
    for (isolation, own_ids) in [
        (Isolation::Privileged, None),
        (Isolation::Shared, None),
        (Isolation::Isolated, Some("true")),
    ] {
        let launch = load_balancer(
            &name,
            &owner,
            &LoadBalancerInstanceSpec::default(),
            isolation,
            InstanceSource::alias("capn/haproxy"),
            None,
            &server(Flavor::Incus),
        );
        let config = &launch.request.config;
        assert_eq!(config.get("security.idmap.isolated").map(String::as_str), own_ids);
        assert_eq!(config.get("security.privileged"), None, "{isolation:?}");
    }
}

#[test]
fn an_instance_that_something_is_put_into_is_not_started_by_the_request() {
    let injected_files =
        vec![InjectedFile::Link { path: "/init".into(), target: "/sbin/init".into() }];
    let launch = machine(&MachineLaunch {
        name: &InstanceName::new("demo-cp-abc").unwrap(),
        owner: &owner(),
        spec: &LXCMachineSpec::default(),
        isolation: Isolation::Shared,
        skip_defaults: false,
        source: InstanceSource::alias("debian"),
        user_data: Some(""),
        server: &server(Flavor::Incus),
        restrictions: &ProjectRestrictions::default(),
        injected_files: injected_files.clone(),
        placement: "",
        cluster_nic: None,
    })
    .unwrap();
    assert!(!launch.request.start);
    assert_eq!(launch.injected_files, injected_files);
}

#[test]
fn a_virtual_machine_gets_no_access_to_the_host() {
    let spec = LXCMachineSpec {
        instance_type: MachineType::VirtualMachine,
        flavor: "c2-m4".into(),
        config: [("security.secureboot".to_owned(), "false".to_owned())].into(),
        ..LXCMachineSpec::default()
    };
    for isolation in [Isolation::Shared, Isolation::Isolated, Isolation::Privileged] {
        let launch = launched(&spec, isolation, false, &server(Flavor::Incus));
        assert_eq!(launch.request.instance_type, InstanceType::VirtualMachine);
        assert!(launch.request.devices.is_empty(), "{:?}", launch.request.devices);
        let keys: Vec<_> = launch.request.config.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "cloud-init.user-data",
                "security.secureboot",
                "user.capn.owner",
                "user.capn.owner-uid",
                "user.cluster-name",
                "user.cluster-namespace",
                "user.cluster-role",
                "user.machine-name",
            ]
        );
    }
}

#[test]
fn a_node_of_kinds_image_has_its_entry_point_whatever_is_left_out() {
    let spec = LXCMachineSpec { instance_type: MachineType::Kind, ..LXCMachineSpec::default() };
    for (isolation, skip, nesting) in [
        (Isolation::Privileged, false, None),
        (Isolation::Shared, false, Some("true")),
        (Isolation::Shared, true, None),
    ] {
        let launch = launched(&spec, isolation, skip, &server(Flavor::Incus));
        let config = |key: &str| launch.request.config.get(key).map(String::as_str);
        assert_eq!(launch.request.instance_type, InstanceType::Container);
        assert_eq!(config("oci.entrypoint"), Some("/init /sbin/init"));
        assert_eq!(config("security.nesting"), nesting, "{isolation} {skip}");
    }
}

#[test]
fn the_first_nic_of_a_machine_is_on_the_cluster_network() {
    let cluster_nic =
        ClusterNic { device: "eth0".into(), interface: "eth0".into(), network: "capn-1".into() };
    let spec = LXCMachineSpec {
        devices: vec!["eth0,type=nic,limits.max=1Gbit".into(), "lan,type=nic,network=lab".into()],
        ..LXCMachineSpec::default()
    };
    let launch = machine(&MachineLaunch {
        name: &InstanceName::new("demo-cp-abc").unwrap(),
        owner: &owner(),
        spec: &spec,
        isolation: Isolation::Shared,
        skip_defaults: true,
        source: InstanceSource::alias("debian"),
        user_data: Some(""),
        server: &server(Flavor::Incus),
        restrictions: &ProjectRestrictions::default(),
        injected_files: Vec::new(),
        placement: "",
        cluster_nic: Some(&cluster_nic),
    })
    .unwrap();
    let device = |name: &str, key: &str| {
        launch.request.devices[name].get(key).map(String::as_str).unwrap_or_default().to_owned()
    };
    assert_eq!(device("eth0", "network"), "capn-1");
    assert_eq!(device("eth0", "name"), "eth0");
    assert_eq!(device("eth0", "limits.max"), "1Gbit");
    assert_eq!(device("lan", "network"), "lab");
}
