//! Tools for end-to-end tests, run by `./test`; see `tests/kubernetes`, `tests/conformance` and
//! `tests/attacks.sh`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod attack;
mod closure;
mod images;
mod junit;
mod registry;
mod report;

use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the container images of the Kubernetes end-to-end tests to one archive
    ///
    /// They are built from local programs and from the two directories; nothing is pulled
    Images(images::Arguments),
    /// Attack a `capn serve` and a `capn manager`, and report attacks that succeed
    Attack(attack::Arguments),
    /// Count the results of JUnit files; fails on failures that are not listed as known
    Verdict(report::VerdictArguments),
    /// Write docs/tested/conformance.md from JUnit files
    Report(report::ReportArguments),
}

/// Lists of tests with reasons, such as `tests/conformance/excluded.txt`.
#[derive(clap::Args, Clone, Debug)]
struct Lists {
    /// Tests that are not run; each line has the reason, two colons, and the name or a part of it
    #[arg(long)]
    excluded: Utf8PathBuf,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Images(arguments) => images::write(&arguments),
        Command::Attack(arguments) => attack::run(&arguments),
        Command::Verdict(arguments) => report::verdict(&arguments),
        Command::Report(arguments) => report::write(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
