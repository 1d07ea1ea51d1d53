//! Decides whether a cluster can have a dedicated bridge for its instances.

use camino::Utf8Path;
use capn_api::keys;
use capn_doctor::facts::{self, Forwarding, HostFacts, InstanceFacts};
use capn_plan::network::{ROOM, nic::ClusterNic};
use incus_client::Client;
use incus_client::api::{Config, Devices, Server};

use super::server::{facts_of, parsed};
use crate::error::CommandError;
use crate::manifest::request::Network;
use crate::manifest::{ClusterRequest, LoadBalancer};

/// Facts that decide about a dedicated bridge.
#[derive(Clone, Debug, Default)]
struct BridgeFacts {
    clustered: bool,
    /// Network facts of machines and of the load balancer with the shared network.
    machines: InstanceFacts,
    balancer: InstanceFacts,
    /// Name of the first NIC of the profiles.
    nic: String,
    project: Config,
    in_default_project: bool,
    may_create: bool,
    /// Why the host's firewall would block a new bridge.
    firewall: Option<String>,
}

/// Returns whether the cluster can have a dedicated bridge; otherwise the reason, in words.
///
/// `is_local` says that the server is on this host, so that this host's firewall applies.
///
/// # Errors
///
/// Returns an error if the server does not respond.
pub async fn own_network(
    client: &Client,
    server: &Server,
    request: &ClusterRequest,
    is_local: bool,
) -> Result<Result<(), String>, CommandError> {
    // Checks that need no request come first.
    if let Some(why) = from_request(request) {
        return Ok(Err(why));
    }
    let machines = facts_of(client, &request.profiles, &[]).await?;
    let balancer = facts_of(client, &request.load_balancer_profiles, &[]).await?;
    let (project, in_default_project) = match client.project().filter(|name| *name != "default") {
        None => (Config::new(), true),
        Some(name) => {
            let found = client.get_project(name).await.map_err(|error| {
                CommandError::caused(format!("cannot look up project `{name}`"), error)
            })?;
            (found.map(|found| found.value.config).unwrap_or_default(), false)
        }
    };
    let may_create = client.may_create_networks().await.map_err(|error| {
        CommandError::caused("cannot determine whether networks may be created", error)
    })?;
    let firewall = match is_local {
        true => firewall(&HostFirewall::read(Utf8Path::new("/")).await),
        false => None,
    };
    let nic = wire(client, &request.profiles, "").await?.device;
    let clustered = server.environment.server_clustered;
    let facts = BridgeFacts {
        clustered,
        machines,
        balancer,
        nic,
        project,
        in_default_project,
        may_create,
        firewall,
    };
    Ok(from_facts(&facts, request).map_or(Ok(()), Err))
}

/// Reason in the request for using an existing network.
fn from_request(request: &ClusterRequest) -> Option<String> {
    let machines = request.control_planes.saturating_add(request.workers);
    if request.load_balancer == LoadBalancer::Ovn {
        return Some("machines use the load balancer's OVN network".to_owned());
    }
    if !request.load_balancer_ranges.is_empty() {
        return Some("`--load-balancer-range` refers to an existing network".to_owned());
    }
    if request.control_plane_endpoint.is_some() {
        return Some("`--control-plane-endpoint` refers to an existing network".to_owned());
    }
    (machines > ROOM).then(|| {
        format!("a dedicated bridge has addresses for {ROOM} machines, not for {machines}")
    })
}

fn from_facts(facts: &BridgeFacts, request: &ClusterRequest) -> Option<String> {
    if facts.clustered {
        return Some("the server is clustered, and a bridge is local to one member".to_owned());
    }
    if parsed(&request.devices).contains_key(&facts.nic) {
        return Some(format!("`--device {}` sets the network of the machines", facts.nic));
    }
    let Some(network) = &facts.machines.network else {
        return Some("the profiles of the machines have no NIC".to_owned());
    };
    let has = |key: &str, value: &str| network.config.get(key).is_some_and(|is| is == value);
    let outside = network.config.get("bridge.external_interfaces").is_some_and(|it| !it.is_empty());
    if !network.is_managed || network.kind != "bridge" || outside {
        return Some(format!(
            "machines use network `{}`, which is not a managed bridge without external interfaces",
            network.name
        ));
    }
    if !has("ipv4.nat", "true") && !has("ipv6.nat", "true") {
        return Some(format!(
            "bridge `{}` has no NAT, so machines have externally reachable addresses",
            network.name
        ));
    }
    let is_instance = matches!(request.load_balancer, LoadBalancer::Lxc | LoadBalancer::Oci);
    if let Some(other) = facts.balancer.network.as_ref().filter(|_| is_instance)
        && other.name != network.name
    {
        return Some(format!("the load balancer's profiles use network `{}`", other.name));
    }
    let project = |key: &str| facts.project.get(key).map(String::as_str).unwrap_or_default();
    if project("restricted") == "true" && !project("restricted.networks.access").is_empty() {
        return Some("the project is restricted to certain networks".to_owned());
    }
    if !facts.in_default_project && project("features.networks") == "true" {
        return Some("the project has its own networks, which cannot be bridges".to_owned());
    }
    if !facts.may_create {
        return Some("this identity may not create networks".to_owned());
    }
    facts.firewall.clone()
}

