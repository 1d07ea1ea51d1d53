//! The client against an in-process server, over connections that can be cut.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod endpoints;
mod events;
mod exec;
mod observer;
mod operations;
mod requests;
mod support;
mod untrusted;
