//! Terminal recordings: `cargo xtask record` runs a command in a terminal of its own and writes what it
//! shows, with its times, as an animated SVG.

mod screen;
mod svg;

pub(crate) use svg::escaped;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use screen::Screen;

const USAGE: &str = "usage: cargo xtask record [OPTIONS] --out FILE.svg -- COMMAND...

  --columns N      width of the terminal (80)
  --rows N         height of the terminal (24)
  --at-most SECS   a longer run is played faster, and the title says how much (20)
  --title TEXT     title of the window (the command)

The command runs in a terminal that `script` (util-linux) makes. What it changes is real.";

/// What is recorded, and how it is shown.
struct Options {
    columns: usize,
    rows: usize,
    at_most: Duration,
    title: Option<String>,
    out: PathBuf,
    command: Vec<String>,
}

/// Output of the terminal, and when it came, counted from the start.
struct Chunk {
    at: Duration,
    bytes: Vec<u8>,
}

/// Runs the command and writes the recording.
///
/// # Errors
///
/// Unknown options, no `script` on this machine, or a command that fails.
pub(crate) fn record(arguments: &[String]) -> anyhow::Result<()> {
    let options = parse(arguments)?;
    let chunks = run(&options)?;
    let mut screen = Screen::new(options.columns, options.rows);
    let mut frames = Vec::new();
    for chunk in &chunks {
        screen.feed(&chunk.bytes);
        frames.push((chunk.at, screen.rows()));
    }
    let shown = options.title.clone().unwrap_or_else(|| options.command.join(" "));
    let picture = svg::animation(&shown, options.columns, &frames, options.at_most);
    std::fs::write(&options.out, picture)
        .with_context(|| format!("cannot write {}", options.out.display()))
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options {
        columns: 80,
        rows: 24,
        at_most: Duration::from_secs(20),
        title: None,
        out: PathBuf::new(),
        command: Vec::new(),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            options.command = rest.by_ref().cloned().collect();
            break;
        }
        let value = rest.next().with_context(|| USAGE.to_owned())?;
        match argument.as_str() {
            "--columns" => options.columns = value.parse().context("--columns is not a number")?,
            "--rows" => options.rows = value.parse().context("--rows is not a number")?,
            "--at-most" => {
                options.at_most =
                    Duration::from_secs(value.parse().context("--at-most is not a number")?);
            }
            "--title" => options.title = Some(value.clone()),
            "--out" => options.out = PathBuf::from(value),
            _ => bail!("{USAGE}"),
        }
    }
    if options.command.is_empty() || options.out.as_os_str().is_empty() {
        bail!("{USAGE}");
    }
    Ok(options)
}

/// Runs the command in a terminal, with output and times in two files.
fn run(options: &Options) -> anyhow::Result<Vec<Chunk>> {
    let scratch = std::env::temp_dir().join(format!("capn-record-{}", std::process::id()));
    std::fs::create_dir(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let result = run_in(options, &scratch);
    std::fs::remove_dir_all(&scratch)
        .with_context(|| format!("cannot remove {}", scratch.display()))?;
    result
}

fn run_in(options: &Options, scratch: &Path) -> anyhow::Result<Vec<Chunk>> {
    let (output, timing) = (scratch.join("output"), scratch.join("timing"));
    let command = options.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let line = format!("stty cols {} rows {}; exec {command}", options.columns, options.rows);
    let status = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--log-out"])
        .arg(&output)
        .arg("--log-timing")
        .arg(&timing)
        .args(["--logging-format", "classic", "--command", &line])
        .env("TERM", "xterm-256color")
        .status()
        .context("cannot run script(1) of util-linux")?;
    if !status.success() {
        bail!("`{command}` failed, so nothing was written");
    }
    let output = std::fs::read(&output).context("script left no output")?;
    let timing = std::fs::read_to_string(&timing).context("script left no times")?;
    chunks(&output, &timing)
}

/// Puts the times of `script --log-timing` (seconds since the last, and bytes) to the output.
fn chunks(output: &[u8], timing: &str) -> anyhow::Result<Vec<Chunk>> {
    // The first line is of script itself.
    let mut rest = output.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default();
    let mut at = Duration::ZERO;
    let mut found = Vec::new();
    for line in timing.lines() {
        let (seconds, bytes) = line.split_once(' ').context("a line of times has two numbers")?;
        at += Duration::from_secs_f64(seconds.parse().context("a time is not a number")?);
        let length: usize = bytes.trim().parse().context("a length is not a number")?;
        let (head, tail) = rest.split_at(length.min(rest.len()));
        rest = tail;
        found.push(Chunk { at, bytes: head.to_vec() });
    }
    Ok(found)
}

/// One word of a shell, whatever is in it.
fn quoted(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./=:,@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_divided_by_the_times() {
        let found = chunks(b"Script started\nabcdef", "0.5 2\n1.0 4\n").unwrap();
        let found: Vec<_> =
            found.iter().map(|chunk| (chunk.at.as_millis(), chunk.bytes.as_slice())).collect();
        assert_eq!(found, [(500, b"ab".as_slice()), (1500, b"cdef".as_slice())]);
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--flag=a"), "--flag=a");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
