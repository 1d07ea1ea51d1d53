//! Chooses a subnet for a server that finds none. Servers check whether an address in the subnet
//! answers, which always succeeds on a network that proxies every address.

use sha2::{Digest, Sha256};

use crate::families;

/// IPv4 blocks to search, with their number of /24 subnets. Servers search 10.0.0.0/8 themselves,
/// so that block comes last.
const BLOCKS: [(u32, u32); 3] =
    [(0xAC10_0000, 1 << 12), (0xC0A8_0000, 1 << 8), (0x0A00_0000, 1 << 16)];
/// Number of subnets that are tried in each block.
const TRIES: u32 = 256;

/// Returns the address of a bridge in a /24 that overlaps nothing. The search starts at a position
/// derived from `seed`, so that clusters that are created at the same time choose different
/// subnets.
pub(super) fn v4(seed: &str, taken: &[&str]) -> Option<String> {
    let begin = number(seed);
    BLOCKS.iter().find_map(|(base, count)| {
        (0..TRIES.min(*count))
            .map(|n| base + (begin.wrapping_add(n) % count) * 256 + 1)
            .map(|address| format!("{}/24", std::net::Ipv4Addr::from_bits(address)))
            .find(|subnet| is_free(subnet, taken))
    })
}

/// Returns the address of a bridge in a /64 of the unique local addresses that overlaps nothing.
pub(super) fn v6(seed: &str, taken: &[&str]) -> Option<String> {
    (0..TRIES).find_map(|n| {
        let hash = Sha256::digest(format!("{seed}/{n}").as_bytes());
        let part = |at: usize| u16::from_be_bytes([hash[at], hash[at + 1]]);
        let subnet = format!("fd42:{:x}:{:x}:{:x}::1/64", part(0), part(2), part(4));
        is_free(&subnet, taken).then_some(subnet)
    })
}

fn is_free(subnet: &str, taken: &[&str]) -> bool {
    taken.iter().all(|other| !families::overlap(subnet, other))
}

fn number(seed: &str) -> u32 {
    let hash = Sha256::digest(seed.as_bytes());
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}
