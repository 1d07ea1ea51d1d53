//! Images built on this machine and run on its servers, if there are any.
//!
//! Slow (one or two minutes when nothing is cached), and only as root. Every test has its own
//! project, which is deleted at the end even if the test fails. The cache directory is
//! `CAPN_TEST_CACHE`, else `/var/cache/capn`; it stays.

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
