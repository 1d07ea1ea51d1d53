//! Addresses of machines.

use capn_api::MachineAddressType;
use serde_json::json;

use crate::harness::on_servers;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_the_addresses_of_its_routed_nics_of_both_families() {
    on_servers("a_machine_has_the_addresses_of_its_routed_nics", |mut env| async move {
        env.start();
        let name = format!("{}-a", env.cluster);
        // Routed NICs change what the host sends where: only `privileged` allows them.
        env.make_cluster(json!({
            "unprivileged": null, "isolation": "privileged",
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        env.provision().await;
        // Addresses that nothing else on this host uses: the name of the cluster ends in random
        // digits.
        let random = u16::from_str_radix(env.cluster.get(7..11).unwrap(), 16).unwrap();
        let [high, low] = random.to_be_bytes();
        let v4 = format!("10.198.{high}.{}", low.clamp(1, 254));
        let v6 = format!("fd42:7e57::{random:x}");
        let nic =
            format!("eth1,type=nic,nictype=routed,name=eth1,ipv4.address={v4},ipv6.address={v6}");
        env.make_machine(&name, false, json!({ "devices": [nic] })).await;
        let machine = env.ready_machine(&name).await;
        let addresses = machine.status.unwrap().addresses;
        let internal: Vec<_> = addresses
            .iter()
            .filter(|address| address.kind == MachineAddressType::InternalIp)
            .map(|address| address.address.clone())
            .collect();
        // The address of the other NIC may arrive later.
        for address in [v4, v6] {
            assert!(internal.contains(&address), "{address}: {internal:?}");
        }
        assert_eq!(addresses[0].kind, MachineAddressType::Hostname);
        env
    })
    .await;
}
