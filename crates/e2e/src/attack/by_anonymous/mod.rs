//! Attacks of unauthenticated clients.

mod bodies;
mod connections;
mod http2;
mod raw;

use super::table::Attack;

pub(crate) fn all() -> Vec<Attack> {
    [connections::all(), bodies::all(), http2::all()].into_iter().flatten().collect()
}
