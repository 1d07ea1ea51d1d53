//! `capn up` against `by-hand.sh`, in turns, on the local Incus with the images present.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::figures::{median, print};

const TARGET: f64 = 1.10;
const HAPROXY: &str = "capn/haproxy";
const NODE: &str = "capn/node";

pub(crate) fn measure(capn: &Path, rounds: usize) -> anyhow::Result<()> {
    let aliases = aliases()?;
    ensure!(
        aliases.iter().any(|alias| alias == HAPROXY),
        "no image {HAPROXY} on the local Incus: run `capn up` once"
    );
    let kubeadm = aliases.iter().rfind(|alias| alias.starts_with("capn/kubeadm/"));
    let (what, image, verb) = match kubeadm {
        Some(image) => ("capn up, against by hand", image.as_str(), "up"),
        None => ("capn up --bootstrap none, against by hand", NODE, "none"),
    };
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    let mut ours = Vec::new();
    let mut by_hand = Vec::new();
    for _ in 0..rounds {
        by_hand.push(hand(verb, image, hybrid)?);
        ours.push(up(capn, image, verb == "none", hybrid)?);
    }
    print(what, median(ours), median(by_hand), "s", TARGET);
    Ok(())
}

fn aliases() -> anyhow::Result<Vec<String>> {
    let output = Command::new("incus")
        .args(["image", "alias", "list", "--format", "json"])
        .output()
        .context("cannot run `incus`")?;
    ensure!(output.status.success(), "`incus image alias list` failed: is Incus running?");
    let list: Value = serde_json::from_slice(&output.stdout)?;
    let mut names: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|alias| alias["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn hand(verb: &str, image: &str, hybrid: bool) -> anyhow::Result<f64> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("by-hand.sh");
    let mut make = Command::new(&script);
    make.args([verb, "bench-hand", image, HAPROXY]);
    if hybrid {
        make.arg("cgroup-v1");
    }
    let took = timed(&mut make);
    timed(Command::new(&script).args(["down", "bench-hand"]))?;
    took
}

fn up(capn: &Path, image: &str, none: bool, hybrid: bool) -> anyhow::Result<f64> {
    let state = tempfile::tempdir().context("cannot make a state folder")?;
    let mut make = Command::new(capn);
    make.args(["up", "bench-up", "--image", image, "--state-dir"]).arg(state.path());
    if let Some(version) = image.strip_prefix("capn/kubeadm/") {
        make.args(["--kubernetes-version", version]);
    }
    if none {
        make.args(["--bootstrap", "none"]);
    }
    if hybrid {
        make.arg("--allow-cgroup-v1");
    }
    let took = timed(&mut make);
    timed(
        Command::new(capn).args(["delete", "cluster", "bench-up", "--state-dir"]).arg(state.path()),
    )?;
    took
}

/// Seconds that `command` took; its output is shown only when it fails.
fn timed(command: &mut Command) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let took = begin.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!(
            "{} failed with {}:\n{}{}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(took)
}