/// Returns the NIC that replaces the first one of the profiles.
async fn wire(
    client: &Client,
    profiles: &[String],
    network: &str,
) -> Result<ClusterNic, CommandError> {
    let default = ["default".to_owned()];
    let profiles = if profiles.is_empty() { &default[..] } else { profiles };
    let (devices, _) = facts::merged_devices(client, profiles, &Devices::new())
        .await
        .map_err(|error| CommandError::caused("cannot read the profiles", error))?;
    Ok(ClusterNic::replacing(&devices, network))
}

/// Devices of instances, with the first NIC on the requested network, if one is requested.
///
/// # Errors
///
/// Returns an error if the server does not respond.
pub async fn with_network(
    client: &Client,
    profiles: &[String],
    devices: Vec<String>,
    network: &Network,
) -> Result<Vec<String>, CommandError> {
    let Network::Named(name) = network else { return Ok(devices) };
    let wire = wire(client, profiles, name).await?;
    let keys: Vec<_> = wire.config().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let nic = format!("{},{}", wire.device, keys.join(","));
    Ok(devices.into_iter().chain([nic]).collect())
}

/// Firewall of this host.
#[derive(Clone, Debug, Default)]
struct HostFirewall {
    rules: Option<Forwarding>,
    docker: bool,
    ufw: bool,
    firewalld: bool,
}

impl HostFirewall {
    async fn read(root: &Utf8Path) -> Self {
        let ufw = std::fs::read_to_string(root.join("etc/ufw/ufw.conf")).unwrap_or_default();
        Self {
            rules: facts::forwarding().await,
            docker: HostFacts::read(root).has_docker,
            ufw: ufw.lines().any(|line| line.trim() == "ENABLED=yes"),
            firewalld: root.join("run/firewalld").exists(),
        }
    }
}

