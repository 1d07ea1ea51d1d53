//! Runs a script of the recipe in namespaces that end with this process.

use std::{collections::VecDeque, process::Stdio};

use camino::Utf8Path;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::Command,
};

use super::{BuildError, Event, Stage};

/// Number of output lines in the error of a failed step.
const TAIL_LINES: usize = 12;

/// Receiver of progress, as a trait object so that the build is not generic over it.
pub(super) type Progress<'a> = dyn FnMut(Event) + Send + 'a;

/// A script and its variables.
pub(super) struct Step<'a> {
    stage: Stage,
    script: &'static str,
    scripts: &'a Utf8Path,
    variables: Vec<(&'static str, String)>,
}

impl<'a> Step<'a> {
    /// `script` is a file name in `scripts`, the directory of the recipe's scripts.
    pub(super) fn new(stage: Stage, script: &'static str, scripts: &'a Utf8Path) -> Self {
        Self { stage, script, scripts, variables: vec![("SCRIPTS", scripts.to_string())] }
    }

    /// Sets a variable of the script.
    pub(super) fn variable(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.push((name, value.to_string()));
        self
    }

    /// Runs the script. Each line of output becomes an [`Event::Line`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future kills the script and all its children, and undoes its mounts: they are
    /// in namespaces whose first process dies with `unshare` and with the end of its standard
    /// input, which this process holds.
    pub(super) async fn run(self, progress: &mut Progress<'_>) -> Result<(), BuildError> {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"])
            .args(["sh", self.scripts.join("inside.sh").as_str()])
            .args(["sh", self.scripts.join(self.script).as_str()])
            .env("LC_ALL", "C.UTF-8")
            .envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started = |source| BuildError::Run { program: "unshare".to_owned(), source };
        let mut child = command.spawn().map_err(started)?;
        // Held until the step ends; see inside.sh.
        let _alive = child.stdin.take();
        let mut tail = Tail::default();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            let (mut out, mut err) = (lines(out), lines(err));
            let (mut out_open, mut err_open) = (true, true);
            while out_open || err_open {
                let line = tokio::select! {
                    line = out.next_line(), if out_open => {
                        line.map_err(started)?.or_else(|| { out_open = false; None })
                    }
                    line = err.next_line(), if err_open => {
                        line.map_err(started)?.or_else(|| { err_open = false; None })
                    }
                };
                if let Some(text) = line.filter(|text| !text.trim().is_empty()) {
                    tail.push(&text);
                    progress(Event::Line { stage: self.stage, text });
                }
            }
        }
        let status = child.wait().await.map_err(started)?;
        match status.success() {
            true => Ok(()),
            false => Err(tail.into_error(self.stage, &status.to_string(), self.scripts)),
        }
    }
}

fn lines<R: AsyncRead + Unpin>(reader: R) -> Lines<BufReader<R>> {
    BufReader::new(reader).lines()
}

/// The last lines of output.
#[derive(Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: &str) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    fn into_error(self, stage: Stage, status: &str, path: &Utf8Path) -> BuildError {
        if self.0.iter().any(|line| line.contains("No space left on device")) {
            return BuildError::DiskFull { path: path.to_owned() };
        }
        let tail = Vec::from(self.0).join("\n");
        BuildError::Step { stage: stage.describe(), status: status.to_owned(), tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_other_failures_show_their_last_lines() {
        let fail = |lines: &[&str]| {
            let mut tail = Tail::default();
            lines.iter().for_each(|line| tail.push(line));
            tail.into_error(Stage::Base, "exit status: 1", Utf8Path::new("/cache"))
        };
        let full = fail(&["dpkg: write error: No space left on device", "E: failed"]);
        assert!(matches!(full, BuildError::DiskFull { .. }));
        let many: Vec<_> = (0..40).map(|n| format!("line {n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let BuildError::Step { tail, .. } = fail(&many) else { panic!("a failed step") };
        assert_eq!((tail.lines().next(), tail.lines().count()), (Some("line 28"), TAIL_LINES));
    }
}
