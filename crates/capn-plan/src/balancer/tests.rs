use super::*;
use crate::owner::Role;
use serde_json::json;

fn balancer() -> Balancer {
    Balancer {
        name: InstanceName::new("demo-37a8e-lb").unwrap(),
        kind: Kind::Lxc,
        owner: Owner {
            namespace: "default".into(),
            name: "demo".into(),
            uid: "u1".into(),
            cluster: "demo".into(),
            machine: None,
            role: Role::LoadBalancer,
        },
        isolation: Isolation::Isolated,
        deleting: false,
        endpoint_host: None,
        family: None,
        port: 6443,
        backend_port: 6443,
        backends: BTreeMap::new(),
        draining: Vec::new(),
        check: Check::Healthz,
        template: None,
        launch: Some(Box::new(Launch {
            request: incus_api::InstancesPost::default(),
            target: None,
            injected_files: Vec::new(),
        })),
    }
}

fn observed(status: u16, config: &Config, address: Option<&str>) -> Observed {
    let network = address.map(|address| {
        json!({ "eth0": { "host_name": "veth0", "addresses": [
            { "family": "inet", "address": address, "netmask": "24", "scope": "global" },
        ] } })
    });
    let instance = json!({
        "name": "demo-37a8e-lb", "status_code": status, "config": config,
        "state": { "network": network },
    });
    Observed { instance: Some(serde_json::from_value(instance).unwrap()), ..Observed::default() }
}

fn ours(extra: &[(&str, &str)]) -> Config {
    let mut config = balancer().owner.config();
    config.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    config
}

#[test]
fn a_load_balancer_is_created_started_configured_and_serves() {
    let balancer = balancer();
    assert!(matches!(plan(&balancer, &Observed::default()), Plan::Do(Step::Create(_))));
    let fresh = observed(102, &ours(&[("volatile.apply_template", "create")]), None);
    assert_eq!(plan(&balancer, &fresh), Plan::Do(Step::Start(Vec::new())));
    let running = observed(103, &ours(&[]), None);
    assert_eq!(plan(&balancer, &running), Plan::Wait(WaitingOn::Address(None)));

    let addressed = observed(103, &ours(&[]), Some("10.0.0.2"));
    let Plan::Do(Step::Configure { hash, .. }) = plan(&balancer, &addressed) else {
        panic!("not configured");
    };
    let marked = observed(103, &ours(&[(keys::INSTANCE_CONFIG_HASH, &hash)]), Some("10.0.0.2"));
    assert_eq!(plan(&balancer, &marked), Plan::Serving(vec!["10.0.0.2".parse().unwrap()]));
}

#[test]
fn a_new_control_plane_changes_the_configuration() {
    let mut balancer = balancer();
    let addressed = observed(103, &ours(&[]), Some("10.0.0.2"));
    let Plan::Do(Step::Configure { hash, .. }) = plan(&balancer, &addressed) else {
        panic!("not configured");
    };
    balancer.backends.insert("demo-cp".into(), "10.0.0.7".parse().unwrap());
    let marked = observed(103, &ours(&[(keys::INSTANCE_CONFIG_HASH, &hash)]), Some("10.0.0.2"));
    let Plan::Do(Step::Configure { text, .. }) = plan(&balancer, &marked) else {
        panic!("not configured again");
    };
    assert!(text.contains("server demo-cp 10.0.0.7:6443"), "{text}");
}

#[test]
fn a_stopped_or_lost_load_balancer_comes_back() {
    let balancer = Balancer { endpoint_host: Some("10.0.0.2".into()), ..balancer() };
    let stopped = observed(102, &ours(&[("volatile.last_state.power", "STOPPED")]), None);
    assert_eq!(plan(&balancer, &stopped), Plan::Do(Step::Start(Vec::new())));
    assert!(matches!(plan(&balancer, &Observed::default()), Plan::Do(Step::Create(_))));
}

#[test]
fn the_endpoint_proves_ownership_after_a_move() {
    let moved = ours(&[(keys::INSTANCE_OWNER_UID, "u0")]);
    let mut balancer = balancer();
    assert!(matches!(plan(&balancer, &observed(103, &moved, Some("10.0.0.2"))), Plan::Refuse(_)));
    balancer.endpoint_host = Some("10.0.0.2".into());
    let adopt = plan(&balancer, &observed(103, &moved, Some("10.0.0.2")));
    assert!(matches!(adopt, Plan::Do(Step::Adopt(_))), "{adopt:?}");
}

#[test]
fn deletion_takes_away_ours_and_nothing_else() {
    let balancer = Balancer { deleting: true, launch: None, ..balancer() };
    assert_eq!(plan(&balancer, &Observed::default()), Plan::Gone);
    assert_eq!(plan(&balancer, &observed(103, &ours(&[]), None)), Plan::Do(Step::Delete));
    let foreign = ours(&[(keys::INSTANCE_OWNER_UID, "u2")]);
    assert_eq!(plan(&balancer, &observed(103, &foreign, None)), Plan::Gone);
}

