//! `capn exec`

use std::io::IsTerminal as _;

use clap::Args;

use crate::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::inside::{self, Asked};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Options of `exec`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn exec demo-md-0-ks9lf-k6n8v -- systemctl status kubelet`, `capn exec -it MACHINE -- bash`, `capn exec -i MACHINE -- tar x -C /srv < files.tar`. The command runs as root in the machine's instance, through the API of its server; no SSH and no agent is needed. Its exit code is that of this command."
)]
pub struct ExecArgs {
    /// Name of the Machine, of its node or of its instance
    pub machine: String,
    /// Only of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only in this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Pass stdin to the command
    #[arg(short = 'i', long = "stdin")]
    pub stdin: bool,
    /// Run the command on a terminal
    #[arg(short = 't', long = "tty")]
    pub tty: bool,
    /// Program and arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

pub(super) async fn run(context: &Context, args: ExecArgs) -> Result<Exit, CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if args.tty && !has_terminal {
        context.ui.note("stdin and stdout are no terminal: the command gets none either");
    }
    let asked = Asked {
        machine: &args.machine,
        cluster: args.cluster.as_deref(),
        namespace: args.namespace.as_deref(),
        command: &args.command,
        passes_stdin: args.stdin,
        on_terminal: args.tty && has_terminal,
    };
    let found = inside::open(session.client(), &asked).await;
    // The plane is not held while the command runs.
    session.close().await?;
    inside::exec(context, &found?, &asked).await
}
