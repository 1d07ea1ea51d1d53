//! Log lines of the libraries, on stderr.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::ui::Ui;

/// Starts logging. Without `-v` a command shows none: its steps and its error say what matters.
/// A server's log is its output, so it begins at `info`.
pub(crate) fn start(ui: &Ui, verbosity: u8, serving: bool) {
    // kube's client logs each request that fails, without saying which; its callers do that better.
    const QUIET: &str = "kube_client=off";
    let level = match verbosity + u8::from(serving) {
        0 => return,
        1 => {
            "warn,capn=info,capn_lifecycle=info,capn_provider=info,capn_image=info,kube_plane=info"
        }
        2 => {
            "info,capn=debug,capn_lifecycle=debug,capn_provider=debug,capn_image=debug,\
              kube_plane=debug,incus_client=debug"
        }
        _ => "trace,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info",
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{level},{QUIET}")))
        .with_writer(Lines(ui.clone()))
        .with_ansi(false)
        .with_target(verbosity > 1)
        .try_init();
    if started.is_err() {
        ui.note("logging was started already");
    }
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
