//! A subnet for a server that finds none by itself: its search asks whether something answers there,
//! which a network with a proxy for every address does.

use sha2::{Digest, Sha256};

use crate::families;

/// Where IPv4 subnets are looked for, with the number of their /24. A server looks through
/// 10.0.0.0/8 itself, so that one comes last.
const BLOCKS: [(u32, u32); 3] =
    [(0xAC10_0000, 1 << 12), (0xC0A8_0000, 1 << 8), (0x0A00_0000, 1 << 16)];
/// How many are looked at in each block.
const TRIES: u32 = 256;

/// The address of a bridge in a /24 that overlaps nothing. Where the search begins follows from
/// `seed`, so that clusters that are made at the same time do not all choose the same.
pub(super) fn v4(seed: &str, taken: &[&str]) -> Option<String> {
    let begin = number(seed);
    BLOCKS.iter().find_map(|(base, count)| {
        (0..TRIES.min(*count))
            .map(|n| base + (begin.wrapping_add(n) % count) * 256 + 1)
            .map(|address| format!("{}/24", std::net::Ipv4Addr::from_bits(address)))
            .find(|subnet| is_free(subnet, taken))
    })
}

/// The same for a /64 of the unique local addresses.
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
