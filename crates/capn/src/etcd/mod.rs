//! etcd snapshots of workload clusters: [taken](take) from an up-to-date member, [stored](store) in
//! the state directory with a [record](record), taken daily by `capn serve` ([schedule]), and
//! [restored](restore).

mod record;
pub mod restore;
mod schedule;
mod store;
mod take;
#[cfg(test)]
pub(crate) mod testing;

pub use record::{Reason, Record};
pub use schedule::{Policy, keep_snapshots};
pub use store::{Folder, Kept};
pub use take::{Keeper, Unfit, Wanted, fitness};

/// Returns a human-readable size.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in
            [(0, "0.0 KiB"), (20_512, "20.0 KiB"), (5 << 20, "5.0 MiB"), (8 << 30, "8.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
