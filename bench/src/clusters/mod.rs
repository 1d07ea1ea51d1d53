//! `capn up` against `by-hand.sh`, alternating, on the local Incus with images present: time until
//! all nodes are Ready and a Service responds, and a breakdown of that time.

mod images;
mod run;
mod shape;
mod table;
mod timestamps;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::figures::{line, median};
use images::{HAPROXY, NodeImage};
use run::{CommandRun, Line, run};
pub(crate) use shape::Shape;
use timestamps::NodeTimes;

/// Target ratio to the handwritten script.
const TARGET: f64 = 0.75;

/// Parameters of the benchmark.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The binary.
    pub(crate) capn: &'a Path,
    pub(crate) rounds: usize,
    pub(crate) shapes: &'a [Shape],
    /// Alias of the nodes' image.
    pub(crate) image: Option<&'a str>,
    /// Name prefix of both clusters.
    pub(crate) prefix: &'a str,
}

/// Seconds since the start of the command.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ReadyTimes {
    /// Until all nodes are Ready; without Kubernetes, until all instances run.
    ready: f64,
    /// Until the first response of a Service. `None` without Kubernetes.
    answer: Option<f64>,
}

/// Measurement of one cluster.
struct Measurement {
    timestamps: ReadyTimes,
    /// Breakdown of its time.
    table: String,
}

/// Creates each shape `rounds` times on either side. Prints the medians and the breakdown of the
/// last round.
pub(crate) fn measure(plan: &Plan<'_>) -> anyhow::Result<()> {
    let image = images::of_nodes(plan.image)?;
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    for &shape in plan.shapes {
        let setup = Setup { plan, image: &image, shape, hybrid };
        let mut pairs = Vec::new();
        let mut tables = [String::new(), String::new()];
        for _ in 0..plan.rounds {
            let by_hand = setup.by_hand()?;
            let ours = setup.capn()?;
            pairs.push((ours.timestamps, by_hand.timestamps));
            tables = [ours.table, by_hand.table];
        }
        print(shape, &image, &pairs);
        for table in tables {
            println!("\n{}", table.trim_end());
        }
        println!();
    }
    Ok(())
}

fn print(shape: Shape, image: &NodeImage, pairs: &[(ReadyTimes, ReadyTimes)]) {
    let limit = shape.limit().map(|limit| format!(", <= {limit:.0} s")).unwrap_or_default();
    let print = |what: &str, ours: Vec<f64>, by_hand: Vec<f64>| {
        let line =
            line(&format!("capn up {shape}, {what}"), median(ours), median(by_hand), "s", TARGET);
        println!("{line}{limit}");
    };
    let (ours, by_hand): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let ready = |all: &[ReadyTimes]| all.iter().map(|timestamps| timestamps.ready).collect();
    let answer =
        |all: &[ReadyTimes]| all.iter().filter_map(|timestamps| timestamps.answer).collect();
    if image.version.is_some() {
        print("to all nodes Ready", ready(&ours), ready(&by_hand));
        print("to a Service's answer", answer(&ours), answer(&by_hand));
    } else {
        print("--bootstrap none", ready(&ours), ready(&by_hand));
    }
}

/// How both sides create a cluster.
struct Setup<'a> {
    plan: &'a Plan<'a>,
    image: &'a NodeImage,
    shape: Shape,
    hybrid: bool,
}

impl Setup<'_> {
    fn by_hand(&self) -> anyhow::Result<Measurement> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("by-hand.sh");
        let name = format!("{}-hand", self.plan.prefix);
        let mut make = Command::new(&script);
        let verb = if self.image.version.is_some() { "up" } else { "none" };
        make.args([verb, &name, &self.image.alias, HAPROXY]);
        make.args([self.shape.control_planes, self.shape.workers].map(|n| n.to_string()));
        if self.hybrid {
            make.arg("cgroup-v1");
        }
        let made = run(&mut make).and_then(|ran| {
            let timestamps = moments_by_hand(&ran.lines, self.image.version.is_some())?;
            let nodes = timestamps::of_instances(&format!("user.by-hand={name}"))?;
            Ok(made(&format!("{} by hand", self.shape), timestamps, &nodes, &ran))
        });
        run(Command::new(&script).args(["down", &name]))?;
        made
    }

    fn capn(&self) -> anyhow::Result<Measurement> {
        let Self { plan, image, shape, .. } = self;
        let name = format!("{}-up", plan.prefix);
        let state = tempfile::tempdir().context("cannot create a state directory")?;
        let mut make = Command::new(plan.capn);
        make.args(["up", &name, "--image", &image.alias, "--state-dir"]).arg(state.path());
        make.args(["--control-planes", &shape.control_planes.to_string()]);
        make.args(["--workers", &shape.workers.to_string()]);
        match &image.version {
            Some(version) => make.args(["--kubernetes-version", version]),
            None => make.args(["--bootstrap", "none"]),
        };
        if self.hybrid {
            make.arg("--allow-cgroup-v1");
        }
        let made = run(&mut make).and_then(|ran| {
            let timestamps = match image.version {
                Some(_) => moments_of_capn(&ran.lines, shape.nodes())?,
                None => ReadyTimes { ready: ran.took, answer: None },
            };
            let mut nodes = timestamps::of_instances(&format!("user.cluster-name={name}"))?;
            for node in &mut nodes {
                if let Some(at) = seen_ready(&ran.lines, &node.name) {
                    node.timestamps.insert("ready-seen".to_owned(), ran.began + at);
                }
            }
            Ok(made(&format!("{shape} by capn up"), timestamps, &nodes, &ran))
        });
        let mut delete = Command::new(plan.capn);
        run(delete.args(["delete", "cluster", &name, "--state-dir"]).arg(state.path()))?;
        made
    }
}

