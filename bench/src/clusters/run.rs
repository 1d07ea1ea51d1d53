//! A command that is run to its end, with the moment of each line that it prints.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

/// How many lines of a command that failed are shown.
const SHOWN: usize = 40;

/// A command that has ended well.
#[derive(Debug)]
pub(super) struct Ran {
    /// When it began, in seconds since 1970: the clock of the server's and the nodes' own records.
    pub(super) began: f64,
    /// Seconds from its start to its end.
    pub(super) took: f64,
    /// What it printed on both streams, each line with the seconds from its start.
    pub(super) lines: Vec<Line>,
}

/// A line, and when it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) at: f64,
    pub(super) text: String,
}

/// Runs `command`. What it printed is part of the error when it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<Ran> {
    let program = command.get_program().display().to_string();
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let begin = Instant::now();
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let (sender, receiver) = channel();
    let out = process.stdout.take().map(|out| read(out, begin, sender.clone()));
    let err = process.stderr.take().map(|err| read(err, begin, sender));
    let lines: Vec<Line> = receiver.iter().collect();
    for reader in [out, err].into_iter().flatten() {
        if reader.join().is_err() {
            bail!("what {program} printed could not be read");
        }
    }
    let status = process.wait().with_context(|| format!("cannot wait for {program}"))?;
    let took = begin.elapsed().as_secs_f64();
    if !status.success() {
        let last: Vec<_> =
            lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| &*line.text).collect();
        bail!("{program} failed with {status}:\n{}", last.join("\n"));
    }
    Ok(Ran { began, took, lines })
}

/// Reads lines in a thread of its own, so that each gets the moment at which it came.
fn read(
    from: impl Read + Send + 'static,
    begin: Instant,
    to: Sender<Line>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            // A pipe that breaks ends with its process, whose status says more.
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).into_owned();
            if to.send(Line { at: begin.elapsed().as_secs_f64(), text }).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::run;

    #[test]
    fn lines_of_both_streams_have_their_moments() {
        let ran = run(Command::new("sh").args(["-c", "echo out; echo err >&2"])).unwrap();
        let mut texts: Vec<_> = ran.lines.iter().map(|line| &*line.text).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["err", "out"]);
        assert!(ran.lines.iter().all(|line| line.at > 0.0 && line.at <= ran.took));
    }

    #[test]
    fn a_failure_says_what_was_printed() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("\nwhy"), "{error}");
    }
}
