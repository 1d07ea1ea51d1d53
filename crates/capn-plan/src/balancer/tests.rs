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
        deleting: false,
        endpoint_host: None,
        port: 6443,
        backend_port: 6443,
        backends: BTreeMap::new(),
        leaving: Vec::new(),
        template: None,
        launch: Some(Box::new(Launch {
            request: incus_api::InstancesPost::default(),
            target: None,
            pieces: Vec::new(),
        })),
    }
}

fn seen(status: u16, config: &Config, address: Option<&str>) -> Observed {
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
fn it_is_made_started_configured_and_then_serves() {
    let balancer = balancer();
    assert!(matches!(plan(&balancer, &Observed::default()), Plan::Do(Step::Create(_))));
    let fresh = seen(102, &ours(&[("volatile.apply_template", "create")]), None);
    assert_eq!(plan(&balancer, &fresh), Plan::Do(Step::Start(Vec::new())));
    let running = seen(103, &ours(&[]), None);
    assert_eq!(plan(&balancer, &running), Plan::Wait(WaitingOn::Address(None)));

    let addressed = seen(103, &ours(&[]), Some("10.0.0.2"));
    let Plan::Do(Step::Configure { hash, .. }) = plan(&balancer, &addressed) else {
        panic!("not configured");
    };
    let marked = seen(103, &ours(&[(keys::INSTANCE_CONFIG_HASH, &hash)]), Some("10.0.0.2"));
    assert_eq!(plan(&balancer, &marked), Plan::Serving(vec!["10.0.0.2".parse().unwrap()]));
}

#[test]
fn a_new_control_plane_changes_the_configuration() {
    let mut balancer = balancer();
    let addressed = seen(103, &ours(&[]), Some("10.0.0.2"));
    let Plan::Do(Step::Configure { hash, .. }) = plan(&balancer, &addressed) else {
        panic!("not configured");
    };
    balancer.backends.insert("demo-cp".into(), "10.0.0.7".parse().unwrap());
    let marked = seen(103, &ours(&[(keys::INSTANCE_CONFIG_HASH, &hash)]), Some("10.0.0.2"));
    let Plan::Do(Step::Configure { text, .. }) = plan(&balancer, &marked) else {
        panic!("not configured again");
    };
    assert!(text.contains("server demo-cp 10.0.0.7:6443"), "{text}");
}

#[test]
fn one_that_stopped_or_vanished_comes_back() {
    let balancer = Balancer { endpoint_host: Some("10.0.0.2".into()), ..balancer() };
    let stopped = seen(102, &ours(&[("volatile.last_state.power", "STOPPED")]), None);
    assert_eq!(plan(&balancer, &stopped), Plan::Do(Step::Start(Vec::new())));
    assert!(matches!(plan(&balancer, &Observed::default()), Plan::Do(Step::Create(_))));
}

#[test]
fn after_a_move_the_endpoint_vouches_for_it() {
    let moved = ours(&[(keys::INSTANCE_OWNER_UID, "u0")]);
    let mut balancer = balancer();
    assert!(matches!(plan(&balancer, &seen(103, &moved, Some("10.0.0.2"))), Plan::Refuse(_)));
    balancer.endpoint_host = Some("10.0.0.2".into());
    let adopt = plan(&balancer, &seen(103, &moved, Some("10.0.0.2")));
    assert!(matches!(adopt, Plan::Do(Step::Adopt(_))), "{adopt:?}");
}

#[test]
fn deletion_takes_away_ours_and_nothing_else() {
    let balancer = Balancer { deleting: true, launch: None, ..balancer() };
    assert_eq!(plan(&balancer, &Observed::default()), Plan::Gone);
    assert_eq!(plan(&balancer, &seen(103, &ours(&[]), None)), Plan::Do(Step::Delete));
    let foreign = ours(&[(keys::INSTANCE_OWNER_UID, "u2")]);
    assert_eq!(plan(&balancer, &seen(103, &foreign, None)), Plan::Gone);
}
