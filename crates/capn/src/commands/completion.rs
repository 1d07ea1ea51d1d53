//! `capn completion`

use crate::Context;
use crate::completion;
use crate::error::CommandError;

/// Options of `completion`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: `source <(capn completion bash)` in ~/.bashrc; `capn completion zsh > ~/.zfunc/_capn`; `capn completion fish > ~/.config/fish/completions/capn.fish`. The script calls capn to complete the names of clusters, machines and remotes."
)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

pub(super) fn run(context: &Context, args: &CompletionArgs) -> Result<(), CommandError> {
    context.ui.data(&completion::script(&args.shell.to_string())?)
}
