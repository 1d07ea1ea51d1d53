//! `cargo run --release -p bench`: what capn costs, as ratios in one run.
//!
//! Everything is measured on whole processes of the release binary, as a user meets them:
//! `capn up` against `by-hand.sh` in turns, and `capn serve` from its start to its first answer.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

mod clusters;
mod figures;
mod plane;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Parser;

/// Measure capn against the same work by hand, and its plane against its targets
#[derive(Debug, Parser)]
struct Args {
    /// Rounds of each measurement; the median is what counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// The binary that is measured
    #[arg(long, default_value = "target/release/capn", value_name = "FILE")]
    capn: PathBuf,
    /// Measure the plane only, which needs no Incus
    #[arg(long)]
    plane_only: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.rounds > 0, "no rounds, no figures: --rounds takes 1 or more");
    let capn = std::fs::canonicalize(&args.capn).with_context(|| {
        format!("there is no {}: run `cargo build --release -p capn` first", args.capn.display())
    })?;
    println!("{:<44} {:>9} {:>9} {:>7}", "", "measured", "against", "ratio");
    plane::measure(&capn, args.rounds)?;
    if !args.plane_only {
        clusters::measure(&capn, args.rounds)?;
    }
    Ok(())
}
