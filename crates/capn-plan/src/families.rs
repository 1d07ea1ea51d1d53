//! IP families that a cluster uses, derived from its CIDRs.

use std::{fmt, net::IpAddr};

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Returns the family of a CIDR such as `10.244.0.0/16`. The prefix length is not checked.
    pub fn of_cidr(cidr: &str) -> Self {
        if cidr.contains(':') { Self::V6 } else { Self::V4 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Returns the distinct families of some CIDRs, in order.
pub fn of<'a>(cidrs: impl IntoIterator<Item = &'a String>) -> Vec<Family> {
    let mut found = Vec::new();
    for family in cidrs.into_iter().map(|cidr| Family::of_cidr(cidr)) {
        if !found.contains(&family) {
            found.push(family);
        }
    }
    found
}

/// Returns the first needed family of which there is no address.
pub fn missing(needed: &[Family], addresses: &[IpAddr]) -> Option<Family> {
    needed.iter().copied().find(|family| !addresses.iter().any(|ip| Family::of(*ip) == *family))
}

/// Binary logarithm of the maximum number of addresses that Kubernetes allocates from a Service
/// CIDR.
const SERVICE_BITS: u8 = 20;

/// Parses CIDRs from user input: one, or one of each family separated by a comma. The first one
/// determines the family where only one can be used.
///
/// # Errors
///
/// A message that names the invalid CIDR.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let cidrs: Vec<String> = text.split(',').map(|cidr| cidr.trim().to_owned()).collect();
    for cidr in &cidrs {
        if prefix(cidr).is_none() {
            return Err(format!("`{cidr}` is not a valid CIDR (example: 10.0.0.0/8)"));
        }
    }
    match cidrs.len() {
        1 => Ok(cidrs),
        2 if of(&cidrs).len() == 2 => Ok(cidrs),
        2 => Err(format!("`{text}` has two {} CIDRs", Family::of_cidr(text))),
        n => Err(format!("`{text}` has {n} CIDRs")),
    }
}

/// Checks that the pod and Service CIDRs of a cluster fit together.
///
/// # Errors
///
/// A message about the conflict.
pub fn fit(pods: &[String], services: &[String]) -> Result<(), String> {
    for cidr in services {
        let (bits, all) = prefix(cidr).unwrap_or_default();
        if Family::of_cidr(cidr) == Family::V6 && all - bits > SERVICE_BITS {
            return Err(format!(
                "the Service CIDR {cidr} is too large: an IPv6 Service CIDR must be a /{} or smaller",
                all - SERVICE_BITS
            ));
        }
    }
    for (pods, services) in pods.iter().flat_map(|p| services.iter().map(move |s| (p, s))) {
        if overlap(pods, services) {
            return Err(format!("the pod CIDR {pods} and the Service CIDR {services} overlap"));
        }
    }
    let pods = of(pods);
    match of(services).into_iter().find(|family| !pods.contains(family)) {
        Some(family) => {
            Err(format!("Services use {family} but pods do not: add a pod CIDR of that family"))
        }
        None => Ok(()),
    }
}

/// Checks that the pod CIDRs are large enough for the nodes. kube-controller-manager allocates a
/// /24 of IPv4 and a /64 of IPv6 per node (`--node-cidr-mask-size-ipv4` and `-ipv6`).
///
/// # Errors
///
/// A message with the number of nodes that the CIDR is large enough for.
pub fn room(pods: &[String], nodes: u32) -> Result<(), String> {
    for cidr in pods {
        let (bits, _) = prefix(cidr).unwrap_or_default();
        let part = match Family::of_cidr(cidr) {
            Family::V4 => 24_u8,
            Family::V6 => 64,
        };
        let has = part
            .checked_sub(bits)
            .map_or(0, |free| 1_u32.checked_shl(free.into()).unwrap_or(u32::MAX));
        if has < nodes {
            return Err(format!(
                "the pod CIDR {cidr} has room for {has} of {nodes} nodes: each node takes a /{part}"
            ));
        }
    }
    Ok(())
}

/// Returns whether two CIDRs overlap. An invalid CIDR overlaps nothing.
pub fn overlap(one: &str, other: &str) -> bool {
    let (Some((first, bits)), Some((second, others))) = (network(one), network(other)) else {
        return false;
    };
    let common = bits.min(others);
    let masked = |ip: u128, all: u8| ip.checked_shr(u32::from(all - common)).unwrap_or(0);
    match (first, second) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            masked(a.to_bits().into(), 32) == masked(b.to_bits().into(), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => masked(a.to_bits(), 128) == masked(b.to_bits(), 128),
        _ => false,
    }
}

