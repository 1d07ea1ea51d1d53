//! `capn manager`

mod flags;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use capn_manager::{
    CertificateSecret, DiagnosticsOptions, ElectionOptions, LeaderStatus, Options, Rate, TlsOptions,
};
use capn_provider::metrics::{self, Format, Registry};
use capn_provider::{LocalSockets, Metrics};
use clap::Args;

use self::flags::{Listen, listen};
use super::duration;
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::logging::LoggingFormat;
use crate::signal::Interrupt;
use crate::{files, management};

/// Options of `manager`. Flag names match the Go provider's manager, so that its Deployment only
/// needs another image. Defaults match too, except for the concurrency.
#[derive(Clone, Debug, Args)]
pub struct ManagerArgs {
    /// Kubeconfig of the management cluster [default: the pod's service account, KUBECONFIG, or
    /// ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<Utf8PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Only reconcile objects in this namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    pub namespace: String,
    /// Only reconcile objects whose label cluster.x-k8s.io/watch-filter has this value
    #[arg(long, value_name = "VALUE", default_value = "", hide_default_value = true)]
    pub watch_filter: String,
    /// Namespaces whose identities may use a local Unix socket, separated by commas; `*` for all,
    /// empty for none
    #[arg(long, value_name = "NAMESPACES", default_value = "default")]
    pub local_socket_namespaces: LocalSockets,
    /// Number of objects of a kind that are reconciled concurrently per cluster
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// How often every object is reconciled even without changes
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub sync_period: Duration,
    /// Average number of API requests per second; 0 for no limit
    #[arg(long, value_name = "N", default_value = "20")]
    pub kube_api_qps: u32,
    /// Burst of API requests after a pause
    #[arg(long, value_name = "N", default_value = "30")]
    pub kube_api_burst: u32,
    /// Address that serves /healthz and /readyz; 0 to disable
    #[arg(long, value_name = "ADDRESS", default_value = ":9440", value_parser = listen, help_heading = "Servers")]
    pub health_addr: Listen,
    /// Address that serves /metrics and /debug/flags/v over HTTPS to clients authorized by the API
    /// server; 0 to disable
    #[arg(long, value_name = "ADDRESS", default_value = ":8443", value_parser = listen, help_heading = "Servers")]
    pub diagnostics_address: Listen,
    /// Serve /metrics over plain HTTP without authorization, and nothing else
    #[arg(
        long, value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, help_heading = "Servers"
    )]
    pub insecure_diagnostics: bool,
    /// Secret with tls.crt and tls.key for diagnostics, in the namespace of the Lease [default: a
    /// self-signed certificate]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Servers"
    )]
    pub diagnostics_certificate_secret: String,
    /// Minimum TLS version for diagnostics: VersionTLS12 or VersionTLS13
    #[arg(long, value_name = "VERSION", default_value = "VersionTLS12", help_heading = "Servers")]
    pub tls_min_version: String,
    /// TLS 1.2 cipher suites for diagnostics [default: all secure ones]
    #[arg(long, value_name = "SUITE", value_delimiter = ',', help_heading = "Servers")]
    pub tls_cipher_suites: Vec<String>,
    /// Only reconcile while this replica is the leader
    #[arg(
        long, value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, help_heading = "Leader election"
    )]
    pub leader_elect: bool,
    /// Namespace of the Lease [default: the namespace of the pod, or of the kubeconfig]
    #[arg(long, value_name = "NAMESPACE", help_heading = "Leader election")]
    pub leader_election_namespace: Option<String>,
    /// How long other replicas wait after the leader's last renewal
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = "Leader election")]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader retries to renew before it gives up
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Leader election")]
    pub leader_elect_renew_deadline: Duration,
    /// Interval between retries
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, help_heading = "Leader election")]
    pub leader_elect_retry_period: Duration,
    /// How long running reconciles may take to finish on shutdown; must be less than the pod's
    /// grace period
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub graceful_shutdown_timeout: Duration,
    /// Log level: 0 for warnings, 1 and 2 for steps, 3 and 4 for debugging, 5 and above for
    /// everything
    #[arg(long = "v", value_name = "LEVEL", default_value = "2", help_heading = "Logs")]
    pub level: u8,
    /// Log format
    #[arg(long, value_enum, default_value_t, help_heading = "Logs")]
    pub logging_format: LoggingFormat,
    /// Flags of the Go provider's manager that have no effect.
    #[command(flatten)]
    pub ignored: flags::Ignored,
}

