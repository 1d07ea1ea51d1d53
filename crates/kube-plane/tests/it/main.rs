//! The plane through a kube-rs client, in process.

mod admission;
mod applying;
mod crud;
mod definitions;
mod durable;
mod garbage;
mod kubectl;
mod support;
mod watching;
