//! The network of a cluster's instances: can the cluster have a bridge of its own?

use camino::Utf8Path;
use capn_api::keys;
use capn_doctor::facts::{self, Forwarding, HostFacts, InstanceFacts};
use capn_plan::network::{ROOM, card::Wire};
use incus_client::Client;
use incus_client::api::{Config, Devices, Server};

use super::server::{facts_of, parsed};
use crate::error::CommandError;
use crate::manifest::request::Network;
use crate::manifest::{ClusterRequest, LoadBalancer};

/// What is known of a server besides its own words, as far as it decides about a bridge.
#[derive(Clone, Debug, Default)]
struct Ground {
    clustered: bool,
    /// What machines and what the load balancer get without a network of their own.
    machines: InstanceFacts,
    balancer: InstanceFacts,
    /// Name of the profiles' first card.
    card: String,
    project: Config,
    in_default_project: bool,
    may_create: bool,
    /// Why the host's firewall would cut a new bridge off.
    firewall: Option<String>,
}

/// Whether the cluster can have a bridge of its own; if not, why not, in words.
///
/// `is_local` says that the server is on this host, whose firewall counts then.
///
/// # Errors
///
/// When the server does not answer.
pub async fn own_network(
    client: &Client,
    server: &Server,
    request: &ClusterRequest,
    is_local: bool,
) -> Result<Result<(), String>, CommandError> {
    // What needs no question comes first.
    if let Some(why) = of_request(request) {
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
    let may_create = client
        .may_create_networks()
        .await
        .map_err(|error| CommandError::caused("cannot ask whether networks may be made", error))?;
    let firewall = match is_local {
        true => firewall(&HostFirewall::read(Utf8Path::new("/")).await),
        false => None,
    };
    let card = wire(client, &request.profiles, "").await?.device;
    let clustered = server.environment.server_clustered;
    let ground = Ground {
        clustered,
        machines,
        balancer,
        card,
        project,
        in_default_project,
        may_create,
        firewall,
    };
    Ok(of_ground(&ground, request).map_or(Ok(()), Err))
}

/// What of a request asks for the network that is there.
fn of_request(request: &ClusterRequest) -> Option<String> {
    let machines = request.control_planes.saturating_add(request.workers);
    if request.load_balancer == LoadBalancer::Ovn {
        return Some("machines are on the load balancer's OVN network".to_owned());
    }
    if !request.load_balancer_ranges.is_empty() {
        return Some("`--load-balancer-range` has addresses of a network that is there".to_owned());
    }
    if request.control_plane_endpoint.is_some() {
        return Some("`--control-plane-endpoint` is of a network that is there".to_owned());
    }
    (machines > ROOM)
        .then(|| format!("a bridge of its own has addresses for {ROOM} of {machines} machines"))
}

fn of_ground(ground: &Ground, request: &ClusterRequest) -> Option<String> {
    if ground.clustered {
        return Some(
            "the server is clustered, and a bridge is on one of its members only".to_owned(),
        );
    }
    if parsed(&request.devices).contains_key(&ground.card) {
        return Some(format!("`--device {}` says which network machines are on", ground.card));
    }
    let Some(network) = &ground.machines.network else {
        return Some("the profiles of machines have no network card".to_owned());
    };
    let has = |key: &str, value: &str| network.config.get(key).is_some_and(|is| is == value);
    let outside = network.config.get("bridge.external_interfaces").is_some_and(|it| !it.is_empty());
    if !network.is_managed || network.kind != "bridge" || outside {
        return Some(format!(
            "machines are on network `{}`, which is no bridge of the server alone",
            network.name
        ));
    }
    if !has("ipv4.nat", "true") && !has("ipv6.nat", "true") {
        return Some(format!(
            "bridge `{}` has no NAT: machines have addresses there that others reach",
            network.name
        ));
    }
    let is_instance = matches!(request.load_balancer, LoadBalancer::Lxc | LoadBalancer::Oci);
    if let Some(other) = ground.balancer.network.as_ref().filter(|_| is_instance)
        && other.name != network.name
    {
        return Some(format!("the load balancer's profiles put it on network `{}`", other.name));
    }
    let project = |key: &str| ground.project.get(key).map(String::as_str).unwrap_or_default();
    if project("restricted") == "true" && !project("restricted.networks.access").is_empty() {
        return Some("the project is restricted to certain networks".to_owned());
    }
    if !ground.in_default_project && project("features.networks") == "true" {
        return Some("the project has networks of its own, which are no bridges".to_owned());
    }
    if !ground.may_create {
        return Some("this identity may not make networks".to_owned());
    }
    ground.firewall.clone()
}

/// The card that takes the place of the profiles' first one.
async fn wire(client: &Client, profiles: &[String], network: &str) -> Result<Wire, CommandError> {
    let default = ["default".to_owned()];
    let profiles = if profiles.is_empty() { &default[..] } else { profiles };
    let (devices, _) = facts::merged_devices(client, profiles, &Devices::new())
        .await
        .map_err(|error| CommandError::caused("cannot read the profiles", error))?;
    Ok(Wire::replacing(&devices, network))
}

/// Devices of instances with the first card on the network that a request names, if it names one.
///
/// # Errors
///
/// When the server does not answer.
pub async fn with_network(
    client: &Client,
    profiles: &[String],
    devices: Vec<String>,
    network: &Network,
) -> Result<Vec<String>, CommandError> {
    let Network::Named(name) = network else { return Ok(devices) };
    let wire = wire(client, profiles, name).await?;
    let keys: Vec<_> = wire.config().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let card = format!("{},{}", wire.device, keys.join(","));
    Ok(devices.into_iter().chain([card]).collect())
}

/// The firewall of this host.
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

/// Why a bridge that the firewall has no rule for would be cut off. Rules with a wildcard for the
/// names of such bridges let them in.
fn firewall(host: &HostFirewall) -> Option<String> {
    let prefix = keys::NETWORK_PREFIX;
    let name = format!("{prefix}00000000");
    let lets_in = format!("docs/networks.md says how to let `{prefix}+` in");
    if host.firewalld {
        return Some(format!("firewalld drops what comes from a new bridge: {lets_in}"));
    }
    match &host.rules {
        Some(rules) => {
            let dropped = !rules.lets_through(&name) || rules.drops_dhcp(&name).is_some();
            dropped.then(|| {
                format!("the host's firewall drops what comes from a new bridge: {lets_in}")
            })
        }
        // Only root may ask it.
        None if host.docker || host.ufw => {
            let whose = if host.docker { "Docker's firewall" } else { "ufw" };
            Some(format!("{whose} may cut a new bridge off, and only root may ask it: {lets_in}"))
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

    fn ground() -> Ground {
        let facts = || bridge("incusbr0", &[("ipv4.nat", "true")]);
        Ground {
            machines: facts(),
            balancer: facts(),
            card: "eth0".into(),
            in_default_project: true,
            may_create: true,
            ..Ground::default()
        }
    }

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_request_that_names_a_network_or_its_addresses_has_that_one() {
        assert_eq!(of_request(&demo()), None);
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
            (ClusterRequest { workers: 300, ..demo() }, "250 of 301 machines"),
        ] {
            assert!(of_request(&request).unwrap().contains(part), "{part}");
        }
    }

    #[test]
    fn a_bridge_is_made_where_the_profiles_bridge_is_the_servers_own_and_networks_may_be_made() {
        assert_eq!(of_ground(&ground(), &demo()), None);
        let restricted = config(&[("restricted", "true"), ("restricted.networks.access", "a")]);
        let mut unmanaged = bridge("br0", &[("ipv4.nat", "true")]);
        unmanaged.network.as_mut().unwrap().is_managed = false;
        let outside = [("ipv4.nat", "true"), ("bridge.external_interfaces", "eth1")];
        for (ground, part) in [
            (Ground { clustered: true, ..ground() }, "clustered"),
            (Ground { machines: InstanceFacts::default(), ..ground() }, "no network card"),
            (Ground { machines: unmanaged, ..ground() }, "no bridge of the server"),
            (Ground { machines: bridge("a", &outside), ..ground() }, "no bridge of the server"),
            (Ground { machines: bridge("incusbr0", &[]), ..ground() }, "no NAT"),
            (Ground { balancer: bridge("lan", &[]), ..ground() }, "on network `lan`"),
            (Ground { project: restricted, ..ground() }, "certain networks"),
            (
                Ground {
                    project: config(&[("features.networks", "true")]),
                    in_default_project: false,
                    ..ground()
                },
                "networks of its own",
            ),
            (Ground { may_create: false, ..ground() }, "may not make networks"),
            (Ground { firewall: Some("ufw".into()), ..ground() }, "ufw"),
        ] {
            let why = of_ground(&ground, &demo());
            assert!(why.as_ref().is_some_and(|why| why.contains(part)), "{part}: {why:?}");
        }
        let device = vec!["eth0,type=nic,network=lab".to_owned()];
        let request = ClusterRequest { devices: device, ..demo() };
        assert!(of_ground(&ground(), &request).unwrap().contains("--device eth0"));
        let further = vec!["eth1,type=nic,network=lab".to_owned()];
        let request = ClusterRequest { devices: further, ..demo() };
        assert_eq!(of_ground(&ground(), &request), None);
    }

    #[test]
    fn a_firewall_that_knows_no_such_bridge_keeps_the_shared_one() {
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
