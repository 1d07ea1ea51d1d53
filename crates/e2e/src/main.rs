//! What whole clusters are tested with. `./test` runs it; see `tests/kubernetes`,
//! `tests/conformance` and `tests/attacks.sh`.
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
    /// Writes the container images that Kubernetes' end-to-end tests use into one archive.
    ///
    /// They are made from programs of this machine and of the two directories; none is pulled.
    Images(images::Arguments),
    /// Attacks a `capn serve` and a `capn manager`, and tells what did not hold.
    Attack(attack::Arguments),
    /// Counts the results of JUnit files; fails for a failure that no list excuses.
    Verdict(report::VerdictArguments),
    /// Writes docs/conformance.md from JUnit files.
    Report(report::ReportArguments),
}

/// A list of tests with reasons, as `tests/conformance/excluded.txt`.
#[derive(clap::Args, Clone, Debug)]
struct Lists {
    /// Tests that are not run, a line each: the reason, two colons, the name or a part of it.
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
