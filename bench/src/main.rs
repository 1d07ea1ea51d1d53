//! `cargo run --release -p bench`: cost of capn as ratios within one run.
//!
//! Measures whole processes of the release binary, as users run them: `capn up` alternating with
//! `by-hand.sh`, `capn serve` from start to first response, and the provider in a separate process
//! with a thousand machines on the simulated server.

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

/// Benchmark capn against a handwritten script, and its plane against targets
#[derive(Debug, Parser)]
struct Args {
    /// Rounds of each measurement; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// The capn binary to measure
    #[arg(long, default_value = "target/release/capn", value_name = "FILE")]
    capn: PathBuf,
    /// Only measure the plane; does not need Incus
    #[arg(long)]
    plane_only: bool,
    /// Only measure the provider on the simulated server; needs neither Incus nor a binary
    #[arg(long, conflicts_with = "plane_only")]
    provider_only: bool,
    /// Only measure whole clusters; needs a local Incus with the images
    #[arg(long, conflicts_with_all = ["plane_only", "provider_only"])]
    clusters_only: bool,
    /// Clusters to measure, as CONTROL-PLANES+WORKERS
    #[arg(long, value_delimiter = ',', default_value = "1+0,1+1,1+2,3+2", value_name = "C+W")]
    shapes: Vec<Shape>,
    /// Image of the nodes [default: the newest `capn/kubeadm/...`, or capn/node]
    #[arg(long, value_name = "ALIAS")]
    image: Option<String>,
    /// Name prefix of the clusters
    #[arg(long, default_value = "bench", value_name = "NAME")]
    prefix: String,
    /// Number of machines for the provider
    #[arg(long, default_value_t = 1000, value_name = "N")]
    machines: usize,
    /// Role of this process in the provider measurement
    #[arg(long, hide = true, requires = "at")]
    part: Option<provider::Part>,
    /// Socket of the simulator, or kubeconfig of the provider
    #[arg(long, hide = true, value_name = "FILE")]
    at: Option<PathBuf>,
}

/// Same allocator as `capn`, so that memory is comparable.
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
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    let capn = std::fs::canonicalize(&args.capn).with_context(|| {
        format!("{} does not exist: run `cargo build --release -p capn` first", args.capn.display())
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
