//! Address ranges of load balancers, and the choice of a free address.

use std::{collections::BTreeSet, net::IpAddr};

use thiserror::Error;

/// Maximum number of addresses that are checked per range. No network has more load balancers.
const MOST: u128 = 65536;

/// A range of addresses of one family, from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// Invalid address range. Final: the manifest must change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    /// It is not an address, a CIDR or a pair of addresses.
    #[error("{text:?} is not a valid address range")]
    NotARange {
        /// The text.
        text: String,
    },
    /// It has an IPv4 and an IPv6 address.
    #[error("the address range {text:?} mixes IPv4 and IPv6")]
    Mixed {
        /// The text.
        text: String,
    },
    /// The last address is before the first.
    #[error("the address range {text:?} ends before it begins")]
    Backwards {
        /// The text.
        text: String,
    },
}

impl RangeError {
    /// Returns what the user can do.
    pub fn hint(&self) -> &'static str {
        "write ranges as 10.0.0.100-10.0.0.110, 10.0.0.96/28 or 10.0.0.100"
    }
}

/// No address of a family is free.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("all {count} {family} addresses of the ranges are in use")]
pub struct Exhausted {
    /// Number of addresses in the ranges.
    pub count: u128,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
}

impl Range {
    /// Parses `FIRST-LAST`, a CIDR or a single address. The network and broadcast addresses of an
    /// IPv4 CIDR and the first address of an IPv6 CIDR are excluded.
    ///
    /// # Errors
    ///
    /// [`RangeError`] if the text is none of these.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError::NotARange { text: text.to_owned() };
        let address = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| wrong());
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(first)?, address(last)?);
            if first.is_ipv4() != last.is_ipv4() {
                return Err(RangeError::Mixed { text: text.to_owned() });
            }
            if last < first {
                return Err(RangeError::Backwards { text: text.to_owned() });
            }
            return Ok(Self { first, last });
        }
        if let Some((base, length)) = text.split_once('/') {
            let length: u32 = length.trim().parse().map_err(|_| wrong())?;
            return subnet(address(base)?, length).ok_or_else(wrong);
        }
        let single = address(text)?;
        Ok(Self { first: single, last: single })
    }

    /// Returns whether the addresses are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Returns the number of addresses that are checked.
    fn len(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1).min(MOST)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let first = number(self.first);
        (0..self.len()).map(move |n| from_number(first + n, self.first.is_ipv4()))
    }
}

/// Parses a list of ranges.
///
/// # Errors
///
/// [`RangeError`] for the first invalid range.
pub fn parse(texts: &[String]) -> Result<Vec<Range>, RangeError> {
    texts.iter().map(|text| Range::parse(text)).collect()
}

/// Returns one free address of each family in the ranges, starting with the family of the first
/// range.
///
/// # Errors
///
/// [`Exhausted`] if no address of a family is free.
pub fn free(ranges: &[Range], taken: &BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, Exhausted> {
    let mut families: Vec<bool> = Vec::new();
    for range in ranges {
        if !families.contains(&range.first.is_ipv4()) {
            families.push(range.first.is_ipv4());
        }
    }
    let of_family = |ipv4: bool| {
        let of = || ranges.iter().filter(move |range| range.is_ipv4() == ipv4);
        of().flat_map(Range::addresses).find(|address| !taken.contains(address)).ok_or_else(|| {
            Exhausted {
                count: of().map(Range::len).sum(),
                family: if ipv4 { "IPv4" } else { "IPv6" },
            }
        })
    };
    families.into_iter().map(of_family).collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn from_number(number: u128, ipv4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if ipv4 => IpAddr::V4(number.into()),
        _ => IpAddr::V6(number.into()),
    }
}

fn subnet(base: IpAddr, length: u32) -> Option<Range> {
    let bits: u32 = if base.is_ipv4() { 32 } else { 128 };
    let host = bits.checked_sub(length).filter(|_| length > 0)?;
    let size = 1_u128.checked_shl(host)?;
    let first = number(base) & !(size - 1);
    let last = first + (size - 1);
    let (first, last) = match (base.is_ipv4(), host) {
        (_, 0) => (first, last),
        (true, 1) => (first, last),
        (true, _) => (first + 1, last - 1),
        (false, _) => (first + 1, last),
    };
    let address = |number| from_number(number, base.is_ipv4());
    Some(Range { first: address(first), last: address(last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<Range> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn taken(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn ranges_are_read_in_every_form() {
        for (text, first, last) in [
            ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
            ("10.0.0.5-10.0.0.9", "10.0.0.5", "10.0.0.9"),
            (" 10.0.0.5 - 10.0.1.9", "10.0.0.5", "10.0.1.9"),
            ("10.0.0.96/28", "10.0.0.97", "10.0.0.110"),
            ("10.0.0.97/28", "10.0.0.97", "10.0.0.110"),
            ("10.0.0.96/31", "10.0.0.96", "10.0.0.97"),
            ("10.0.0.96/32", "10.0.0.96", "10.0.0.96"),
            ("fd42::/64", "fd42::1", "fd42::ffff:ffff:ffff:ffff"),
            ("fd42::5-fd42::9", "fd42::5", "fd42::9"),
        ] {
            let expected = Range { first: first.parse().unwrap(), last: last.parse().unwrap() };
            assert_eq!(Range::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "10.0.0.5-", "10.0.0.0/33", "10.0.0.0/0", "10.0.0.0/x", "a-b"] {
            let wrong = Err(RangeError::NotARange { text: text.to_owned() });
            assert_eq!(Range::parse(text), wrong, "{text}");
        }
        assert!(matches!(Range::parse("10.0.0.1-fd42::1"), Err(RangeError::Mixed { .. })));
        assert!(matches!(Range::parse("10.0.0.9-10.0.0.1"), Err(RangeError::Backwards { .. })));
    }

    #[test]
    fn the_first_free_address_of_each_family_is_taken() {
        let both = ranges(&["fd42::5-fd42::9", "10.0.0.5-10.0.0.6", "10.0.0.20"]);
        for (taken_, expected) in [
            (taken(&[]), ["fd42::5", "10.0.0.5"]),
            (taken(&["10.0.0.5", "fd42::6"]), ["fd42::5", "10.0.0.6"]),
            (taken(&["10.0.0.5", "10.0.0.6", "fd42::5"]), ["fd42::6", "10.0.0.20"]),
        ] {
            let found: Vec<_> =
                free(&both, &taken_).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn ranges_without_a_free_address_say_how_many_they_have() {
        let error = free(&ranges(&["10.0.0.5-10.0.0.6"]), &taken(&["10.0.0.5", "10.0.0.6"]));
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "all 2 IPv4 addresses of the ranges are in use");
    }

    #[test]
    fn a_huge_range_costs_no_time() {
        let all = ranges(&["fd42::/64"]);
        assert_eq!(free(&all, &taken(&[])).unwrap(), ["fd42::1".parse::<IpAddr>().unwrap()]);
    }
}
