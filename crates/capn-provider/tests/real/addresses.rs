//! Addresses of machines.

use capn_api::MachineAddressType;
use serde_json::json;

use crate::world::on_servers;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_the_addresses_of_its_routed_cards_of_both_families() {
    on_servers("a_machine_has_the_addresses_of_its_routed_cards", |mut world| async move {
        world.start();
        let name = format!("{}-a", world.cluster);
        world
            .make_cluster(json!({
                "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
            }))
            .await;
        world.provision().await;
        // Addresses that nobody else on this machine has: the cluster's name ends in random digits.
        let random = u16::from_str_radix(world.cluster.get(7..11).unwrap(), 16).unwrap();
        let [high, low] = random.to_be_bytes();
        let v4 = format!("10.198.{high}.{}", low.clamp(1, 254));
        let v6 = format!("fd42:7e57::{random:x}");
        let card =
            format!("eth1,type=nic,nictype=routed,name=eth1,ipv4.address={v4},ipv6.address={v6}");
        world.make_machine(&name, false, json!({ "devices": [card] })).await;
        let machine = world.ready_machine(&name).await;
        let addresses = machine.status.unwrap().addresses;
        let internal: Vec<_> = addresses
            .iter()
            .filter(|address| address.kind == MachineAddressType::InternalIp)
            .map(|address| address.address.clone())
            .collect();
        // The one of the other card may come later.
        for address in [v4, v6] {
            assert!(internal.contains(&address), "{address}: {internal:?}");
        }
        assert_eq!(addresses[0].kind, MachineAddressType::Hostname);
        world
    })
    .await;
}
