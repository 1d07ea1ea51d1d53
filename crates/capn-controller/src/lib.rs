//! What the controllers of capn share: the client of a workload cluster, watches of its nodes, watches
//! that survive what cannot be read, and what a defect met in one reconcile may cost.
//!
//! A workload cluster belongs to its tenant, and so does the kubeconfig that leads to it. Nothing of
//! either is trusted: [`workload`] makes the only clients there are, [`nodes`] keeps so many nodes
//! and no more.

pub mod guard;
pub mod lanes;
pub mod lists;
pub mod nodes;
pub mod watch;
pub mod workload;
