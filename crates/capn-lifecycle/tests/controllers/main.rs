//! The controllers in process, with a plane in memory and simulated providers.
//!
//! `provider` simulates infrastructure, bootstrap and control plane providers according to the
//! contract, and `workload` the API server of the workload cluster.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod deletion;
mod drain_rules;
mod harness;
mod health_check;
mod hostile;
mod interrupted;
mod kubeadm;
mod machine_pools;
mod machines;
mod others;
mod provider;
mod provisioning;
mod quota;
mod remediation;
mod resource_set;
mod unreadable;
mod workload;
