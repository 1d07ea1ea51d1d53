//! Facts, without any judgement: about a host from its files, about a server from its API.

mod dhcp;
mod firewall;
mod host;
mod offer;
mod server;

pub use firewall::{Forwarding, forwarding};
pub use host::{Cgroups, HostFacts, IdRange, Lxcfs};
pub use offer::{Offer, offer};
pub(crate) use server::IDS_OF_ONE;
pub use server::{FactsError, InstanceFacts, NetworkFacts, PoolFacts, ServerFacts, merged_devices};
