//! `capn doctor`: checks host and server; `--escape-test` tests node isolation.

mod check;
mod escape;
mod fix;
mod orphans;
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
    /// The server to check.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Profile that nodes would use; can be repeated [default: default]
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Storage pool for root disks of nodes [default: the pool of the profiles]
    #[arg(long, value_name = "POOL")]
    pub storage_pool: Option<String>,
    /// Allow nodes on cgroup v1, like the option of `create cluster`
    #[arg(long)]
    pub allow_cgroup_v1: bool,
    /// Apply safe fixes after asking, then check again
    #[arg(long)]
    pub fix: bool,
    /// With --fix: do not ask for confirmation
    #[arg(long, requires = "fix")]
    pub yes: bool,
    /// Test the escape vectors of a node, as root inside it; changes nothing outside the node
    #[arg(long, value_name = "NODE", conflicts_with_all = ["fix", "yes", "profiles", "storage_pool", "allow_cgroup_v1"])]
    pub escape_test: Option<String>,
    /// Test the escape vectors of a running pod on that node, as root in the pod
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "escape_test")]
    pub pod: Option<PodName>,
    /// List server resources of clusters that no state directory on this machine knows, in all
    /// projects or the one given by --project; changes nothing
    #[arg(long, conflicts_with_all = ["fix", "yes", "profiles", "storage_pool", "allow_cgroup_v1", "escape_test"])]
    pub orphans: bool,
    /// Output format.
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
    if args.orphans {
        return orphans::run(context, &identity?, &args.server, args.output.format()).await;
    }
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
        if fix::all(context, client.as_ref(), &report, args.yes, root).await? {
            report = check::all(&identity, &args, root).await;
        }
    }
    show::report(context, &report, args.output.format())?;
    report.verdict(args.fix)
}
