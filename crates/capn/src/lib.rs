//! The `capn` command as a library. [`run`] is the entry point.
//!
//! | module | content |
//! |---|---|
//! | [`cli`] | the command line, nothing else |
//! | [`commands`] | one file per command: what it does, and how its result is printed |
//! | [`cluster`] | creates, finds and deletes clusters |
//! | [`upgrade`] | replaces the machines of a cluster with those of another Kubernetes version |
//! | [`power`] | stops and starts the instances of a cluster |
//! | [`bundle`] | the archive of logs and objects for a bug report |
//! | [`machine_exec`] | commands in machines, through the server's API |
//! | `completion` | shell completion |
//! | `orphans` | resources on a server whose cluster is unknown |
//! | `kubeconfig` | entries of clusters in the user's kubeconfig |
//! | [`manifest`] | the request for a cluster, and its manifests |
//! | [`template`] | manifests from templates and their variables |
//! | [`preflight`] | checks before anything is created |
//! | [`images`] | ensures that the server has the images |
//! | [`session`] | the plane and its controllers in this process, or a `capn serve` that has them |
//! | [`watch`] | converts objects to progress steps |
//! | [`identity`] | how capn connects to a server |
//! | [`management`] | how capn connects to a management cluster |
//! | [`logging`] | log lines of the libraries |
//! | [`files`] | the limit of open files |
//! | [`ui`] | everything that is printed |
//!
//! No other crate in the workspace reads the environment or prints.

pub mod bundle;
pub mod cli;
pub mod cluster;
pub mod commands;
mod completion;
pub mod config;
pub mod environment;
pub mod error;
pub mod etcd;
pub mod exit;
pub mod files;
pub mod identity;
pub mod images;
mod kubeconfig;
pub mod logging;
pub mod machine_exec;
pub mod management;
pub mod manifest;
mod orphans;
pub mod output;
pub mod power;
pub mod preflight;
pub mod repair;
pub mod session;
pub mod state;
pub mod template;
pub mod text_file;
pub mod trust;
pub mod ui;
pub mod upgrade;
pub mod watch;

mod signal;

use std::ffi::OsString;

use camino::Utf8Path;
use clap::{CommandFactory as _, FromArgMatches as _};

pub use environment::Environment;
pub use exit::Exit;
pub use ui::{Ui, UiOptions};

use cli::Cli;
use error::CommandError;

/// Everything a command needs to run.
pub struct Context {
    /// Environment of the process.
    pub environment: Environment,
    /// Output streams.
    pub ui: Ui,
    /// Global options.
    pub global: cli::Global,
    /// Name under which the program was called.
    pub program: String,
    /// Handle that changes the log level.
    pub logs: logging::Logs,
}

impl Context {
    /// Returns the command prefix that calls this program from any directory with the same state
    /// directory.
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
            Some(dir) => format!("{program} --state-dir {}", absolute(dir)),
        }
    }
}

#[cfg(test)]
impl Context {
    /// Context for tests, without a home directory.
    pub(crate) fn testing(ui: Ui) -> Self {
        Self {
            environment: Environment::default(),
            global: cli::Global { state_dir: None, verbose: 0, no_color: true },
            program: "capn".to_owned(),
            logs: logging::start(&ui, logging::LogOptions::default()),
            ui,
        }
    }
}

/// Installs a panic hook that prints a cleaned message: the text may quote untrusted data that a
/// terminal would interpret. `RUST_BACKTRACE=1` adds the location.
pub fn tell_of_defects() {
    std::panic::set_hook(Box::new(|defect| {
        let text = format!("internal error in capn: {defect}");
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        let text = ui::readable(&text);
        // If stderr is closed, there is nowhere to report this.
        drop(std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{text}{trace}\n").as_bytes(),
        ));
    }));
}

/// Returns the option `--namespace` of the innermost subcommand.
fn namespace(matches: &clap::ArgMatches) -> Option<String> {
    if let Some((_, matches)) = matches.subcommand() {
        return namespace(matches);
    }
    matches.try_get_one::<String>("namespace").ok().flatten().cloned()
}

/// Parses the command line, runs the command, and prints errors.
///
/// `ui` creates the output streams once the output options are known.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment,
    ui: impl FnOnce(&Environment, UiOptions) -> Ui,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = arguments
        .first()
        .map_or_else(|| "capn".to_owned(), |program| program.to_string_lossy().into_owned());
    if let Some(shell) = environment.completes_for() {
        let ui = ui(&environment, UiOptions::default());
        let answer = completion::answer(shell, arguments, &environment);
        return match answer.and_then(|answer| ui.data(&answer)) {
            Ok(()) => Exit::Done,
            Err(error) => {
                ui.error(&error);
                error.exit()
            }
        };
    }
    let parsed = Cli::command().try_get_matches_from(arguments).and_then(|matches| {
        let namespace = namespace(&matches);
        Ok((Cli::from_arg_matches(&matches)?, namespace))
    });
    let (cli, namespace) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return parse_failed(&error, &environment, ui),
    };
    let look = UiOptions { no_color: cli.global.no_color, verbosity: cli.global.verbose };
    let ui = ui(&environment, look);
    if let Some(namespace) = namespace {
        ui.set_namespace(namespace);
    }
    let logs = logging::start(&ui, logging::LogOptions::of(&cli));
    let context = Context { environment, ui: ui.clone(), global: cli.global, program, logs };
    match block_on(commands::run(&context, cli.command)) {
        Ok(exit) => {
            ui.total();
            exit
        }
        Err(error) => {
            ui.error(&error);
            error.exit()
        }
    }
}

/// Prints parser errors. `--help` and `--version` also arrive here and go to stdout with exit code
/// 0.
fn parse_failed(
    error: &clap::Error,
    environment: &Environment,
    ui: impl FnOnce(&Environment, UiOptions) -> Ui,
) -> Exit {
    let ui = ui(environment, UiOptions::default());
    if error.use_stderr() {
        ui.say(error.render().to_string().trim_end());
        return Exit::Usage;
    }
    match ui.data(&error.render().to_string()) {
        Ok(()) => Exit::Done,
        Err(error) => error.exit(),
    }
}

/// Selects the TLS provider explicitly. Exactly one is compiled in, but rustls requires the choice.
fn use_crypto() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
}

fn block_on(
    command: impl Future<Output = Result<Exit, CommandError>>,
) -> Result<Exit, CommandError> {
    use_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // More threads than processors: a probe must not wait for a thread that is busy with a
        // large object.
        .worker_threads(8)
        .enable_all()
        .build()
        .map_err(|error| CommandError::caused("cannot start the runtime", error))?;
    let result = runtime.block_on(command);
    // All awaited work is done; a blocking read from a hung server must not delay the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}