fn made(title: &str, timestamps: ReadyTimes, nodes: &[NodeTimes], ran: &CommandRun) -> Measurement {
    let table = table::render(title, nodes, ran.began);
    let answer = timestamps.answer.map(|at| format!(", a Service answers at {at:.1}"));
    let end = format!("  all Ready at {:.1}{}", timestamps.ready, answer.unwrap_or_default());
    Measurement { timestamps, table: format!("{table}{end}\n") }
}

/// Time at which `capn up` reported the node as Ready.
fn seen_ready(lines: &[Line], node: &str) -> Option<f64> {
    let said = format!("node `{node}` is Ready");
    lines.iter().find(|line| line.text.contains(&said)).map(|line| line.at)
}

/// Times that `capn up` reported for all nodes and for Services.
fn moments_of_capn(lines: &[Line], nodes: usize) -> anyhow::Result<ReadyTimes> {
    let ready: Vec<f64> = lines
        .iter()
        .filter(|line| line.text.contains("node `") && line.text.contains("` is Ready"))
        .map(|line| line.at)
        .collect();
    ensure!(ready.len() == nodes, "`capn up` reported {} nodes as Ready, not {nodes}", ready.len());
    let answer = lines
        .iter()
        .find(|line| line.text.contains("Services and DNS"))
        .context("`capn up` did not report that Services respond")?;
    Ok(ReadyTimes { ready: ready.into_iter().fold(0.0, f64::max), answer: Some(answer.at) })
}

/// Times that `by-hand.sh` reported, taken from its lines as for `capn up`.
fn moments_by_hand(lines: &[Line], has_services: bool) -> anyhow::Result<ReadyTimes> {
    let at = |what: &str| {
        let found = lines.iter().find(|line| line.text.split(' ').next() == Some(what));
        found.map(|line| line.at).with_context(|| format!("by-hand.sh did not print `{what}`"))
    };
    let answer = if has_services { Some(at("answer")?) } else { None };
    Ok(ReadyTimes { ready: at("ready")?, answer })
}

#[cfg(test)]
mod tests {
    use super::{Line, ReadyTimes, moments_by_hand, moments_of_capn, seen_ready};

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line =
            |(index, text): (usize, &&str)| Line { at: index as f64, text: (*text).to_owned() };
        texts.iter().enumerate().map(line).collect()
    }

    #[test]
    fn capn_output_has_both_times() {
        let said = lines(&[
            "✓ control plane `b-control-plane-x` runs at 10.0.0.2  2.1s",
            "✓ node `b-md-0-y` is Ready  9.1s",
            "✓ node `b-control-plane-x` is Ready  11s",
            "✓ Services and DNS (kubernetes.default.svc.cluster.local) respond from 2 nodes",
        ]);
        assert_eq!(
            moments_of_capn(&said, 2).unwrap(),
            ReadyTimes { ready: 2.0, answer: Some(3.0) }
        );
        assert_eq!(seen_ready(&said, "b-md-0-y"), Some(1.0));
        assert_eq!(seen_ready(&said, "b-md-0-z"), None);
        assert!(
            moments_of_capn(&said, 3)
                .unwrap_err()
                .to_string()
                .contains("reported 2 nodes as Ready")
        );
        assert!(moments_of_capn(&said[..3], 2).is_err());
    }

    #[test]
    fn the_script_output_has_both_times() {
        let said = lines(&["incus says ready", "ready 12.3", "answer 12.5"]);
        assert_eq!(
            moments_by_hand(&said, true).unwrap(),
            ReadyTimes { ready: 1.0, answer: Some(2.0) }
        );
        let ready = ReadyTimes { ready: 1.0, answer: None };
        assert_eq!(moments_by_hand(&said[..2], false).unwrap(), ready);
        assert!(moments_by_hand(&said[..2], true).unwrap_err().to_string().contains("`answer`"));
        assert!(moments_by_hand(&said[..1], false).is_err());
    }
}
