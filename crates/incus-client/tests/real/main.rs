//! The client against the daemons of this machine, if there are any.
//!
//! Every test runs once per daemon, in its own project, which is deleted at the end even if the
//! test fails.

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
