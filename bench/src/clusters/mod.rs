//! `capn up` against `by-hand.sh`, in turns, on the local Incus with the images present: how long
//! until all nodes are Ready and a Service answers, and where that time goes.

mod images;
mod moments;
mod run;
mod shape;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::figures::{line, median};
use images::{HAPROXY, NodeImage};
use moments::Subject;
use run::{Line, Ran, run};
pub(crate) use shape::Shape;

/// Of the best script by hand.
const TARGET: f64 = 0.75;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The binary.
    pub(crate) capn: &'a Path,
    pub(crate) rounds: usize,
    pub(crate) shapes: &'a [Shape],
    /// Alias of the nodes' image.
    pub(crate) image: Option<&'a str>,
    /// What the names of both clusters begin with.
    pub(crate) prefix: &'a str,
}

/// Seconds from the start of the command.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moments {
    /// To all nodes Ready; without Kubernetes, to all instances.
    ready: f64,
    /// To the first answer of a Service. Without Kubernetes there is none.
    answer: Option<f64>,
}

/// A cluster that was made and measured.
struct Made {
    moments: Moments,
    /// The table of where its time went.
    table: String,
}

/// Makes each shape `rounds` times by either side, and prints the medians and where the time of the
/// last round went.
pub(crate) fn measure(plan: &Plan<'_>) -> anyhow::Result<()> {
    let image = images::of_nodes(plan.image)?;
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    for &shape in plan.shapes {
        let side = Side { plan, image: &image, shape, hybrid };
        let mut pairs = Vec::new();
        let mut tables = [String::new(), String::new()];
        for _ in 0..plan.rounds {
            let by_hand = side.by_hand()?;
            let ours = side.capn()?;
            pairs.push((ours.moments, by_hand.moments));
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

fn print(shape: Shape, image: &NodeImage, pairs: &[(Moments, Moments)]) {
    let limit = shape.limit().map(|limit| format!(", <= {limit:.0} s")).unwrap_or_default();
    let print = |what: &str, ours: Vec<f64>, by_hand: Vec<f64>| {
        let line =
            line(&format!("capn up {shape}, {what}"), median(ours), median(by_hand), "s", TARGET);
        println!("{line}{limit}");
    };
    let (ours, by_hand): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let ready = |all: &[Moments]| all.iter().map(|moments| moments.ready).collect();
    let answer = |all: &[Moments]| all.iter().filter_map(|moments| moments.answer).collect();
    if image.version.is_some() {
        print("to all nodes Ready", ready(&ours), ready(&by_hand));
        print("to a Service's answer", answer(&ours), answer(&by_hand));
    } else {
        print("--bootstrap none", ready(&ours), ready(&by_hand));
    }
}

/// How both sides make a cluster.
struct Side<'a> {
    plan: &'a Plan<'a>,
    image: &'a NodeImage,
    shape: Shape,
    hybrid: bool,
}

impl Side<'_> {
    fn by_hand(&self) -> anyhow::Result<Made> {
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
            let moments = moments_by_hand(&ran.lines, self.image.version.is_some())?;
            let subjects = moments::of_instances(&format!("user.by-hand={name}"))?;
            Ok(made(&format!("{} by hand", self.shape), moments, &subjects, &ran))
        });
        run(Command::new(&script).args(["down", &name]))?;
        made
    }

    fn capn(&self) -> anyhow::Result<Made> {
        let Self { plan, image, shape, .. } = self;
        let name = format!("{}-up", plan.prefix);
        let state = tempfile::tempdir().context("cannot make a state folder")?;
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
            let moments = match image.version {
                Some(_) => moments_of_capn(&ran.lines, shape.nodes())?,
                None => Moments { ready: ran.took, answer: None },
            };
            let mut subjects = moments::of_instances(&format!("user.cluster-name={name}"))?;
            for subject in &mut subjects {
                if let Some(at) = seen_ready(&ran.lines, &subject.name) {
                    subject.moments.insert("ready-seen".to_owned(), ran.began + at);
                }
            }
            Ok(made(&format!("{shape} by capn up"), moments, &subjects, &ran))
        });
        let mut delete = Command::new(plan.capn);
        run(delete.args(["delete", "cluster", &name, "--state-dir"]).arg(state.path()))?;
        made
    }
}

