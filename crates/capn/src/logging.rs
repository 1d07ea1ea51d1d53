//! Log output on stderr.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{Cli, Command};
use crate::ui::Ui;

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoggingFormat {
    /// Plain text
    #[default]
    Text,
    /// JSON, one object per line
    Json,
}

/// Log level and format.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogOptions {
    level: u8,
    format: LoggingFormat,
}

impl LogOptions {
    /// Without `-v`, a command logs nothing, since its steps and its error tell the user what
    /// matters. The log of a server is its output, so it starts at `info`.
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

/// Maps klog levels, which Go controllers use, to capn's levels.
fn of_klog(level: u8) -> u8 {
    match level {
        0..=2 => 1,
        3..=4 => 2,
        _ => 3,
    }
}

/// Returns the log filter for a level.
fn filter(level: u8) -> EnvFilter {
    // kube's client logs each failed request without naming it; its callers log them with context.
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

type SetFilter = Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Handle that changes the log level at run time.
#[derive(Clone, Default)]
pub struct Logs(Option<SetFilter>);

impl Logs {
    /// Sets the level on klog's scale (see `capn manager --help`).
    ///
    /// # Errors
    ///
    /// Returns a message if the text is not a valid level.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let number: u8 =
            level.parse().map_err(|_| format!("`{level}` is not a log level (expected 0 to 9)"))?;
        match &self.0 {
            Some(set) => set(filter(of_klog(number))),
            None => Err("logging is disabled in this process".to_owned()),
        }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

/// Starts logging.
pub(crate) fn start(ui: &Ui, look: LogOptions) -> Logs {
    if look.level == 0 {
        return Logs::default();
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(look.level))
        .with_writer(UiWriter(ui.clone()))
        .with_ansi(false)
        .with_target(look.level > 1);
    let (started, set): (_, SetFilter) = match look.format {
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
        ui.note("logging is already started");
    }
    Logs(Some(set))
}

/// Writes log lines through the [`Ui`], so that they do not interfere with progress lines.
struct UiWriter(Ui);

struct Line {
    ui: Ui,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for UiWriter {
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