pub(super) async fn run(context: &Context, args: ManagerArgs) -> Result<(), CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let context_name = args.context.as_deref();
    let config =
        management::config(&context.environment, args.kubeconfig.as_deref(), context_name).await?;
    let options = options(&args, &config, context)?;
    files::raise();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        cluster = %config.cluster_url,
        namespace = args.namespace,
        watch_filter = args.watch_filter,
        "starting"
    );
    capn_manager::run(config, options, interrupt.wait()).await.doing("the manager stopped")
}

fn options(
    args: &ManagerArgs,
    config: &kube::Config,
    context: &Context,
) -> Result<Options, CommandError> {
    if !args.ignored.profiler_address.is_empty() {
        return Err(CommandError::usage(
            "--profiler-address is not supported: capn has no profiler",
        )
        .hint("omit it; use `perf record -p PID` instead"));
    }
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut registry = Registry::default();
    let mut provider = capn_provider::Options::default();
    provider.metrics = Metrics::register(&mut registry);
    let status = LeaderStatus::register(&mut registry);
    provider.namespace = some(&args.namespace);
    provider.watch_filter = some(&args.watch_filter);
    provider.concurrency = args.concurrency;
    provider.resync = args.sync_period;
    provider.local_sockets = args.local_socket_namespaces.clone();
    let election = match args.leader_elect {
        true => Some(election(args, config, context, status)?),
        false => None,
    };
    let tls = TlsOptions::new(&args.tls_min_version, &args.tls_cipher_suites)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let logs = context.logs.clone();
    Ok(Options {
        provider,
        election,
        rate: rate(args),
        health: args.health_addr.address(),
        diagnostics: args.diagnostics_address.address().map(|address| DiagnosticsOptions {
            address,
            insecure: args.insecure_diagnostics,
            tls,
            certificate: some(&args.diagnostics_certificate_secret)
                .map(|name| CertificateSecret { namespace: own_namespace(args, config), name }),
            metrics: Arc::new(move |accept| {
                let format = Format::accepted(accept);
                Ok((metrics::encode(&registry, format)?, format.content_type()))
            }),
            set_verbosity: Arc::new(move |text| logs.set(text)),
        }),
        grace: args.graceful_shutdown_timeout,
    })
}

/// Returns the namespace of the manager's own objects.
fn own_namespace(args: &ManagerArgs, config: &kube::Config) -> String {
    args.leader_election_namespace.clone().unwrap_or_else(|| config.default_namespace.clone())
}

fn rate(args: &ManagerArgs) -> Option<Rate> {
    let qps = NonZeroU32::new(args.kube_api_qps)?;
    Some(Rate { qps, burst: NonZeroU32::new(args.kube_api_burst).unwrap_or(qps) })
}

fn election(
    args: &ManagerArgs,
    config: &kube::Config,
    context: &Context,
    status: LeaderStatus,
) -> Result<ElectionOptions, CommandError> {
    let (lease, renew, retry) = (
        args.leader_elect_lease_duration,
        args.leader_elect_renew_deadline,
        args.leader_elect_retry_period,
    );
    if lease.as_secs() == 0 || lease <= renew || renew <= retry || retry.is_zero() {
        return Err(CommandError::usage(
            "--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline, which must be longer than --leader-elect-retry-period",
        )
        .hint("omit them to use 15s, 10s and 2s"));
    }
    let namespace = own_namespace(args, config);
    let mut options = ElectionOptions::new(namespace, context.environment.unique_name());
    options.lease_duration = lease;
    options.renew_deadline = renew;
    options.retry_period = retry;
    options.status = status;
    Ok(options)
}