fn network(cidr: &str) -> Option<(IpAddr, u8)> {
    let (bits, _) = prefix(cidr)?;
    Some((cidr.split_once('/')?.0.parse().ok()?, bits))
}

/// Returns the prefix length of a CIDR and the number of bits of its addresses.
fn prefix(cidr: &str) -> Option<(u8, u8)> {
    let (address, bits) = cidr.split_once('/')?;
    let all = match address.parse().ok()? {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    Some((bits.parse().ok().filter(|bits| *bits <= all)?, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(cidrs: &[&str]) -> Vec<String> {
        cidrs.iter().map(|cidr| (*cidr).to_owned()).collect()
    }

    #[test]
    fn ranges_are_one_or_one_of_each_family() {
        let right = [
            ("10.244.0.0/16", list(&["10.244.0.0/16"])),
            ("fd00::/56", list(&["fd00::/56"])),
            ("10.244.0.0/16, fd00::/56", list(&["10.244.0.0/16", "fd00::/56"])),
            ("fd00::/56,10.244.0.0/16", list(&["fd00::/56", "10.244.0.0/16"])),
        ];
        for (text, cidrs) in right {
            assert_eq!(parse(text).unwrap(), cidrs, "{text}");
        }
        let wrong = [
            ("10.244.0.0", "`10.244.0.0` is not a valid CIDR"),
            ("10.244.0.0/33", "is not a valid CIDR"),
            ("10.244.0.0/16,", "`` is not a valid CIDR"),
            ("10.0.0.0/16,10.1.0.0/16", "two IPv4 CIDRs"),
            ("fd00::/56,fd01::/56", "two IPv6 CIDRs"),
            ("10.0.0.0/16,fd00::/56,fd01::/56", "3 CIDRs"),
        ];
        for (text, problem) in wrong {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(problem), "{text}: {refused}");
        }
    }

    #[test]
    fn services_fit_the_pods_and_what_kubernetes_keeps() {
        let both = list(&["10.244.0.0/16", "fd00::/56"]);
        let v4 = list(&["10.96.0.0/12"]);
        assert!(fit(&both, &list(&["10.96.0.0/12", "fd01::/112"])).is_ok());
        assert!(fit(&both, &v4).is_ok());
        assert!(fit(&both, &list(&["fd01::/108"])).is_ok());
        assert!(fit(&both, &list(&["fd01::/64"])).unwrap_err().contains("/108"));
        assert!(fit(&v4, &list(&["fd01::/112"])).unwrap_err().contains("IPv6"));
    }

    #[test]
    fn cidrs_with_a_common_address_overlap() {
        for (one, other, expected) in [
            ("10.244.0.0/16", "10.244.0.0/16", true),
            ("10.0.0.0/8", "10.155.0.1/24", true),
            ("10.155.0.1/24", "10.0.0.0/8", true),
            ("10.244.0.0/16", "10.96.0.0/12", false),
            ("0.0.0.0/0", "192.0.2.0/24", true),
            ("fd00:10:244::/56", "fd00:10:244:1::/64", true),
            ("fd00:10:244::/56", "fd00:10:96::/112", false),
            ("::/0", "10.0.0.0/8", false),
            ("none", "10.0.0.0/8", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
        }
        assert!(fit(&["10.96.0.0/16".into()], &["10.96.0.0/12".into()]).is_err());
    }

    #[test]
    fn each_node_takes_a_part_of_the_pods_range() {
        for (pods, nodes, fits) in [
            ("10.244.0.0/16", 256, true),
            ("10.244.0.0/16", 257, false),
            ("10.244.0.0/24", 1, true),
            ("10.244.0.0/24", 2, false),
            ("10.244.0.0/30", 1, false),
            ("fd00::/56", 256, true),
            ("fd00::/64", 2, false),
            ("fd00::/8", u32::MAX, true),
        ] {
            assert_eq!(room(&[pods.into()], nodes).is_ok(), fits, "{pods} {nodes}");
        }
    }

    #[test]
    fn the_missing_family_is_named() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let both = [Family::V4, Family::V6];
        assert_eq!(missing(&both, &[at("10.0.0.7"), at("fd42::7")]), None);
        assert_eq!(missing(&both, &[at("fd42::7")]), Some(Family::V4));
        assert_eq!(missing(&both[..1], &[at("10.0.0.7")]), None);
        assert_eq!(missing(&[], &[]), None);
    }
}