fn made(title: &str, moments: Moments, subjects: &[Subject], ran: &Ran) -> Made {
    let table = table::render(title, subjects, ran.began);
    let answer = moments.answer.map(|at| format!(", a Service answers at {at:.1}"));
    let end = format!("  all Ready at {:.1}{}", moments.ready, answer.unwrap_or_default());
    Made { moments, table: format!("{table}{end}\n") }
}

/// When `capn up` said that the node is Ready.
fn seen_ready(lines: &[Line], node: &str) -> Option<f64> {
    let said = format!("node `{node}` is Ready");
    lines.iter().find(|line| line.text.contains(&said)).map(|line| line.at)
}

/// What `capn up` said of all nodes and of Services.
fn moments_of_capn(lines: &[Line], nodes: usize) -> anyhow::Result<Moments> {
    let ready: Vec<f64> = lines
        .iter()
        .filter(|line| line.text.contains("node `") && line.text.contains("` is Ready"))
        .map(|line| line.at)
        .collect();
    ensure!(
        ready.len() == nodes,
        "`capn up` said of {} nodes that they are Ready, not of {nodes}",
        ready.len()
    );
    let answer = lines
        .iter()
        .find(|line| line.text.contains("Services answer from"))
        .context("`capn up` did not say that Services answer")?;
    Ok(Moments { ready: ready.into_iter().fold(0.0, f64::max), answer: Some(answer.at) })
}

/// What `by-hand.sh` said: the moment is that of the line, as it is for `capn up`.
fn moments_by_hand(lines: &[Line], has_services: bool) -> anyhow::Result<Moments> {
    let at = |what: &str| {
        let found = lines.iter().find(|line| line.text.split(' ').next() == Some(what));
        found.map(|line| line.at).with_context(|| format!("by-hand.sh did not say `{what}`"))
    };
    let answer = if has_services { Some(at("answer")?) } else { None };
    Ok(Moments { ready: at("ready")?, answer })
}

#[cfg(test)]
mod tests {
    use super::{Line, Moments, moments_by_hand, moments_of_capn, seen_ready};

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line =
            |(index, text): (usize, &&str)| Line { at: index as f64, text: (*text).to_owned() };
        texts.iter().enumerate().map(line).collect()
    }

    #[test]
    fn capn_says_both_moments() {
        let said = lines(&[
            "✓ control plane `b-control-plane-x` runs at 10.0.0.2  2.1s",
            "✓ node `b-md-0-y` is Ready  9.1s",
            "✓ node `b-control-plane-x` is Ready  11s",
            "✓ Services answer from 2 nodes, and so does DNS (kubernetes.default.svc.cluster.local)",
        ]);
        assert_eq!(moments_of_capn(&said, 2).unwrap(), Moments { ready: 2.0, answer: Some(3.0) });
        assert_eq!(seen_ready(&said, "b-md-0-y"), Some(1.0));
        assert_eq!(seen_ready(&said, "b-md-0-z"), None);
        assert!(moments_of_capn(&said, 3).unwrap_err().to_string().contains("of 2 nodes"));
        assert!(moments_of_capn(&said[..3], 2).is_err());
    }

    #[test]
    fn the_script_says_both_moments() {
        let said = lines(&["incus says ready", "ready 12.3", "answer 12.5"]);
        assert_eq!(
            moments_by_hand(&said, true).unwrap(),
            Moments { ready: 1.0, answer: Some(2.0) }
        );
        let ready = Moments { ready: 1.0, answer: None };
        assert_eq!(moments_by_hand(&said[..2], false).unwrap(), ready);
        assert!(moments_by_hand(&said[..2], true).unwrap_err().to_string().contains("`answer`"));
        assert!(moments_by_hand(&said[..1], false).is_err());
    }
}
