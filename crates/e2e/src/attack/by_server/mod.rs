//! What an Incus server tries with those who ask it.

mod answers;
mod events;

use super::table::Attack;

pub(crate) fn all() -> Vec<Attack> {
    [answers::all(), events::all()].into_iter().flatten().collect()
}
