//! The plane through a kube-rs client, in process.

mod admission;
mod applying;
mod crud;
mod definitions;
mod garbage;
mod support;
mod watching;