/// Returns why a bridge without a firewall rule would be blocked. Wildcard rules for the names of
/// such bridges allow them.
fn firewall(host: &HostFirewall) -> Option<String> {
    let prefix = keys::NETWORK_PREFIX;
    let name = format!("{prefix}00000000");
    let lets_in = format!("docs/understand/networks.md explains how to allow `{prefix}+`");
    if host.firewalld {
        return Some(format!("firewalld drops traffic from a new bridge: {lets_in}"));
    }
    match &host.rules {
        Some(rules) => {
            let dropped = !rules.forwards(&name) || rules.drops_dhcp(&name).is_some();
            dropped
                .then(|| format!("the host's firewall drops traffic from a new bridge: {lets_in}"))
        }
        // Only root can read its rules.
        None if host.docker || host.ufw => {
            let whose = if host.docker { "Docker's firewall" } else { "ufw" };
            Some(format!(
                "{whose} may block a new bridge, and only root can read its rules: {lets_in}"
            ))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use capn_doctor::facts::NetworkFacts;

    use super::*;
    use crate::manifest::Endpoint;
    use crate::manifest::request::testing::demo;

    fn bridge(name: &str, config: &[(&str, &str)]) -> InstanceFacts {
        let network = NetworkFacts {
            name: name.into(),
            exists: true,
            is_managed: true,
            kind: "bridge".into(),
            config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        InstanceFacts { network: Some(network), ..InstanceFacts::default() }
    }

    fn bridge_facts() -> BridgeFacts {
        let facts = || bridge("incusbr0", &[("ipv4.nat", "true")]);
        BridgeFacts {
            machines: facts(),
            balancer: facts(),
            nic: "eth0".into(),
            in_default_project: true,
            may_create: true,
            ..BridgeFacts::default()
        }
    }

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_request_that_names_a_network_or_addresses_uses_that_network() {
        assert_eq!(from_request(&demo()), None);
        let endpoint = Some(Endpoint { host: "10.0.0.9".into(), port: 6443 });
        for (request, part) in [
            (ClusterRequest { load_balancer: LoadBalancer::Ovn, ..demo() }, "OVN"),
            (
                ClusterRequest { load_balancer_ranges: vec!["10.0.0.9".into()], ..demo() },
                "--load-balancer-range",
            ),
            (
                ClusterRequest { control_plane_endpoint: endpoint, ..demo() },
                "--control-plane-endpoint",
            ),
            (ClusterRequest { workers: 300, ..demo() }, "250 machines, not for 301"),
        ] {
            assert!(from_request(&request).unwrap().contains(part), "{part}");
        }
    }

    #[test]
    fn a_bridge_is_created_when_the_profile_uses_a_managed_bridge_and_networks_are_allowed() {
        assert_eq!(from_facts(&bridge_facts(), &demo()), None);
        let restricted = config(&[("restricted", "true"), ("restricted.networks.access", "a")]);
        let mut unmanaged = bridge("br0", &[("ipv4.nat", "true")]);
        unmanaged.network.as_mut().unwrap().is_managed = false;
        let outside = [("ipv4.nat", "true"), ("bridge.external_interfaces", "eth1")];
        for (facts, part) in [
            (BridgeFacts { clustered: true, ..bridge_facts() }, "clustered"),
            (BridgeFacts { machines: InstanceFacts::default(), ..bridge_facts() }, "no NIC"),
            (BridgeFacts { machines: unmanaged, ..bridge_facts() }, "not a managed bridge"),
            (
                BridgeFacts { machines: bridge("a", &outside), ..bridge_facts() },
                "not a managed bridge",
            ),
            (BridgeFacts { machines: bridge("incusbr0", &[]), ..bridge_facts() }, "no NAT"),
            (BridgeFacts { balancer: bridge("lan", &[]), ..bridge_facts() }, "use network `lan`"),
            (BridgeFacts { project: restricted, ..bridge_facts() }, "certain networks"),
            (
                BridgeFacts {
                    project: config(&[("features.networks", "true")]),
                    in_default_project: false,
                    ..bridge_facts()
                },
                "its own networks",
            ),
            (BridgeFacts { may_create: false, ..bridge_facts() }, "may not create networks"),
            (BridgeFacts { firewall: Some("ufw".into()), ..bridge_facts() }, "ufw"),
        ] {
            let why = from_facts(&facts, &demo());
            assert!(why.as_ref().is_some_and(|why| why.contains(part)), "{part}: {why:?}");
        }
        let device = vec!["eth0,type=nic,network=lab".to_owned()];
        let request = ClusterRequest { devices: device, ..demo() };
        assert!(from_facts(&bridge_facts(), &request).unwrap().contains("--device eth0"));
        let further = vec!["eth1,type=nic,network=lab".to_owned()];
        let request = ClusterRequest { devices: further, ..demo() };
        assert_eq!(from_facts(&bridge_facts(), &request), None);
    }

    #[test]
    fn a_firewall_without_a_rule_for_the_bridge_keeps_the_shared_network() {
        let rules =
            |text: &str| HostFirewall { rules: Forwarding::parse(text), ..HostFirewall::default() };
        let docker = ":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n";
        let named = format!("{docker}-A DOCKER-USER -i incusbr0 -j ACCEPT\n");
        let wild = format!("{docker}-A DOCKER-USER -i capn-+ -j ACCEPT\n");
        let ufw = ":INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n";
        let let_in = format!("{ufw}-A INPUT -i capn-+ -j ACCEPT\n");
        for (host, is_cut_off) in [
            (HostFirewall::default(), false),
            (rules(":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"), false),
            (rules(docker), true),
            (rules(&named), true),
            (rules(&wild), false),
            (rules(ufw), true),
            (rules(&let_in), false),
            (HostFirewall { docker: true, ..HostFirewall::default() }, true),
            (HostFirewall { ufw: true, ..HostFirewall::default() }, true),
            (HostFirewall { docker: true, ufw: true, ..rules(&wild) }, false),
            (HostFirewall { firewalld: true, ..HostFirewall::default() }, true),
        ] {
            assert_eq!(firewall(&host).is_some(), is_cut_off, "{host:?}");
        }
    }
}
