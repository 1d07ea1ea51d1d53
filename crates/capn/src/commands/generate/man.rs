//! `capn generate man`

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Command, CommandFactory as _};

use crate::Context;
use crate::cli::Cli;
use crate::error::{CommandError, Doing as _};

/// Options of `generate man`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn generate man ~/.local/share/man/man1`, then `man capn-up`. The Debian package includes the pages."
)]
pub struct ManArgs {
    /// Output directory; it is created if it does not exist, and existing pages are replaced
    #[arg(value_name = "DIR")]
    pub dir: Utf8PathBuf,
}

pub(in crate::commands) fn run(context: &Context, args: &ManArgs) -> Result<(), CommandError> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).doing(format!("cannot create directory {dir}"))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    // Names each page after its full command: `capn-etcd-snapshot`.
    command.build();
    let count = write(&command, dir)?;
    context.ui.say(format!("wrote {count} pages to {dir}"));
    Ok(())
}

/// Writes the pages of a command and its subcommands. Returns their number.
fn write(command: &Command, dir: &Utf8Path) -> Result<usize, CommandError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    let doing = format!("cannot render page {name}");
    clap_mangen::Man::new(command.clone()).render(&mut page).doing(doing)?;
    std::fs::write(&path, page).doing(format!("cannot write {path}"))?;
    let mut count = 1;
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        if child.get_name() != "help" {
            count += write(child, dir)?;
        }
    }
    Ok(count)
}
