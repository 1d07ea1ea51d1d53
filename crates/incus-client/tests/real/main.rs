//! The client against the daemons of this machine, where there are any.
//!
//! Every test runs once per daemon, in a project of its own that is deleted at the end, also
//! when the test fails.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod exec;
mod files;
mod https;
mod images;
mod instances;
mod server;
mod support;
