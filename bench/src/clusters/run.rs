//! Runs a command and records the time of each line it prints.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

/// How many lines of a failed command are shown.
const SHOWN: usize = 40;

/// A command that succeeded.
#[derive(Debug)]
pub(super) struct CommandRun {
    /// Start time in seconds since 1970, comparable to the records of the server and the nodes.
    pub(super) began: f64,
    /// Duration in seconds.
    pub(super) took: f64,
    /// Lines on both streams, with seconds since the start.
    pub(super) lines: Vec<Line>,
}

/// A line and its time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) at: f64,
    pub(super) text: String,
}

/// Runs `command`. Its output is part of the error if it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<CommandRun> {
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
            bail!("cannot read the output of {program}");
        }
    }
    let status = process.wait().with_context(|| format!("cannot wait for {program}"))?;
    let took = begin.elapsed().as_secs_f64();
    if !status.success() {
        let last: Vec<_> =
            lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| &*line.text).collect();
        bail!("{program} failed with {status}:\n{}", last.join("\n"));
    }
    Ok(CommandRun { began, took, lines })
}

/// Reads lines in a separate thread to record their times.
fn read(
    from: impl Read + Send + 'static,
    begin: Instant,
    to: Sender<Line>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            // A broken pipe ends with its process, whose exit status explains more.
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
    fn lines_of_both_streams_have_timestamps() {
        let ran = run(Command::new("sh").args(["-c", "echo out; echo err >&2"])).unwrap();
        let mut texts: Vec<_> = ran.lines.iter().map(|line| &*line.text).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["err", "out"]);
        assert!(ran.lines.iter().all(|line| line.at > 0.0 && line.at <= ran.took));
    }

    #[test]
    fn a_failure_includes_the_output() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("\nwhy"), "{error}");
    }
}
