//! DHCP tests of a separate bridge, with and without a firewall that drops the requests.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use capn_doctor::facts::{
    self, Forwarding, HostFacts, InstanceFacts, NetworkFacts, Offer, ServerFacts,
};
use capn_doctor::{Finding, rules};
use incus_client::Client;
use incus_client::api::{Config, NetworkPut, NetworksPost};

const PREFIX: &str = "ctdhcp";
const SOCKET: &str = "/var/lib/incus/unix.socket";

/// Incus on this machine, as root and with `ip` and `iptables`; prints what is missing.
fn incus(test: &str) -> Option<Client> {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0);
    let missing = match std::os::unix::net::UnixStream::connect(SOCKET) {
        Err(error) => format!("{SOCKET}: {error}"),
        Ok(_) if !is_root => "only root puts cards on bridges".to_owned(),
        Ok(_) if !(runs("ip -V") && runs("iptables -V")) => "no ip or iptables here".to_owned(),
        Ok(_) => return Some(Client::unix(SOCKET)),
    };
    println!("SKIPPED: {test}: {missing}");
    None
}

fn runs(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).output().is_ok_and(|ran| ran.status.success())
}

/// A bridge with DHCP. Leftover bridges of killed runs are removed.
async fn bridge(client: &Client) -> String {
    for network in client.networks().await.unwrap() {
        let of = network.name.strip_prefix(PREFIX);
        if of.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            delete(client, &network.name).await;
        }
    }
    let name = format!("{PREFIX}{}", std::process::id());
    // Incus finds no free subnet itself if every address is answered outside.
    let subnet = format!("10.213.{}.1/24", std::process::id() % 250);
    let config: Config = [("ipv4.address", subnet.as_str()), ("ipv6.address", "none")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let put = NetworkPut { config, ..NetworkPut::default() };
    let post = NetworksPost { name: name.clone(), kind: "bridge".into(), put };
    client.create_network(&post).await.unwrap();
    name
}

/// Deletes a bridge. Incus lists the host's interfaces for that, and fails when one of a stopping
/// instance disappears meanwhile.
async fn delete(client: &Client, bridge: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match client.delete_network(bridge).await {
            Ok(()) => return,
            Err(error) if error.is_not_found() => return,
            Err(error) => assert!(Instant::now() < deadline, "{bridge} is not deleted: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The finding about the bridge with this result and the current rules.
async fn finding(bridge: &str, offer: Offer) -> Finding {
    let forwarding: Option<Forwarding> = facts::forwarding().await;
    let host = HostFacts { forwarding, offer: Some(offer), ..HostFacts::default() };
    let network = NetworkFacts {
        name: bridge.to_owned(),
        exists: true,
        is_managed: true,
        kind: "bridge".into(),
        config: Config::from([("ipv4.address".to_owned(), "10.0.0.1/24".to_owned())]),
    };
    let server = incus_client::api::Server::default();
    let instances = InstanceFacts { network: Some(network), ..InstanceFacts::default() };
    let findings = rules::combined_findings(&host, &ServerFacts::new(&server, instances));
    findings.into_iter().find(|finding| finding.id == "dhcp").expect("a finding of the request")
}

/// Runs the DHCP test with a rule that `add` creates and `remove` deletes.
async fn asked_with(bridge: &str, add: &str, remove: &str) -> (Offer, Finding) {
    let added = runs(add);
    let offer = facts::offer(bridge).await;
    let said = finding(bridge, offer.clone()).await;
    let removed = runs(remove);
    assert!(added && removed, "{add}: {added}, {remove}: {removed}");
    (offer, said)
}

#[tokio::test]
async fn a_firewall_that_drops_dhcp_is_detected() {
    const TEST: &str = "a_firewall_that_drops_dhcp_is_detected";
    let Some(client) = incus(TEST) else { return };
    let bridge = bridge(&client).await;
    let leftover = "capn-dhcp-99999999";
    let had_leftover = runs(&format!("ip netns add {leftover}"));
    let before = facts::offer(&bridge).await;
    let rule = format!("INPUT -i {bridge} -p udp --dport 67 -j DROP");
    let (dropped, said) =
        asked_with(&bridge, &format!("iptables -I {rule}"), &format!("iptables -D {rule}")).await;
    let table = format!("inet {bridge}");
    let nft = format!(
        "nft 'add table {table}; add chain {table} in {{ type filter hook input priority 0; }}; \
         add rule {table} in iifname {bridge} udp dport 67 drop'"
    );
    let by_nft = match runs("nft -v") {
        true => Some(asked_with(&bridge, &nft, &format!("nft delete table {table}")).await),
        false => None,
    };
    let after = facts::offer(&bridge).await;
    let leases = client.network_leases(&bridge).await.unwrap();
    delete(&client, &bridge).await;

    let is_made =
        |offer: &Offer| matches!(offer, Offer::Received(ip) if *ip != Ipv4Addr::UNSPECIFIED);
    assert!(is_made(&before), "{before:?}");
    assert_eq!(dropped, Offer::Missing);
    assert!(said.is_problem());
    assert!(said.found.contains(&format!("`-A INPUT -i {bridge} -p udp")), "{}", said.found);
    match by_nft {
        Some((dropped, said)) => {
            assert_eq!(dropped, Offer::Missing);
            assert!(said.found.contains(&format!("nftables table `{table}`")), "{}", said.found);
        }
        None => println!("SKIPPED: {TEST} with a table of nftables: no nft here"),
    }
    assert!(is_made(&after), "{after:?}");
    let taken: Vec<_> = leases.iter().filter(|lease| lease.kind == "dynamic").collect();
    assert!(taken.is_empty(), "a request must not create a lease: {taken:?}");
    assert!(had_leftover && !Path::new("/run/netns").join(leftover).exists(), "{leftover} is left");
    let own = format!("/run/netns/capn-dhcp-{}", std::process::id());
    assert!(!Path::new(&own).exists(), "{own} is left");
    assert!(!Path::new(&format!("/sys/class/net/capnd{}", std::process::id())).exists());
}
