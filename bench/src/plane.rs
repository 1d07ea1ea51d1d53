//! Embedded management plane: time from the start of `capn serve` to its first response, and its
//! resident memory with idle controllers.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::figures::{median, print};

const START_TARGET_MS: f64 = 100.0;
const MEMORY_TARGET_MB: f64 = 35.0;
/// How long controllers settle before memory is read.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn measure(capn: &Path, rounds: usize) -> anyhow::Result<()> {
    let mut new = Vec::new();
    let mut again = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..rounds {
        let state = tempfile::tempdir().context("cannot create a state directory")?;
        // The first start with a state directory also creates certificates and CRDs.
        new.push(Plane::start(capn, state.path())?.stop_after(Duration::ZERO)?.0);
        let (start, resident) = Plane::start(capn, state.path())?.stop_after(SETTLE)?;
        again.push(start);
        memory.push(resident);
    }
    print("plane: start, new state directory", median(new), START_TARGET_MS, "ms", 1.0);
    print("plane: start, existing state directory", median(again), START_TARGET_MS, "ms", 1.0);
    print("plane: resident, controllers idle", median(memory), MEMORY_TARGET_MB, "MB", 1.0);
    Ok(())
}

struct Plane {
    process: Child,
    started_in: Duration,
}

impl Plane {
    /// Starts `capn serve` and waits until it reports that it is serving.
    fn start(capn: &Path, state: &Path) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut process = Command::new(capn)
            .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(state)
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `capn serve`")?;
        let output = process.stderr.take().context("`capn serve` has no stderr")?;
        let mut lines = BufReader::new(output).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line.context("cannot read the output of `capn serve`")?;
            if line.starts_with("serving ") {
                let started_in = begin.elapsed();
                // Keep reading, so that the plane never blocks on a full pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { process, started_in });
            }
            said.push_str(&line);
            said.push('\n');
        }
        bail!("`capn serve` exited before it was ready:\n{said}")
    }

    /// Milliseconds to start, and resident megabytes after `settle`.
    fn stop_after(mut self, settle: Duration) -> anyhow::Result<(f64, f64)> {
        // `park_timeout` may return early, so check the clock.
        let until = Instant::now() + settle;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        let resident = resident_megabytes(self.process.id())?;
        let pid = self.process.id().to_string();
        Command::new("kill").arg(&pid).status().context("cannot run `kill`")?;
        let status = self.process.wait().context("cannot wait for `capn serve`")?;
        if !status.success() {
            bail!("`capn serve` exited with {status}");
        }
        Ok((self.started_in.as_secs_f64() * 1000.0, resident))
    }
}

/// Resident memory of a process.
pub(crate) fn resident_megabytes(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("no VmRSS in {path}"))?
        .parse()?;
    Ok(kilobytes / 1024.0)
}
