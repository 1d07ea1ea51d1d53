//! Images built on this machine and run on the servers of this machine, where there are any.
//!
//! Slow (a minute or two when nothing is cached), and only as root. Every test works in a
//! project of its own, which is deleted at the end, also when the test fails. The cache folder
//! is `CAPN_TEST_CACHE`, else `/var/cache/capn`; it stays.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod bases;
mod cluster;
mod images;
mod mirror;
mod support;
