//! Load balancer checks: option compatibility and server support.

use std::net::IpAddr;

use incus_client::Client;
use incus_client::api::Server;

use crate::error::{CommandError, Doing as _};
use crate::manifest::{ClusterRequest, LoadBalancer};

/// Checks that the load balancer options match its kind.
///
/// # Errors
///
/// Returns a usage error that names the missing or superfluous option.
pub fn balancer_options(request: &ClusterRequest) -> Result<(), CommandError> {
    let kind = request.load_balancer;
    let name = kind.as_str();
    let endpoint = request.control_plane_endpoint.as_ref();
    let needs = |option: &str| {
        Err(CommandError::usage(format!("`--load-balancer {name}` needs `{option}`")))
    };
    let is_for = |option: &str, kinds: &str| {
        Err(CommandError::usage(format!("`{option}` requires `--load-balancer {kinds}`")))
    };
    if request.load_balancer_network.is_some() && kind != LoadBalancer::Ovn {
        return is_for("--load-balancer-network", "ovn");
    }
    if request.load_balancer_interface.is_some() && kind != LoadBalancer::KubeVip {
        return is_for("--load-balancer-interface", "kube-vip");
    }
    let takes_ranges = matches!(kind, LoadBalancer::Lxc | LoadBalancer::Oci | LoadBalancer::Ovn);
    if !request.load_balancer_ranges.is_empty() && !takes_ranges {
        return is_for("--load-balancer-range", "lxc, oci and ovn");
    }
    let is_instance = matches!(kind, LoadBalancer::Lxc | LoadBalancer::Oci);
    if !request.load_balancer_profiles.is_empty() && !is_instance {
        return is_for("--load-balancer-profile", "lxc and oci");
    }
    if request.load_balancer_flavor.is_some() && !is_instance {
        return is_for("--load-balancer-flavor", "lxc and oci");
    }
    if request.load_balancer_image.is_some() && !is_instance {
        return is_for("--load-balancer-image", "lxc and oci");
    }
    match (kind, endpoint) {
        (LoadBalancer::External, None) => needs("--control-plane-endpoint HOST[:PORT]"),
        (LoadBalancer::KubeVip, None) => needs("--control-plane-endpoint ADDRESS[:PORT]"),
        (LoadBalancer::Ovn, _) if request.load_balancer_network.is_none() => {
            needs("--load-balancer-network NETWORK")
        }
        (LoadBalancer::Ovn, None) if request.load_balancer_ranges.is_empty() => {
            needs("--control-plane-endpoint ADDRESS[:PORT]` or `--load-balancer-range RANGE")
        }
        (LoadBalancer::Lxc | LoadBalancer::Oci | LoadBalancer::Ovn, Some(endpoint))
            if endpoint.host.parse::<IpAddr>().is_err() =>
        {
            Err(CommandError::usage(format!(
                "`--control-plane-endpoint {}`: with `--load-balancer {name}` it must be an address in the network",
                endpoint.host
            ))
            .hint("to use a name or an external address: `--load-balancer external`"))
        }
        _ => Ok(()),
    }
}

/// Checks that the server supports the load balancer.
///
/// # Errors
///
/// Returns an error with supported alternatives, or an error if the server does not respond.
pub async fn balancer(
    client: &Client,
    server: &Server,
    request: &ClusterRequest,
) -> Result<(), CommandError> {
    const OTHERS: &str = "`--load-balancer lxc` works on every server";
    match request.load_balancer {
        LoadBalancer::Oci => {
            let able = ["instance_oci", "instance_oci_entrypoint"];
            if !able.iter().all(|extension| server.supports(extension)) {
                return Err(CommandError::new(format!(
                    "the server ({} {}) does not support application containers, which `--load-balancer oci` needs",
                    server.flavor(),
                    server.environment.server_version
                ))
                .hint("`--load-balancer oci` requires Incus 6.11 or later")
                .hint(OTHERS));
            }
        }
        LoadBalancer::Ovn => {
            let name = request.load_balancer_network.as_deref().unwrap_or_default();
            let network = client
                .network(name)
                .await
                .doing(format!("cannot look up network `{name}`"))?
                .ok_or_else(|| {
                    CommandError::new(format!("network `{name}` does not exist on the server"))
                        .hint("list networks: `incus network list`")
                })?;
            if network.value.kind != "ovn" || !server.supports("network_load_balancer") {
                return Err(CommandError::new(format!(
                    "network `{name}` has type {}, but `--load-balancer ovn` needs an OVN network",
                    network.value.kind
                ))
                .hint(OTHERS));
            }
        }
        LoadBalancer::Lxc | LoadBalancer::KubeVip | LoadBalancer::External => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Endpoint;
    use crate::manifest::request::testing::demo;

    #[test]
    fn options_fit_the_kind() {
        let endpoint = |host: &str| Some(Endpoint { host: host.into(), port: 6443 });
        let of = |kind, endpoint: Option<Endpoint>| ClusterRequest {
            load_balancer: kind,
            control_plane_endpoint: endpoint,
            ..demo()
        };
        let network = Some("ovn0".to_owned());
        let ranges = vec!["10.0.0.1-10.0.0.9".to_owned()];
        let right = [
            of(LoadBalancer::Lxc, None),
            of(LoadBalancer::Oci, endpoint("10.0.0.1")),
            of(LoadBalancer::External, endpoint("api.example.org")),
            of(LoadBalancer::KubeVip, endpoint("10.0.0.1")),
            ClusterRequest {
                load_balancer_network: network.clone(),
                ..of(LoadBalancer::Ovn, endpoint("fd00::1"))
            },
            ClusterRequest {
                load_balancer_network: network.clone(),
                load_balancer_ranges: ranges.clone(),
                ..of(LoadBalancer::Ovn, None)
            },
        ];
        for request in right {
            balancer_options(&request).unwrap();
        }
        let wrong = [
            (of(LoadBalancer::External, None), "needs `--control-plane-endpoint"),
            (of(LoadBalancer::KubeVip, None), "needs `--control-plane-endpoint"),
            (of(LoadBalancer::Ovn, endpoint("10.0.0.1")), "needs `--load-balancer-network"),
            (of(LoadBalancer::Lxc, endpoint("api.example.org")), "an address in the network"),
            (
                ClusterRequest {
                    load_balancer_network: network.clone(),
                    ..of(LoadBalancer::Ovn, None)
                },
                "or `--load-balancer-range RANGE`",
            ),
            (
                ClusterRequest {
                    load_balancer_profiles: vec!["default".to_owned()],
                    ..of(LoadBalancer::KubeVip, endpoint("10.0.0.1"))
                },
                "requires `--load-balancer lxc and oci`",
            ),
            (
                ClusterRequest { load_balancer_network: network, ..demo() },
                "requires `--load-balancer ovn`",
            ),
            (
                ClusterRequest { load_balancer_interface: Some("eth0".into()), ..demo() },
                "requires `--load-balancer kube-vip`",
            ),
            (
                ClusterRequest {
                    load_balancer_ranges: ranges,
                    ..of(LoadBalancer::KubeVip, endpoint("10.0.0.1"))
                },
                "requires `--load-balancer lxc, oci and ovn`",
            ),
        ];
        for (request, text) in wrong {
            let refused = balancer_options(&request).unwrap_err().to_string();
            assert!(refused.contains(text), "{refused}");
        }
    }
}
