//! Counts and sizes in the notation of the servers.

use std::num::NonZeroU64;

/// Parses the number of CPUs from `limits.cpu`: a count (`4`) or a set (`0-3,8`).
pub(super) fn cpus(text: &str) -> Option<NonZeroU64> {
    if let Ok(count) = text.parse::<u64>() {
        return NonZeroU64::new(count);
    }
    let mut cores = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first {
            return None;
        }
        cores.extend(first..=last);
    }
    NonZeroU64::new(u64::try_from(cores.len()).ok()?)
}

/// Parses a size in bytes (`4GiB`, `500MB`, `1073741824`), or a percentage (`50%`) of `whole`.
pub(super) fn bytes(text: &str, whole: Option<NonZeroU64>) -> Option<NonZeroU64> {
    if let Some(share) = text.strip_suffix('%') {
        let share: u64 = share.trim().parse().ok().filter(|share| *share <= 100)?;
        // Dividing first loses less than 100 bytes and cannot overflow.
        return NonZeroU64::new(whole?.get() / 100 * share + whole?.get() % 100 * share / 100);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    NonZeroU64::new(number.parse::<u64>().ok()?.checked_mul(factor)?)
}

/// Formats a size in Kubernetes notation, in the largest unit that loses nothing.
pub(super) fn quantity(bytes: NonZeroU64) -> String {
    let bytes = bytes.get();
    for (shift, unit) in [(30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}
