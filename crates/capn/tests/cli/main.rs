//! Command line tests, in this process and without a server.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know for tests")]

mod config;
mod delete;
mod identity;
mod manifests;
mod pages;
mod pools;
mod reference;
mod repair;
mod session;
mod streams;
mod templates;
mod upgrade;
mod usage;
mod users;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use capn::{Environment, Exit, Ui};

/// A temporary home directory, with an otherwise empty environment.
struct Home {
    dir: tempfile::TempDir,
}

/// Output and exit code of a command.
#[must_use = "either snapshot the output or look at how the command ended"]
struct CommandOutput {
    exit: Exit,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `capn` with these arguments. Paths in the output are shown as `$HOME`.
    fn capn(&self, arguments: &[&str]) -> CommandOutput {
        self.capn_in(&[], arguments)
    }

    /// The same with additional environment variables.
    fn capn_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
        let home = self.path().to_str().unwrap().to_owned();
        let all = [("HOME", home.as_str())].into_iter().chain(variables.iter().copied());
        let environment = Environment::with(all);
        let (out, err) = (Captured::default(), Captured::default());
        let ui = Ui::plain(out.clone(), err.clone());
        let arguments = std::iter::once("capn").chain(arguments.iter().copied());
        let exit = capn::run(arguments.map(Into::into), environment, |_, _| ui);
        let shown = |kept: &Captured| kept.text().replace(&home, "$HOME");
        CommandOutput { exit, out: shown(&out), err: shown(&err) }
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}------- stderr -------\n{}[exit: {:?}]", self.out, self.err, self.exit)
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
