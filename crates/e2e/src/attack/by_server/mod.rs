//! Attacks of Incus servers on their clients.

mod amounts;
mod answers;
mod events;

pub(crate) use answers::about;

use super::table::Attack;

pub(crate) fn all() -> Vec<Attack> {
    [answers::all(), amounts::all(), events::all()].into_iter().flatten().collect()
}
