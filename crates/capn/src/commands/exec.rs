//! `capn exec`

use std::io::IsTerminal as _;

use clap::Args;

use crate::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::machine_exec::{self, ExecTarget};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Options of `exec`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn exec demo-md-0-ks9lf-k6n8v -- systemctl status kubelet`, `capn exec -it MACHINE -- bash`, `capn exec -i MACHINE -- tar x -C /srv < files.tar`. The command runs as root in the machine's instance, through the Incus or LXD API, without SSH or an agent. capn exits with its exit code."
)]
pub struct ExecArgs {
    /// Name of the Machine, of its node or of its instance
    pub machine: String,
    /// Only consider machines of this cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only consider this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Pass stdin to the command
    #[arg(short = 'i', long = "stdin")]
    pub stdin: bool,
    /// Allocate a terminal
    #[arg(short = 't', long = "tty")]
    pub tty: bool,
    /// Program and arguments; capn uses no shell
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

pub(super) async fn run(context: &Context, args: ExecArgs) -> Result<Exit, CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if args.tty && !has_terminal {
        context.ui.note("stdin and stdout are not a terminal, so the command gets none");
    }
    let asked = ExecTarget {
        machine: &args.machine,
        cluster: args.cluster.as_deref(),
        namespace: args.namespace.as_deref(),
        command: &args.command,
        passes_stdin: args.stdin,
        on_terminal: args.tty && has_terminal,
    };
    let found = machine_exec::open(session.client(), &asked).await;
    // Release the plane while the command runs.
    session.close().await?;
    machine_exec::exec(context, &found?, &asked).await
}
