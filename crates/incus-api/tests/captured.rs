//! Responses captured from Incus 6.0.4 and LXD 5.0.2 (files in `captured/`), parsed with the types.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know for tests")]

use incus_api::{
    AddressScope, Event, EventKind, Flavor, InstanceFull, InstanceType, Reply, Server, StatusCode,
};
use serde::de::DeserializeOwned;

fn sync<T: DeserializeOwned>(json: &str) -> T {
    let Reply::Sync(value) = Reply::parse(json.as_bytes()).unwrap() else { unreachable!() };
    serde_json::from_value(value).unwrap()
}

#[test]
fn server_flavor_and_extensions_are_read() {
    for (json, flavor, version, create_start) in [
        (include_str!("captured/incus-server.json"), Flavor::Incus, (6, 0), true),
        (include_str!("captured/lxd-server.json"), Flavor::Lxd, (5, 0), false),
    ] {
        let server: Server = sync(json);
        assert_eq!(server.flavor(), flavor);
        assert_eq!(server.version(), Some(version));
        assert_eq!(server.supports("instance_create_start"), create_start);
        assert!(server.supports("api_filtering") && server.is_trusted());
        assert_eq!(server.environment.architectures[0], "x86_64");
    }
}

#[test]
fn instances_come_with_their_addresses() {
    for (json, address) in [
        (include_str!("captured/incus-instances.json"), "10.155.0."),
        (include_str!("captured/lxd-instances.json"), "10.166.0."),
    ] {
        let instances: Vec<InstanceFull> = sync(json);
        let instance = &instances[0];
        assert_eq!((instance.name.as_str(), instance.project.as_str()), ("web", "lab"));
        assert_eq!(instance.instance_type, InstanceType::Container);
        assert_eq!(instance.status_code, StatusCode::Running);
        assert!(instance.is_running() && !instance.is_stopped());
        assert_eq!(instance.expanded_devices["root"]["pool"], "default");
        assert!(instance.snapshots.is_empty(), "null is an empty list");

        let state = instance.state.as_ref().unwrap();
        assert!(state.pid > 0);
        let addresses = state.global_addresses();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        assert_eq!(addresses[0].0, "eth0");
        assert!(addresses[0].1.address.starts_with(address));
        assert!(state.network["lo"].addresses.iter().all(|a| a.scope == AddressScope::Local));

        let put = instance.to_put();
        assert_eq!(put.config, instance.config);
        assert_eq!(put.profiles.as_ref().unwrap(), &instance.profiles);
    }
}

#[test]
fn events_carry_operations_and_lifecycles() {
    for (lines, id) in [
        (include_str!("captured/incus-events.ndjson"), "0a0d6dee-3bc4-4b99-8382-9999fee211f5"),
        (include_str!("captured/lxd-events.ndjson"), "f4164971-8b5f-40d7-9999-cdded75d718d"),
    ] {
        let events: Vec<Event> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let operations: Vec<_> = events.iter().filter_map(Event::operation).collect();
        let codes: Vec<_> = operations.iter().map(|o| o.status_code).collect();
        assert_eq!(
            codes,
            [StatusCode::Pending, StatusCode::Running, StatusCode::Success, StatusCode::Failure]
        );
        assert_eq!(operations[0].id, id);
        assert!(operations.iter().all(|o| o.concerns("/1.0/instances/web")));
        assert!(operations[0].metadata.is_empty(), "null is an empty map");
        assert!(
            operations[3].err.starts_with("Failed creating instance record"),
            "{}",
            operations[3].err
        );

        let lifecycles: Vec<_> = events.iter().filter_map(Event::lifecycle).collect();
        assert_eq!(lifecycles[0].action, "instance-created");
        assert!(lifecycles.iter().all(|l| l.instance() == Some("web")));
        assert!(events.iter().all(|e| e.kind != EventKind::Logging && e.project == "lab"));
    }
}
