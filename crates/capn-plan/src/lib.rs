//! Pure decisions of the provider: from what is wanted and what was observed to the next step,
//! and to the exact request that carries it out.
//!
//! No I/O, no clock, no async: every rule here is a table test. A plan is a function of its
//! arguments, is never stored, and is made again after each step.
//!
//! | module | decides |
//! |---|---|
//! | [`machine`] | the next step for one LXCMachine |
//! | [`balancer`] | the next step for the load balancer of one LXCCluster |
//! | [`network`] | the next step for the network of one LXCCluster, and which cards are on it |
//! | [`launch`] | the exact instance that is asked for |
//! | [`files`] | what is put into an instance before its first start |
//! | [`kind`] | nodes of kind's image |
//! | [`capacity`] | how large the machines of a template are |
//! | [`profile`] | config and devices that Kubernetes needs in a container |
//! | [`devices`] | device strings of a manifest |
//! | [`owner`] | whose instance it is |
//! | [`life`] | how far an instance has come, from the server's own marks |
//! | [`stop`] | how long an instance may take to stop by itself |
//! | [`address`] | which addresses of an instance count |
//! | [`domains`] | failure domains, and where an instance is placed |
//! | [`drain`] | when a control plane that leaves may be stopped |
//! | [`kube_vip`] | the static pod that holds a virtual IP |
//! | [`fence`] | what a restricted project lets its tenants do |
//! | [`modules`] | what to do when the server cannot load kernel modules |
//! | [`bootstrap`] | how far the bootstrap data of an instance has come |
//! | [`haproxy`] | the load balancer's configuration |
//! | [`ranges`] | which address a load balancer takes out of a range |
//! | [`isolation`] | whether an instance keeps the promise of its cluster's isolation |
//! | [`cni`] | the pod network of a node |
//! | [`diagnosis`] | what a server's refusal means and what the user can do |
//! | [`names`] | instance names |
//! | [`versions`] | settings that depend on versions, in one table |

pub mod address;
pub mod balancer;
pub mod bootstrap;
pub mod capacity;
pub mod cni;
pub mod devices;
pub mod diagnosis;
pub mod domains;
pub mod drain;
pub mod families;
pub mod fence;
pub mod files;
pub mod flannel;
pub mod haproxy;
pub mod id_map;
pub mod isolation;
pub mod kind;
pub mod kube_vip;
pub mod launch;
pub mod life;
pub mod machine;
pub mod modules;
pub mod names;
pub mod network;
pub mod owner;
pub mod profile;
pub mod ranges;
pub mod recheck;
pub mod stop;
pub mod versions;

pub use names::InstanceName;
pub use owner::{Owner, Ownership, Role};
