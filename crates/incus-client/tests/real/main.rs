//! The client against the daemons of this machine, where there are any.
//!
//! Every test runs once per daemon, in a project of its own that is deleted at the end, also
//! when the test fails.

mod exec;
mod files;
mod https;
mod images;
mod instances;
mod server;
mod support;