/// With more addresses, and devices of its own.
fn with(
    mut observed: Observed,
    addresses: &[(&str, &str, &str)],
    devices: serde_json::Value,
) -> Observed {
    let instance = observed.instance.as_mut().unwrap();
    instance.devices = serde_json::from_value(devices).unwrap();
    let nic = instance.state.as_mut().unwrap().network.get_mut("eth0").unwrap();
    for (family, address, scope) in addresses {
        let address = json!({
            "family": family, "address": address, "netmask": "64", "scope": scope,
        });
        nic.addresses.push(serde_json::from_value(address).unwrap());
    }
    observed
}

#[test]
fn ipv6_is_listened_on_where_there_is_any() {
    let link_local = [("inet6", "fe80::1", "link")];
    for (addresses, bind) in [(&link_local[..], "bind :::6443 v4v6"), (&[], "bind *:6443")] {
        let observed = with(observed(103, &ours(&[]), Some("10.0.0.2")), addresses, json!({}));
        let Plan::Do(Step::Configure { text, .. }) = plan(&balancer(), &observed) else {
            panic!("not configured");
        };
        assert!(text.contains(bind), "{text}");
    }
}

#[test]
fn a_static_address_is_waited_for_before_the_endpoint_is_set() {
    let fixed = json!({ "eth0": {
        "type": "nic", "ipv4.address": "10.0.0.2", "ipv6.address": "fd42::2",
    } });
    let half = || with(observed(103, &ours(&[]), Some("10.0.0.2")), &[], fixed.clone());
    assert_eq!(plan(&balancer(), &half()), Plan::Wait(WaitingOn::Address(None)));
    let whole = with(half(), &[("inet6", "fd42::2", "global")], fixed.clone());
    assert!(matches!(plan(&balancer(), &whole), Plan::Do(Step::Configure { .. })));
    let known = Balancer { endpoint_host: Some("10.0.0.2".into()), ..balancer() };
    assert!(matches!(plan(&known, &half()), Plan::Do(Step::Configure { .. })));
}

#[test]
fn files_are_injected_into_an_application_container_before_it_starts() {
    let oci = Balancer { kind: Kind::Oci, ..balancer() };
    let fresh = observed(102, &ours(&[("volatile.apply_template", "create")]), None);
    let Plan::Do(Step::Start(injected_files)) = plan(&oci, &fresh) else { panic!("not started") };
    let paths: Vec<_> = injected_files.iter().map(InjectedFile::path).collect();
    assert_eq!(paths, ["/etc/environment", OCI_CONFIG]);
    let stopped = observed(102, &ours(&[("volatile.last_state.power", "STOPPED")]), None);
    assert_eq!(plan(&oci, &stopped), Plan::Do(Step::Start(Vec::new())));
    let launch = as_kind(Kind::Oci, *balancer().launch.unwrap());
    assert_eq!(launch.request.config["oci.entrypoint"], OCI_ENTRYPOINT);
    assert!(!launch.request.start);
}

#[test]
fn a_template_that_cannot_be_rendered_changes_nothing() {
    let template = Template::new("{{ range .BackendServers }}{{ .Address }}{{ end }}").unwrap();
    let good = Balancer { template: Some(template), ..balancer() };
    let addressed = observed(103, &ours(&[]), Some("10.0.0.2"));
    assert!(matches!(plan(&good, &addressed), Plan::Do(Step::Configure { .. })));
    // It is well with the servers of the trial, and not with none.
    let template = Template::new(
        "{{ if .BackendServers }}ok{{ else }}{{ index .BackendServers 1 2 }}{{ end }}",
    );
    let odd = Balancer { template: Some(template.unwrap()), ..balancer() };
    let Plan::Invalid(message) = plan(&odd, &addressed) else { panic!("rendered") };
    assert!(message.contains("spec.loadBalancer.lxc.customHAProxyConfigTemplate"), "{message}");
}

#[test]
fn an_instance_that_breaks_the_promise_is_not_started() {
    let mut balancer = balancer();
    let mut config = serde_json::to_value(balancer.owner.config()).unwrap();
    config["volatile.last_state.power"] = json!("STOPPED");
    let observed = |expanded: serde_json::Value| Observed {
        instance: Some(Box::new(
            serde_json::from_value(json!({
                "name": "demo-37a8e-lb", "status_code": 102, "config": config,
                "expanded_config": expanded,
            }))
            .unwrap(),
        )),
        ..Observed::default()
    };
    let kept = observed(json!({}));
    assert_eq!(plan(&balancer, &kept), Plan::Do(Step::Start(Vec::new())));
    let open = observed(json!({ "raw.lxc": "x" }));
    assert!(matches!(plan(&balancer, &open), Plan::Invalid(text) if text.contains("raw.lxc=x")));
    balancer.isolation = Isolation::Privileged;
    assert_eq!(plan(&balancer, &open), Plan::Do(Step::Start(Vec::new())));
}
