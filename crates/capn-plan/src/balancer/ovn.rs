//! The next step for a load balancer of an OVN network.

use std::{collections::BTreeMap, net::IpAddr};

use capn_api::keys;
use incus_api::{
    Config, NetworkLoadBalancer, NetworkLoadBalancerBackend, NetworkLoadBalancerPort,
    NetworkLoadBalancerPut, NetworkLoadBalancersPost,
};

use crate::{Owner, Ownership};

/// Config that a server with health checks is given: a control plane that does not answer for
/// three times five seconds gets no connections.
const HEALTH_CHECKS: [(&str, &str); 5] = [
    ("healthcheck", "true"),
    ("healthcheck.interval", "5"),
    ("healthcheck.timeout", "5"),
    ("healthcheck.failure_count", "3"),
    ("healthcheck.success_count", "2"),
];

/// The load balancer of one cluster on an OVN network, checked.
#[derive(Clone, Debug)]
pub struct OvnBalancer {
    /// The keys that mark it.
    pub owner: Owner,
    /// Name of the network.
    pub network: String,
    /// Address it listens on: the endpoint's.
    pub address: IpAddr,
    /// The endpoint's port.
    pub port: u16,
    /// Port of the API server on each control plane.
    pub backend_port: u16,
    /// Addresses of each control plane by its name.
    pub backends: BTreeMap<String, Vec<IpAddr>>,
    /// Whether the server checks the health of backends.
    pub health_checks: bool,
    /// Whether the LXCCluster is being deleted.
    pub deleting: bool,
}

/// One effect on the server. Each can be interrupted anywhere and done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Create(NetworkLoadBalancersPost),
    /// Give it other backends, ports or settings, or the keys of its owner.
    Update(NetworkLoadBalancerPut),
    /// Delete it.
    Delete,
}

/// The next step.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the world is observed again.
    Do(Step),
    /// It forwards as wanted.
    Serving,
    /// Somebody else's load balancer listens on the address; the text says whose.
    Refuse(String),
    /// There is none left of a cluster that is being deleted.
    Gone,
}

/// Decides the next step.
pub fn plan(balancer: &OvnBalancer, seen: Option<&NetworkLoadBalancer>) -> Plan {
    let Some(seen) = seen else {
        return match balancer.deleting {
            true => Plan::Gone,
            false => Plan::Do(Step::Create(NetworkLoadBalancersPost {
                listen_address: balancer.address.to_string(),
                put: balancer.wanted(&Config::new()),
            })),
        };
    };
    match (balancer.owns(&seen.put.config), balancer.deleting) {
        (Ok(()), true) => Plan::Do(Step::Delete),
        (Err(_), true) => Plan::Gone,
        (Err(whose), false) => Plan::Refuse(format!(
            "the load balancer at {} of network {} belongs to {whose} and is wanted by {}; choose another address in spec.controlPlaneEndpoint.host, or delete that load balancer",
            balancer.address,
            balancer.network,
            balancer.owner.full_name()
        )),
        (Ok(()), false) => {
            let wanted = balancer.wanted(&seen.put.config);
            match same(&wanted, &seen.put) {
                true => Plan::Serving,
                false => Plan::Do(Step::Update(wanted)),
            }
        }
    }
}

/// Servers keep backends and ports in an order of their own.
fn same(a: &NetworkLoadBalancerPut, b: &NetworkLoadBalancerPut) -> bool {
    let sorted = |put: &NetworkLoadBalancerPut| {
        let mut put = put.clone();
        put.description.clear();
        put.backends.sort_by(|a, b| a.name.cmp(&b.name));
        for port in &mut put.ports {
            port.target_backend.sort();
        }
        put
    };
    sorted(a) == sorted(b)
}

impl OvnBalancer {
    /// Whether a load balancer with this config is this owner's; else whose it is.
    ///
    /// The Go provider marks it with the cluster's name and namespace only. The endpoint, which
    /// names its address, vouches for one whose object was moved to another management cluster.
    ///
    /// # Errors
    ///
    /// With whose it is.
    pub fn owns(&self, config: &Config) -> Result<(), String> {
        let mut config = config.clone();
        if config.contains_key(keys::INSTANCE_CLUSTER_NAME) {
            config
                .entry(keys::INSTANCE_CLUSTER_ROLE.into())
                .or_insert_with(|| keys::ROLE_LOAD_BALANCER.into());
        }
        match self.owner.of(&config, true) {
            Ownership::Ours | Ownership::Adoptable(_) => Ok(()),
            Ownership::Foreign(whose) => Err(whose),
        }
    }

