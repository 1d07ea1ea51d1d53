//! The client against a server in this process, over connections that can be cut.

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
mod strangers;
mod support;
