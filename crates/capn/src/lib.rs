//! The `capn` command as a library: [`run`] is the whole of it.
//!
//! | module | is |
//! |---|---|
//! | [`cli`] | the command line, nothing else |
//! | [`commands`] | one file a command: what it does, and how its outcome is printed |
//! | [`cluster`] | making, finding and removing a cluster |
//! | [`upgrade`] | replacing the machines of a cluster by those of another version of Kubernetes |
//! | [`power`] | stopping and starting the instances of a cluster |
//! | [`bundle`] | a file for whoever helps to find out what is wrong |
//! | [`inside`] | commands in machines, through the server's API |
//! | [`manifest`] | what a cluster is asked to be, and the manifests of that |
//! | [`template`] | manifests from templates and their variables |
//! | [`preflight`] | what can be known to be wrong before anything is made |
//! | [`images`] | makes sure that the server has the images |
//! | [`session`] | the plane and its controllers in this process, or a `capn serve` that has them |
//! | [`watch`] | from objects to steps a person can follow |
//! | [`identity`] | how a server is reached |
//! | [`management`] | how a management cluster is reached |
//! | [`logging`] | log lines of the libraries |
//! | [`files`] | how many files may be open |
//! | [`ui`] | everything that is printed |
//!
//! Nothing else in the workspace reads the environment or prints.

pub mod bundle;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod environment;
pub mod error;
pub mod etcd;
pub mod exit;
pub mod files;
pub mod identity;
pub mod images;
pub mod inside;
pub mod logging;
pub mod management;
pub mod manifest;
pub mod output;
pub mod power;
pub mod preflight;
pub mod repair;
pub mod session;
pub mod state;
pub mod template;
pub mod ui;
pub mod upgrade;
pub mod watch;

mod signal;

use std::ffi::OsString;

use camino::Utf8Path;
use clap::Parser as _;

pub use environment::Environment;
pub use exit::Exit;
pub use ui::{Look, Ui};

use cli::Cli;
use error::CommandError;

/// What a command works with.
pub struct Context {
    /// What the process was started with.
    pub environment: Environment,
    /// Everything that is printed.
    pub ui: Ui,
    /// Options of every command.
    pub global: cli::Global,
    /// How this program was called.
    pub program: String,
    /// Sets how much is logged.
    pub logs: logging::Logs,
}

impl Context {
    /// How this program is called again from anywhere, with the same state folder.
    pub fn again(&self) -> String {
        let absolute = |path: &Utf8Path| {
            camino::absolute_utf8(path).map_or_else(|_| path.to_string(), |path| path.to_string())
        };
        let program = match self.environment.has_program("capn") {
            true => "capn".to_owned(),
            false => absolute(Utf8Path::new(&self.program)),
        };
        match &self.global.state_dir {
            None => program,
            Some(folder) => format!("{program} --state-dir {}", absolute(folder)),
        }
    }
}

/// Has a defect of this program told on stderr without what a terminal would act on: its text may
/// quote what somebody else wrote. With `RUST_BACKTRACE=1` also where it was met.
pub fn tell_of_defects() {
    std::panic::set_hook(Box::new(|defect| {
        let text = format!("capn has a defect: {defect}");
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        let text = ui::readable(&text);
        // Nobody is left to tell when stderr is closed.
        drop(std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{text}{trace}\n").as_bytes(),
        ));
    }));
}

/// Parses the command line, runs the command, prints what failed.
///
/// `ui` makes the streams once the look of the output is known.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment,
    ui: impl FnOnce(&Environment, Look) -> Ui,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = arguments
        .first()
        .map_or_else(|| "capn".to_owned(), |program| program.to_string_lossy().into_owned());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return parse_failed(&error, &environment, ui),
    };
    let look = Look { no_color: cli.global.no_color, verbosity: cli.global.verbose };
    let ui = ui(&environment, look);
    let logs = logging::start(&ui, logging::Look::of(&cli));
    let context = Context { environment, ui: ui.clone(), global: cli.global, program, logs };
    match block_on(commands::run(&context, cli.command)) {
        Ok(exit) => exit,
        Err(error) => {
            ui.error(&error);
            error.exit()
        }
    }
}

/// `--help` and `--version` come as errors of the parser, to stdout and with exit code 0.
fn parse_failed(
    error: &clap::Error,
    environment: &Environment,
    ui: impl FnOnce(&Environment, Look) -> Ui,
) -> Exit {
    let ui = ui(environment, Look::default());
    if error.use_stderr() {
        ui.say(error.render().to_string().trim_end());
        return Exit::Usage;
    }
    match ui.data(&error.render().to_string()) {
        Ok(()) => Exit::Done,
        Err(error) => error.exit(),
    }
}

fn block_on(
    command: impl Future<Output = Result<Exit, CommandError>>,
) -> Result<Exit, CommandError> {
    // Two providers are compiled in by nobody, but rustls still wants to be told which.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // More than there are processors: the system shares them among threads, but a thread serves a
        // probe only after the large object that it is at.
        .worker_threads(8)
        .enable_all()
        .build()
        .map_err(|error| CommandError::caused("cannot start the runtime", error))?;
    let result = runtime.block_on(command);
    // Nothing that was awaited is lost; a blocking read of a hung server must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}