    /// How it is to be. Config keys that are not ours stay.
    fn wanted(&self, before: &Config) -> NetworkLoadBalancerPut {
        let mut config = before.clone();
        config.extend(self.owner.config());
        if self.health_checks {
            let checks = HEALTH_CHECKS.map(|(key, value)| (key.to_owned(), value.to_owned()));
            config.extend(checks);
        }
        let backends: Vec<_> = self
            .backends
            .iter()
            .filter_map(|(name, addresses)| {
                let same_family = |ip: &&IpAddr| ip.is_ipv4() == self.address.is_ipv4();
                Some(NetworkLoadBalancerBackend {
                    name: name.clone(),
                    description: String::new(),
                    target_port: self.backend_port.to_string(),
                    target_address: addresses.iter().find(same_family)?.to_string(),
                })
            })
            .collect();
        let mut ports = vec![NetworkLoadBalancerPort {
            description: String::new(),
            protocol: "tcp".into(),
            listen_port: self.port.to_string(),
            target_backend: backends.iter().map(|backend| backend.name.clone()).collect(),
        }];
        // A port that leads nowhere is refused ("Missing VIP target(s)"), and before the first
        // control plane there is nowhere to lead.
        ports.retain(|port| !port.target_backend.is_empty());
        let description = format!("control plane of {}", self.owner.full_name());
        NetworkLoadBalancerPut { description, config, backends, ports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Role;

    fn balancer() -> OvnBalancer {
        OvnBalancer {
            owner: Owner {
                namespace: "default".into(),
                name: "demo".into(),
                uid: "u1".into(),
                cluster: "demo".into(),
                machine: None,
                role: Role::LoadBalancer,
            },
            network: "ovn0".into(),
            address: "10.1.0.5".parse().unwrap(),
            port: 443,
            backend_port: 6443,
            backends: BTreeMap::from([(
                "cp".to_owned(),
                vec!["fd42::7".parse().unwrap(), "10.0.0.7".parse().unwrap()],
            )]),
            health_checks: true,
            deleting: false,
        }
    }

    fn made(balancer: &OvnBalancer) -> NetworkLoadBalancer {
        let Plan::Do(Step::Create(post)) = plan(balancer, None) else { panic!("not made") };
        NetworkLoadBalancer {
            listen_address: post.listen_address,
            location: String::new(),
            put: post.put,
        }
    }

    #[test]
    fn it_forwards_the_endpoints_port_to_addresses_of_its_own_family() {
        let balancer = balancer();
        let seen = made(&balancer);
        assert_eq!(seen.listen_address, "10.1.0.5");
        assert_eq!(seen.put.ports[0].listen_port, "443");
        assert_eq!(seen.put.ports[0].target_backend, ["cp"]);
        assert_eq!(seen.put.backends[0].target_address, "10.0.0.7");
        assert_eq!(seen.put.backends[0].target_port, "6443");
        assert_eq!(seen.put.config["healthcheck.interval"], "5");
        assert_eq!(seen.put.config["user.capn.owner-uid"], "u1");
        assert_eq!(plan(&balancer, Some(&seen)), Plan::Serving);
        let without = OvnBalancer { health_checks: false, ..balancer };
        assert!(!made(&without).put.config.contains_key("healthcheck"));
    }

    #[test]
    fn control_planes_that_come_and_go_change_it() {
        let mut balancer = balancer();
        let seen = made(&balancer);
        balancer.backends.insert("b".into(), vec!["10.0.0.8".parse().unwrap()]);
        let Plan::Do(Step::Update(put)) = plan(&balancer, Some(&seen)) else {
            panic!("not changed")
        };
        assert_eq!(put.backends.len(), 2);
        let mut reordered = NetworkLoadBalancer { put, ..seen };
        reordered.put.backends.reverse();
        reordered.put.ports[0].target_backend.reverse();
        assert_eq!(plan(&balancer, Some(&reordered)), Plan::Serving);
    }

    #[test]
    fn without_a_control_plane_it_has_the_address_and_no_port() {
        let balancer = OvnBalancer { backends: BTreeMap::new(), ..balancer() };
        let seen = made(&balancer);
        assert_eq!(seen.listen_address, "10.1.0.5");
        assert!(seen.put.ports.is_empty() && seen.put.backends.is_empty(), "{seen:?}");
        assert_eq!(plan(&balancer, Some(&seen)), Plan::Serving);
    }

    #[test]
    fn somebody_elses_is_neither_changed_nor_deleted() {
        let mut seen = made(&balancer());
        for (key, value) in [("user.cluster-name", "other"), ("user.capn.owner-uid", "u9")] {
            seen.put.config.insert(key.into(), value.into());
        }
        let Plan::Refuse(message) = plan(&balancer(), Some(&seen)) else { panic!("taken") };
        assert!(message.contains("default/demo"), "{message}");
        let deleting = OvnBalancer { deleting: true, ..balancer() };
        assert_eq!(plan(&deleting, Some(&seen)), Plan::Gone);
        seen.put.config.clear();
        assert!(matches!(plan(&balancer(), Some(&seen)), Plan::Refuse(_)), "made by hand");
        assert_eq!(plan(&deleting, Some(&seen)), Plan::Gone);
    }

    #[test]
    fn one_of_the_go_provider_is_adopted() {
        let mut seen = made(&balancer());
        seen.put.config = Config::from([
            ("user.cluster-name".to_owned(), "demo".to_owned()),
            ("user.cluster-namespace".to_owned(), "default".to_owned()),
            ("user.mine".to_owned(), "kept".to_owned()),
        ]);
        let Plan::Do(Step::Update(put)) = plan(&balancer(), Some(&seen)) else {
            panic!("not adopted")
        };
        assert_eq!(put.config["user.capn.owner-uid"], "u1");
        assert_eq!(put.config["user.mine"], "kept");
        let deleting = OvnBalancer { deleting: true, ..balancer() };
        assert_eq!(plan(&deleting, Some(&seen)), Plan::Do(Step::Delete));
        assert_eq!(plan(&deleting, None), Plan::Gone);
    }
}
