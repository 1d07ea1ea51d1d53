//! Pure decisions of the provider: from the desired and the observed state to the next step and the
//! exact request for it.
//!
//! No I/O, no clock, no async, so every rule has a table-driven test. A plan is a function of its
//! arguments. It is never stored, and is computed again after each step.
//!
//! | module | decides |
//! |---|---|
//! | [`machine`] | the next step for one LXCMachine |
//! | [`pool`] | which machines of an LXCMachinePool are created and deleted |
//! | [`balancer`] | the next step for the load balancer of one LXCCluster |
//! | [`network`] | the next step for the network of one LXCCluster, and which NICs use it |
//! | [`launch`] | the exact request that creates an instance |
//! | [`files`] | the files that are injected into an instance before its first start |
//! | [`kind`] | nodes that use kind's image |
//! | [`capacity`] | the size of the machines of a template |
//! | [`profile`] | config and devices that Kubernetes needs in a container |
//! | [`devices`] | device strings of a manifest |
//! | [`owner`] | who owns an instance |
//! | [`phase`] | the phase of an instance, derived from the server's volatile keys |
//! | [`stop`] | the deadline for a clean shutdown |
//! | [`address`] | which addresses of an instance count |
//! | [`domains`] | failure domains, and the placement of instances |
//! | [`drain`] | when a control plane that is being deleted may be stopped |
//! | [`kube_vip`] | the static pod that holds a virtual IP |
//! | [`restrictions`] | what a restricted project allows |
//! | [`modules`] | what to do if the server cannot load kernel modules |
//! | [`bootstrap`] | the progress of an instance's bootstrap data |
//! | [`ignition`] | bootstrap data in Ignition format |
//! | [`haproxy`] | the configuration of the load balancer |
//! | [`ranges`] | which address of a range a load balancer takes |
//! | [`isolation`] | whether an instance conforms to the isolation of its cluster |
//! | [`cni`] | the pod network of a node |
//! | [`diagnosis`] | the meaning of a server error, and what the user can do |
//! | [`names`] | instance names |
//! | [`versions`] | all settings that depend on versions, in one table |

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
pub mod files;
pub mod flannel;
pub mod haproxy;
pub mod id_map;
pub mod ignition;
pub mod isolation;
pub mod kind;
pub mod kube_vip;
pub mod launch;
pub mod machine;
pub mod modules;
pub mod names;
pub mod network;
pub mod owner;
pub mod phase;
pub mod poll;
pub mod pool;
pub mod profile;
pub mod ranges;
pub mod restrictions;
pub mod stop;
pub mod versions;

pub use names::InstanceName;
pub use owner::{Owner, Ownership, Role};
