//! `capn doctor`: what is wrong with the host and server, and `--escape-test`.

mod check;
mod escape;
mod mend;
mod show;

use camino::Utf8Path;
use capn_doctor::escape::PodName;
use clap::Args;

use super::image::ServerArgs;
use crate::error::CommandError;
use crate::output::OutputArgs;
use crate::{Context, identity};

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Profile nodes would have, may be given several times [default: default]
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Storage pool the root disks of nodes would be in [default: the profiles']
    #[arg(long, value_name = "POOL")]
    pub storage_pool: Option<String>,
    /// Nodes run on cgroup v1, as with the option of `create cluster`
    #[arg(long)]
    pub allow_cgroup_v1: bool,
    /// Mend what can be mended safely, after asking, and check again
    #[arg(long)]
    pub fix: bool,
    /// Mend without asking
    #[arg(long, requires = "fix")]
    pub yes: bool,
    /// Try the doors out of a node instead, as root inside it; nothing outside it is changed
    #[arg(long, value_name = "NODE", conflicts_with_all = ["fix", "yes", "profiles", "storage_pool", "allow_cgroup_v1"])]
    pub escape_test: Option<String>,
    /// Try the doors out of a pod that runs in that node, as root in the pod
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "escape_test")]
    pub pod: Option<PodName>,
    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: DoctorArgs,
) -> Result<(), CommandError> {
    let identity = identity::resolve(
        &context.environment,
        args.server.remote.as_deref(),
        args.server.project.as_deref(),
    );
    let root = Utf8Path::new("/");
    if let Some(node) = &args.escape_test {
        return escape::run(
            context,
            &identity?,
            node,
            args.pod.as_ref(),
            root,
            args.output.format(),
        )
        .await;
    }
    let mut report = check::all(&identity, &args, root).await;
    if args.fix {
        let client = identity.as_ref().ok().map(identity::Identity::client).transpose()?;
        if mend::all(context, client.as_ref(), &report, args.yes, root).await? {
            report = check::all(&identity, &args, root).await;
        }
    }
    show::report(context, &report, args.output.format())?;
    report.verdict(args.fix)
}
