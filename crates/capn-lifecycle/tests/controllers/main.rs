//! The controllers in process, on a plane in memory, with providers that only pretend.
//!
//! `provider` plays infrastructure, bootstrap and control plane as the contract describes them,
//! `workload` plays the API server of the workload cluster.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod deletion;
mod drain_rules;
mod health_check;
mod hostile;
mod interrupted;
mod kubeadm;
mod machines;
mod others;
mod provider;
mod provisioning;
mod quota;
mod remediation;
mod resource_set;
mod unreadable;
mod workload;
mod world;
