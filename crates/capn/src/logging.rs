//! Log lines of the libraries, on stderr.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{Cli, Command};
use crate::ui::Ui;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoggingFormat {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    level: u8,
    format: LoggingFormat,
}

impl Look {
    /// Without `-v` a command logs nothing: its steps and its error say what matters. A server's log
    /// is its output, so it begins at `info`.
    pub(crate) fn of(cli: &Cli) -> Self {
        let verbose = cli.global.verbose;
        match &cli.command {
            Command::Serve(_) => Self { level: verbose + 1, format: LoggingFormat::Text },
            Command::Manager(args) => {
                Self { level: of_klog(args.level) + verbose, format: args.logging_format }
            }
            _ => Self { level: verbose, format: LoggingFormat::Text },
        }
    }
}

/// The levels of klog, which Go's managers use, as ours.
fn of_klog(level: u8) -> u8 {
    match level {
        0..=2 => 1,
        3..=4 => 2,
        _ => 3,
    }
}

/// What is logged of which part.
fn filter(level: u8) -> EnvFilter {
    // kube's client logs each request that fails, without saying which; its callers do that better.
    const QUIET: &str = "kube_client=off,kube_runtime::watcher=off";
    let level = match level {
        0 => "off",
        1 => {
            "warn,capn=info,capn_manager=info,capn_lifecycle=info,capn_provider=info,\
             capn_controller=info,capn_image=info,kube_plane=info"
        }
        2 => {
            "info,capn=debug,capn_manager=debug,capn_lifecycle=debug,capn_provider=debug,\
             capn_controller=debug,capn_image=debug,kube_plane=debug,incus_client=debug"
        }
        _ => "trace,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info",
    };
    EnvFilter::new(format!("{level},{QUIET}"))
}

type Set = Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Sets how much is logged while the process runs.
#[derive(Clone, Default)]
pub struct Logs(Option<Set>);

impl Logs {
    /// Sets the level, as klog counts it (see `capn manager --help`).
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let number: u8 =
            level.parse().map_err(|_| format!("`{level}` is no log level: write 0 to 9"))?;
        match &self.0 {
            Some(set) => set(filter(of_klog(number))),
            None => Err("nothing is logged by this process".to_owned()),
        }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

/// Starts logging.
pub(crate) fn start(ui: &Ui, look: Look) -> Logs {
    if look.level == 0 {
        return Logs::default();
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(look.level))
        .with_writer(Lines(ui.clone()))
        .with_ansi(false)
        .with_target(look.level > 1);
    let (started, set): (_, Set) = match look.format {
        LoggingFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (builder.try_init(), Arc::new(set))
        }
        LoggingFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (builder.try_init(), Arc::new(set))
        }
    };
    if started.is_err() {
        ui.note("logging was started already");
    }
    Logs(Some(set))
}

/// Writes through the [`Ui`], so that log lines and progress do not tear each other.
struct Lines(Ui);

struct Line {
    ui: Ui,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { ui: self.0.clone(), text: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ui.say(String::from_utf8_lossy(&self.text).trim_end());
    }
}
