//! Checks that the instances' bridge provides the address families that the cluster needs.

use capn_doctor::facts::NetworkFacts;
use capn_plan::families::{self, Family};

use crate::error::CommandError;

/// Checks a managed bridge for the required address families. A bridge with an external interface
/// may get addresses from the outside network.
///
/// # Errors
///
/// Returns an error with commands for the first missing family.
pub(super) fn given(network: &NetworkFacts, needed: &[Family]) -> Result<(), CommandError> {
    let value = |key: &str| network.config.get(key).map_or("", String::as_str);
    let is_ours = network.exists && network.is_managed && network.kind == "bridge";
    if !is_ours || !value("bridge.external_interfaces").is_empty() {
        return Ok(());
    }
    let key = |family: Family| match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let gives = |family: Family| !matches!(value(&format!("{}.address", key(family))), "" | "none");
    let Some(family) = needed.iter().copied().find(|family| !gives(*family)) else { return Ok(()) };
    let other = match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    let (name, key) = (&network.name, key(family));
    let error = CommandError::new(format!(
        "bridge `{name}` provides no {family} addresses, which nodes, pods or Services of the cluster need"
    ))
    .hint(format!("enable them: `incus network set {name} {key}.address=auto {key}.nat=true`"));
    Err(match gives(other) {
        true => {
            error.hint(format!("or use {other} ranges only: `--pod-cidr` and `--service-cidr`"))
        }
        false => error,
    })
}

/// Checks that a managed network and the ranges of a cluster do not overlap: pods would use
/// addresses of the host and of other instances.
///
/// # Errors
///
/// Returns an error that names both.
pub(super) fn apart(network: &NetworkFacts, ranges: &[String]) -> Result<(), CommandError> {
    for key in ["ipv4.address", "ipv6.address"] {
        let Some(own) = network.config.get(key) else { continue };
        if let Some(range) = ranges.iter().find(|range| families::overlap(range, own)) {
            return Err(CommandError::new(format!(
                "the range {range} and network `{}` of the server ({own}) overlap",
                network.name
            ))
            .hint("use other ranges for pods and Services: `--pod-cidr`, `--service-cidr`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(config: &[(&str, &str)]) -> NetworkFacts {
        NetworkFacts {
            name: "br0".into(),
            exists: true,
            is_managed: true,
            kind: "bridge".into(),
            config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn cluster_ranges_must_not_overlap_the_bridge() {
        let network = bridge(&[("ipv4.address", "10.155.0.1/24"), ("ipv6.address", "none")]);
        let said = |range: &str| apart(&network, &[range.to_owned()]).unwrap_err().to_string();
        assert!(said("10.155.0.0/16").contains("10.155.0.1/24"));
        assert!(apart(&network, &["10.244.0.0/16".into(), "fd00::/56".into()]).is_ok());
    }

    #[test]
    fn a_bridge_that_lacks_an_address_family_is_refused_with_two_hints() {
        let v4 = bridge(&[("ipv4.address", "10.0.0.1/24"), ("ipv6.address", "none")]);
        let v6 = bridge(&[("ipv4.address", "none"), ("ipv6.address", "fd42::1/64")]);
        let outside = bridge(&[("ipv4.address", "none"), ("bridge.external_interfaces", "eth1")]);
        let unmanaged = NetworkFacts { is_managed: false, ..v4.clone() };
        let both = [Family::V4, Family::V6];
        for (network, needed, missing) in [
            (&v4, &both[..1], None),
            (&v4, &both[..], Some("IPv6")),
            (&v6, &both[..1], Some("IPv4")),
            (&v6, &both[1..], None),
            (&outside, &both[..], None),
            (&unmanaged, &both[..], None),
        ] {
            match (given(network, needed), missing) {
                (Ok(()), None) => {}
                (Err(error), Some(family)) => {
                    assert!(error.chain()[0].contains(&format!("no {family}")), "{error:?}");
                    assert!(error.hint_texts()[0].contains("incus network set br0"), "{error:?}");
                    assert_eq!(error.hint_texts().len(), 2);
                }
                (found, missing) => panic!("{network:?}: {found:?}, not {missing:?}"),
            }
        }
    }
}
