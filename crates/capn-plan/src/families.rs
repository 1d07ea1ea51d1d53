//! Which families of IP addresses a cluster uses, from its ranges of addresses.

use std::{fmt, net::IpAddr};

/// A family of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Of a range such as `10.244.0.0/16`, whatever it says after the address.
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

/// The families of some ranges, each once, in their order.
pub fn of<'a>(cidrs: impl IntoIterator<Item = &'a String>) -> Vec<Family> {
    let mut found = Vec::new();
    for family in cidrs.into_iter().map(|cidr| Family::of_cidr(cidr)) {
        if !found.contains(&family) {
            found.push(family);
        }
    }
    found
}

/// The first of the families that has none of the addresses.
pub fn missing(needed: &[Family], addresses: &[IpAddr]) -> Option<Family> {
    needed.iter().copied().find(|family| !addresses.iter().any(|ip| Family::of(*ip) == *family))
}

/// The most addresses that Kubernetes keeps of one range of Services: 2 to the power of this.
const SERVICE_BITS: u8 = 20;

/// Reads ranges as users give them: one, or one of each family with a comma between. The first is
/// of the family that is used where one has to be chosen.
///
/// # Errors
///
/// What is wrong with which of them, in words.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let cidrs: Vec<String> = text.split(',').map(|cidr| cidr.trim().to_owned()).collect();
    for cidr in &cidrs {
        if prefix(cidr).is_none() {
            return Err(format!("`{cidr}` is not a range of addresses"));
        }
    }
    match cidrs.len() {
        1 => Ok(cidrs),
        2 if of(&cidrs).len() == 2 => Ok(cidrs),
        2 => Err(format!("`{text}` has two ranges of {}", Family::of_cidr(text))),
        n => Err(format!("`{text}` has {n} ranges")),
    }
}

/// Checks the ranges of a cluster's pods and Services against each other.
///
/// # Errors
///
/// What does not fit, in words.
pub fn fit(pods: &[String], services: &[String]) -> Result<(), String> {
    for cidr in services {
        let (bits, all) = prefix(cidr).unwrap_or_default();
        if Family::of_cidr(cidr) == Family::V6 && all - bits > SERVICE_BITS {
            return Err(format!(
                "the range of Services {cidr} is too large: of IPv6 it is a /{} or smaller",
                all - SERVICE_BITS
            ));
        }
    }
    let pods = of(pods);
    match of(services).into_iter().find(|family| !pods.contains(family)) {
        Some(family) => Err(format!(
            "Services have {family} addresses and pods have none: give pods a range of that family"
        )),
        None => Ok(()),
    }
}

/// The bits of a range's prefix, and of its addresses.
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
            ("10.244.0.0", "`10.244.0.0` is not a range"),
            ("10.244.0.0/33", "is not a range"),
            ("10.244.0.0/16,", "`` is not a range"),
            ("10.0.0.0/16,10.1.0.0/16", "two ranges of IPv4"),
            ("fd00::/56,fd01::/56", "two ranges of IPv6"),
            ("10.0.0.0/16,fd00::/56,fd01::/56", "3 ranges"),
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
    fn the_missing_family_is_named() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let both = [Family::V4, Family::V6];
        assert_eq!(missing(&both, &[at("10.0.0.7"), at("fd42::7")]), None);
        assert_eq!(missing(&both, &[at("fd42::7")]), Some(Family::V4));
        assert_eq!(missing(&both[..1], &[at("10.0.0.7")]), None);
        assert_eq!(missing(&[], &[]), None);
    }
}
