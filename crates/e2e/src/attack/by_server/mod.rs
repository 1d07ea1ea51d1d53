//! Attacks of Incus servers on their clients.

mod amounts;
mod answers;
mod events;

use super::table::Attack;

pub(crate) fn all() -> Vec<Attack> {
    [answers::all(), amounts::all(), events::all()].into_iter().flatten().collect()
}
