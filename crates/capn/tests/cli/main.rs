//! The command line as a user meets it, in this process and without a server.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know for tests")]

mod identity;
mod manifests;
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

/// A home folder of its own, and nothing else of the machine's environment.
struct Home {
    folder: tempfile::TempDir,
}

/// What a command printed and how it ended.
#[must_use = "either snapshot the output or look at how the command ended"]
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `capn` with these arguments. Paths in the output are shown as `$HOME`.
    fn capn(&self, arguments: &[&str]) -> Ran {
        self.capn_in(&[], arguments)
    }

    /// The same with more variables in the environment.
    fn capn_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let home = self.path().to_str().unwrap().to_owned();
        let all = [("HOME", home.as_str())].into_iter().chain(variables.iter().copied());
        let environment = Environment::with(all);
        let (out, err) = (Kept::default(), Kept::default());
        let ui = Ui::plain(out.clone(), err.clone());
        let arguments = std::iter::once("capn").chain(arguments.iter().copied());
        let exit = capn::run(arguments.map(Into::into), environment, |_, _| ui);
        let shown = |kept: &Kept| kept.text().replace(&home, "$HOME");
        Ran { exit, out: shown(&out), err: shown(&err) }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}------- stderr -------\n{}[exit: {:?}]", self.out, self.err, self.exit)
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
