//! The next step for a load balancer of an OVN network.

use std::{collections::BTreeMap, net::IpAddr};

use capn_api::keys;
use incus_api::{
    Config, NetworkLoadBalancer, NetworkLoadBalancerBackend, NetworkLoadBalancerPort,
    NetworkLoadBalancerPut, NetworkLoadBalancersPost,
};

use crate::{Owner, Ownership};

/// Config for a server with health checks: a control plane that fails three checks, which run every
/// five seconds, gets no connections.
const HEALTH_CHECKS: [(&str, &str); 5] = [
    ("healthcheck", "true"),
    ("healthcheck.interval", "5"),
    ("healthcheck.timeout", "5"),
    ("healthcheck.failure_count", "3"),
    ("healthcheck.success_count", "2"),
];

/// Validated load balancer of one cluster on an OVN network.
#[derive(Clone, Debug)]
pub struct OvnBalancer {
    /// The owner keys of the load balancer.
    pub owner: Owner,
    /// Name of the network.
    pub network: String,
    /// Address that it listens on: the endpoint.
    pub address: IpAddr,
    /// Port of the endpoint.
    pub port: u16,
    /// Port of the API server on each control plane.
    pub backend_port: u16,
    /// Addresses of each control plane, by name.
    pub backends: BTreeMap<String, Vec<IpAddr>>,
    /// Whether the server supports health checks of backends.
    pub health_checks: bool,
    /// Whether the LXCCluster is being deleted.
    pub deleting: bool,
}

/// One effect on the server. It may be interrupted at any point and repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the load balancer.
    Create(NetworkLoadBalancersPost),
    /// Update its backends, ports, settings or owner keys.
    Update(NetworkLoadBalancerPut),
    /// Delete the load balancer.
    Delete,
}

/// The next step.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the state is observed again.
    Do(Step),
    /// It forwards as desired.
    Serving,
    /// A load balancer with another owner listens on the address. Holds the message.
    Refuse(String),
    /// The cluster is being deleted and no load balancer is left.
    Gone,
}

/// Decides the next step.
pub fn plan(balancer: &OvnBalancer, observed: Option<&NetworkLoadBalancer>) -> Plan {
    let Some(observed) = observed else {
        return match balancer.deleting {
            true => Plan::Gone,
            false => Plan::Do(Step::Create(NetworkLoadBalancersPost {
                listen_address: balancer.address.to_string(),
                put: balancer.wanted(&Config::new()),
            })),
        };
    };
    match (balancer.owns(&observed.put.config), balancer.deleting) {
        (Ok(()), true) => Plan::Do(Step::Delete),
        (Err(_), true) => Plan::Gone,
        (Err(whose), false) => Plan::Refuse(format!(
            "the load balancer at {} of network {} belongs to {whose}, but {} needs it; choose another address in spec.controlPlaneEndpoint.host, or delete that load balancer",
            balancer.address,
            balancer.network,
            balancer.owner.full_name()
        )),
        (Ok(()), false) => {
            let wanted = balancer.wanted(&observed.put.config);
            match same(&wanted, &observed.put) {
                true => Plan::Serving,
                false => Plan::Do(Step::Update(wanted)),
            }
        }
    }
}

/// Compares two load balancers. Servers return backends and ports in any order.
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
    /// Checks that a load balancer with this config belongs to this owner.
    ///
    /// The Go provider marks it with the name and namespace of the cluster only. If the Cluster was
    /// moved to another management cluster, the endpoint, which is the address of the load
    /// balancer, proves the ownership.
    ///
    /// # Errors
    ///
    /// A description of the actual owner.
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

    /// Returns the desired state. Config keys that capn does not manage are kept.
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
        // The server refuses a port without a target ("Missing VIP target(s)"), and there is no
        // target before the first control plane exists.
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
    fn a_load_balancer_forwards_to_addresses_of_its_own_family() {
        let balancer = balancer();
        let observed = made(&balancer);
        assert_eq!(observed.listen_address, "10.1.0.5");
        assert_eq!(observed.put.ports[0].listen_port, "443");
        assert_eq!(observed.put.ports[0].target_backend, ["cp"]);
        assert_eq!(observed.put.backends[0].target_address, "10.0.0.7");
        assert_eq!(observed.put.backends[0].target_port, "6443");
        assert_eq!(observed.put.config["healthcheck.interval"], "5");
        assert_eq!(observed.put.config["user.capn.owner-uid"], "u1");
        assert_eq!(plan(&balancer, Some(&observed)), Plan::Serving);
        let without = OvnBalancer { health_checks: false, ..balancer };
        assert!(!made(&without).put.config.contains_key("healthcheck"));
    }

    #[test]
    fn control_planes_that_come_and_go_change_it() {
        let mut balancer = balancer();
        let observed = made(&balancer);
        balancer.backends.insert("b".into(), vec!["10.0.0.8".parse().unwrap()]);
        let Plan::Do(Step::Update(put)) = plan(&balancer, Some(&observed)) else {
            panic!("not changed")
        };
        assert_eq!(put.backends.len(), 2);
        let mut reordered = NetworkLoadBalancer { put, ..observed };
        reordered.put.backends.reverse();
        reordered.put.ports[0].target_backend.reverse();
        assert_eq!(plan(&balancer, Some(&reordered)), Plan::Serving);
    }

    #[test]
    fn without_a_control_plane_the_load_balancer_has_no_port() {
        let balancer = OvnBalancer { backends: BTreeMap::new(), ..balancer() };
        let observed = made(&balancer);
        assert_eq!(observed.listen_address, "10.1.0.5");
        assert!(observed.put.ports.is_empty() && observed.put.backends.is_empty(), "{observed:?}");
        assert_eq!(plan(&balancer, Some(&observed)), Plan::Serving);
    }

    #[test]
    fn a_load_balancer_with_another_owner_is_neither_changed_nor_deleted() {
        let mut observed = made(&balancer());
        for (key, value) in [("user.cluster-name", "other"), ("user.capn.owner-uid", "u9")] {
            observed.put.config.insert(key.into(), value.into());
        }
        let Plan::Refuse(message) = plan(&balancer(), Some(&observed)) else { panic!("taken") };
        assert!(message.contains("default/demo"), "{message}");
        let deleting = OvnBalancer { deleting: true, ..balancer() };
        assert_eq!(plan(&deleting, Some(&observed)), Plan::Gone);
        observed.put.config.clear();
        assert!(matches!(plan(&balancer(), Some(&observed)), Plan::Refuse(_)), "made by hand");
        assert_eq!(plan(&deleting, Some(&observed)), Plan::Gone);
    }

    #[test]
    fn a_load_balancer_of_the_go_provider_is_adopted() {
        let mut observed = made(&balancer());
        observed.put.config = Config::from([
            ("user.cluster-name".to_owned(), "demo".to_owned()),
            ("user.cluster-namespace".to_owned(), "default".to_owned()),
            ("user.mine".to_owned(), "kept".to_owned()),
        ]);
        let Plan::Do(Step::Update(put)) = plan(&balancer(), Some(&observed)) else {
            panic!("not adopted")
        };
        assert_eq!(put.config["user.capn.owner-uid"], "u1");
        assert_eq!(put.config["user.mine"], "kept");
        let deleting = OvnBalancer { deleting: true, ..balancer() };
        assert_eq!(plan(&deleting, Some(&observed)), Plan::Do(Step::Delete));
        assert_eq!(plan(&deleting, None), Plan::Gone);
    }
}
