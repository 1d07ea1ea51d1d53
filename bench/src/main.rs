//! `cargo run --release -p bench`: what capn costs, as ratios in one run.
//!
//! Everything is measured on whole processes of the release binary, as a user meets them:
//! `capn up` against `by-hand.sh` in turns, `capn serve` from its start to its first answer, and the
//! provider in a process of its own with a thousand machines on the simulated server.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]

mod clusters;
mod figures;
mod plane;
mod provider;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Parser;
use clusters::Shape;

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
    /// Measure the provider only, on the simulated server, which needs no Incus and no binary
    #[arg(long, conflicts_with = "plane_only")]
    provider_only: bool,
    /// Measure whole clusters only, which needs a local Incus with the images
    #[arg(long, conflicts_with_all = ["plane_only", "provider_only"])]
    clusters_only: bool,
    /// The clusters: control planes and workers of each
    #[arg(long, value_delimiter = ',', default_value = "1+0,1+1,1+2,3+2", value_name = "C+W")]
    shapes: Vec<Shape>,
    /// Image of the nodes [default: the last `capn/kubeadm/…`, else capn/node]
    #[arg(long, value_name = "ALIAS")]
    image: Option<String>,
    /// What the names of the clusters begin with
    #[arg(long, default_value = "bench", value_name = "NAME")]
    prefix: String,
    /// Machines that the provider makes
    #[arg(long, default_value_t = 1000, value_name = "N")]
    machines: usize,
    /// What this process is in that measurement
    #[arg(long, hide = true, requires = "at")]
    part: Option<provider::Part>,
    /// Socket of the simulator, or kubeconfig of the provider
    #[arg(long, hide = true, value_name = "FILE")]
    at: Option<PathBuf>,
}

/// The allocator of `capn`, so that memory is what it is there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    if let (Some(part), Some(at)) = (args.part, &args.at) {
        return provider::run(part, at);
    }
    let heading = || println!("{:<44} {:>9} {:>9} {:>7}", "", "measured", "against", "ratio");
    if args.provider_only {
        heading();
        return provider::measure(args.machines);
    }
    ensure!(args.rounds > 0, "no rounds, no figures: --rounds takes 1 or more");
    let capn = std::fs::canonicalize(&args.capn).with_context(|| {
        format!("there is no {}: run `cargo build --release -p capn` first", args.capn.display())
    })?;
    heading();
    if !args.clusters_only {
        plane::measure(&capn, args.rounds)?;
    }
    if args.plane_only {
        return Ok(());
    }
    if !args.clusters_only {
        provider::measure(args.machines)?;
    }
    clusters::measure(&clusters::Plan {
        capn: &capn,
        rounds: args.rounds,
        shapes: &args.shapes,
        image: args.image.as_deref(),
        prefix: &args.prefix,
    })?;
    Ok(())
}
