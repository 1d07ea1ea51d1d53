use super::*;
use crate::Role;

fn wanted() -> DesiredNetwork {
    DesiredNetwork {
        name: "capn-0a1b2c3d".into(),
        owner: Owner {
            namespace: "default".into(),
            name: "demo".into(),
            uid: "0a1b2c3d-1".into(),
            cluster: "demo".into(),
            machine: None,
            role: Role::Network,
        },
        ranges: vec!["10.244.0.0/16".into(), "10.96.0.0/12".into()],
        ipv6: false,
        is_used: false,
        deleting: false,
    }
}

/// The network as the server reports it, with this subnet.
fn made(wanted: &DesiredNetwork, v4: &str) -> Network {
    let Plan::Do(Step::Create(post)) = plan(wanted, &SubnetHistory::default(), None) else {
        panic!("not made")
    };
    let mut config = post.put.config;
    config.insert("ipv4.address".into(), v4.into());
    Network {
        name: post.name,
        kind: post.kind,
        managed: true,
        status: "Created".into(),
        config,
        ..Network::default()
    }
}

#[test]
fn names_are_those_of_network_interfaces() {
    assert_eq!(name("0A1b2c3d-4e5f-6789-abcd-ef0123456789"), "capn-0a1b2c3d");
    assert!(name(&"f".repeat(64)).len() <= 15);
}

#[test]
fn a_bridge_is_made_with_nat_and_marks() {
    let Plan::Do(Step::Create(post)) = plan(&wanted(), &SubnetHistory::default(), None) else {
        panic!("not made")
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&post).unwrap(), @r#"
    {
      "name": "capn-0a1b2c3d",
      "type": "bridge",
      "config": {
        "ipv4.address": "auto",
        "ipv4.nat": "true",
        "ipv6.address": "none",
        "user.capn.owner": "default/demo",
        "user.capn.owner-uid": "0a1b2c3d-1",
        "user.cluster-name": "demo",
        "user.cluster-namespace": "default",
        "user.cluster-role": "network"
      },
      "description": "cluster default/demo"
    }
    "#);
    let both = DesiredNetwork { ipv6: true, ..wanted() };
    let Plan::Do(Step::Create(post)) = plan(&both, &SubnetHistory::default(), None) else {
        panic!("not made")
    };
    assert_eq!(post.put.config["ipv6.address"], "auto");
    assert_eq!(post.put.config["ipv6.nat"], "true");
    assert_eq!(post.put.config["ipv6.dhcp.stateful"], "true");
    assert_eq!(post.put.config["security.acls"], both.name);
    assert_eq!(post.put.config["security.acls.default.egress.action"], "allow");
}

#[test]
fn an_instance_is_no_router_of_the_host() {
    assert_eq!(guard(&wanted()), None, "the host has no IPv6 on a bridge without");
    let acl = guard(&DesiredNetwork { ipv6: true, ..wanted() }).unwrap();
    assert_eq!(acl.name, wanted().name);
    assert_eq!(acl.config["user.capn.owner-uid"], "0a1b2c3d-1");
    let rule = &acl.egress[0];
    assert_eq!(
        (rule.action.as_str(), rule.protocol.as_str(), rule.icmp_type.as_str()),
        ("drop", "icmp6", "134")
    );
}

#[test]
fn an_unsuitable_subnet_is_replaced_before_it_is_used() {
    for (v4, does) in [
        ("10.7.3.1/24", true),
        ("10.7.3.1/16", true),
        ("10.7.3.1/28", false),
        ("10.244.7.1/24", false),
        ("10.100.7.1/24", false),
        ("none", false),
    ] {
        let observed = made(&wanted(), v4);
        let next = plan(&wanted(), &SubnetHistory::default(), Some(&observed));
        let moves =
            matches!(&next, Plan::Do(Step::Move(config)) if config["ipv4.address"] == "auto");
        assert_eq!((moves, next == Plan::Ready), (!does, does), "{v4}: {next:?}");
        let used = Network { used_by: vec!["/1.0/instances/a".into()], ..observed.clone() };
        assert_eq!(plan(&wanted(), &SubnetHistory::default(), Some(&used)), Plan::Ready, "{v4}");
        let told = DesiredNetwork { is_used: true, ..wanted() };
        assert_eq!(plan(&told, &SubnetHistory::default(), Some(&observed)), Plan::Ready, "{v4}");
    }
    let v6 = DesiredNetwork { ipv6: true, ranges: vec!["fd42::/16".into()], ..wanted() };
    let mut observed = made(&v6, "10.7.3.1/24");
    observed.config.insert("ipv6.address".into(), "fd42:1::1/64".into());
    assert!(matches!(
        plan(&v6, &SubnetHistory::default(), Some(&observed)),
        Plan::Do(Step::Move(_))
    ));
}

