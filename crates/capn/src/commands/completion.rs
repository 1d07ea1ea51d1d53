//! `capn completion`

use clap::CommandFactory as _;

use crate::Context;
use crate::cli::Cli;
use crate::error::CommandError;

/// Options of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: capn completion bash > /etc/bash_completion.d/capn")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

pub(super) fn run(context: &Context, args: &CompletionArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "capn", &mut script);
    context.ui.data(&String::from_utf8_lossy(&script))
}