#[test]
fn a_free_subnet_is_chosen_if_the_server_finds_none() {
    let history = |taken: &[&str]| SubnetHistory {
        finds_none: true,
        taken: taken.iter().map(|it| (*it).to_owned()).collect(),
        ..SubnetHistory::default()
    };
    let address = |next: Plan| match next {
        Plan::Do(Step::Create(post)) => post.put.config["ipv4.address"].clone(),
        Plan::Do(Step::Move(config)) => config["ipv4.address"].clone(),
        next => panic!("{next:?}"),
    };
    let first = address(plan(&wanted(), &history(&[]), None));
    assert!(families::overlap("172.16.0.0/12", &first), "{first}");
    let second = address(plan(&wanted(), &history(&[&first]), None));
    assert!(!families::overlap(&first, &second), "{first} {second}");
    let third = address(plan(&wanted(), &history(&["172.16.0.0/12"]), None));
    assert!(families::overlap("192.168.0.0/16", &third), "{third}");
    let fourth = address(plan(&wanted(), &history(&["172.16.0.0/12", "192.168.0.0/16"]), None));
    assert!(families::overlap("10.0.0.0/8", &fourth), "{fourth}");
    assert!(wanted().ranges.iter().all(|range| !families::overlap(range, &fourth)), "{fourth}");
    assert_eq!(plan(&wanted(), &history(&["0.0.0.0/0"]), None), Plan::NoSubnet);
    // The server's choice overlapped three times.
    let tried = SubnetHistory { choices: SERVERS_CHOICES, ..SubnetHistory::default() };
    let moved = address(plan(&wanted(), &tried, Some(&made(&wanted(), "10.244.7.1/24"))));
    assert!(families::overlap("172.16.0.0/12", &moved), "{moved}");
}

#[test]
fn a_network_with_another_owner_is_neither_changed_nor_deleted() {
    let others = Network {
        name: wanted().name,
        managed: true,
        config: [("ipv4.address".to_owned(), "10.7.3.1/24".to_owned())].into(),
        ..Network::default()
    };
    let deleting = DesiredNetwork { deleting: true, ..wanted() };
    let another = DesiredNetwork {
        owner: Owner { uid: "u9".into(), name: "x".into(), cluster: "x".into(), ..wanted().owner },
        ..wanted()
    };
    for observed in [others, made(&another, "10.7.3.1/24")] {
        let next = plan(&wanted(), &SubnetHistory::default(), Some(&observed));
        assert!(matches!(&next, Plan::Refuse(text) if text.contains("default/demo")), "{next:?}");
        assert_eq!(plan(&deleting, &SubnetHistory::default(), Some(&observed)), Plan::Gone);
    }
}

#[test]
fn a_moved_cluster_takes_its_network_along() {
    let before = DesiredNetwork { owner: Owner { uid: "u0".into(), ..wanted().owner }, ..wanted() };
    let observed = made(&before, "10.7.3.1/24");
    let next = plan(&wanted(), &SubnetHistory::default(), Some(&observed));
    let missing = Config::from([("user.capn.owner-uid".to_owned(), "0a1b2c3d-1".to_owned())]);
    assert_eq!(next, Plan::Do(Step::Adopt(missing)));
}

#[test]
fn an_unused_network_is_deleted() {
    let deleting = DesiredNetwork { deleting: true, ..wanted() };
    let observed = made(&wanted(), "10.7.3.1/24");
    let users = vec!["/1.0/instances/a".to_owned()];
    let used = Network { used_by: users.clone(), ..observed.clone() };
    assert_eq!(plan(&deleting, &SubnetHistory::default(), Some(&used)), Plan::InUse(users));
    assert_eq!(plan(&deleting, &SubnetHistory::default(), Some(&observed)), Plan::Do(Step::Delete));
    assert_eq!(plan(&deleting, &SubnetHistory::default(), None), Plan::Gone);
}

#[test]
fn a_broken_network_is_reported() {
    let observed = Network { status: "Unavailable".into(), ..made(&wanted(), "10.7.3.1/24") };
    let next = plan(&wanted(), &SubnetHistory::default(), Some(&observed));
    assert_eq!(next, Plan::Broken("Unavailable".into()));
    let observed = Network { status: "Pending".into(), ..observed };
    assert_eq!(
        plan(&wanted(), &SubnetHistory::default(), Some(&observed)),
        Plan::Pending,
        "it comes yet"
    );
    let abandoned = SubnetHistory { abandoned: true, ..SubnetHistory::default() };
    assert_eq!(
        plan(&wanted(), &abandoned, Some(&observed)),
        Plan::Do(Step::Delete),
        "it never comes"
    );
    let used = Network { used_by: vec!["/1.0/instances/a".into()], ..observed.clone() };
    assert_eq!(plan(&wanted(), &abandoned, Some(&used)), Plan::Pending, "somebody is on it");
}
