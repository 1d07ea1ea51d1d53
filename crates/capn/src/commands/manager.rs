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

/// Options of `manager`. Names are those of the Go provider's manager, so that its Deployment can be
/// given another image; so are defaults, but for the concurrency.
#[derive(Clone, Debug, Args)]
pub struct ManagerArgs {
    /// Kubeconfig of the management cluster [default: the pod's, else KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<Utf8PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Look after objects in this namespace only
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    pub namespace: String,
    /// Look after objects whose label cluster.x-k8s.io/watch-filter has this value only
    #[arg(long, value_name = "VALUE", default_value = "", hide_default_value = true)]
    pub watch_filter: String,
    /// Namespaces whose identities may name a socket of this machine, with commas between them; `*`
    /// for every one, nothing for none
    #[arg(long, value_name = "NAMESPACES", default_value = "default")]
    pub local_socket_namespaces: LocalSockets,
    /// How many objects of a kind are reconciled at once in a cluster
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// How often every object is looked at although nothing happened to it
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub sync_period: Duration,
    /// Requests a second to the API server, on average; 0 for no limit
    #[arg(long, value_name = "N", default_value = "20")]
    pub kube_api_qps: u32,
    /// Requests to the API server that may be sent at once after a pause
    #[arg(long, value_name = "N", default_value = "30")]
    pub kube_api_burst: u32,
    /// Where /healthz and /readyz are answered; 0 for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = ":9440", value_parser = listen, help_heading = "Servers")]
    pub health_addr: Listen,
    /// Where /metrics and /debug/flags/v are served, over HTTPS, to those whom the API server lets in; 0 for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = ":8443", value_parser = listen, help_heading = "Servers")]
    pub diagnostics_address: Listen,
    /// Serve /metrics over plain HTTP to everybody, and nothing else
    #[arg(
        long, value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, help_heading = "Servers"
    )]
    pub insecure_diagnostics: bool,
    /// Secret with tls.crt and tls.key for the diagnostics, in the namespace of the Lease [default: a
    /// certificate made at the start]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Servers"
    )]
    pub diagnostics_certificate_secret: String,
    /// Oldest TLS version of the diagnostics: VersionTLS12 or VersionTLS13
    #[arg(long, value_name = "VERSION", default_value = "VersionTLS12", help_heading = "Servers")]
    pub tls_min_version: String,
    /// Cipher suites of the diagnostics with TLS 1.2 [default: all that are safe]
    #[arg(long, value_name = "SUITE", value_delimiter = ',', help_heading = "Servers")]
    pub tls_cipher_suites: Vec<String>,
    /// Work only while this copy leads all copies
    #[arg(
        long, value_name = "BOOL", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, help_heading = "Leader election"
    )]
    pub leader_elect: bool,
    /// Namespace of the Lease [default: the pod's, else the kubeconfig's]
    #[arg(long, value_name = "NAMESPACE", help_heading = "Leader election")]
    pub leader_election_namespace: Option<String>,
    /// How long others wait after the leader's last renewal
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = "Leader election")]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it gives up
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Leader election")]
    pub leader_elect_renew_deadline: Duration,
    /// Pause between two tries
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, help_heading = "Leader election")]
    pub leader_elect_retry_period: Duration,
    /// How long running reconciles may take to end; less than the pod's grace period
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub graceful_shutdown_timeout: Duration,
    /// How much is logged: 0 warnings, 1 and 2 steps, 3 and 4 debugging, 5 and more everything
    #[arg(long = "v", value_name = "LEVEL", default_value = "2", help_heading = "Logs")]
    pub level: u8,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, help_heading = "Logs")]
    pub logging_format: LoggingFormat,
    /// Flags of the Go provider's manager that mean nothing here.
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
    capn_manager::run(config, options, interrupt.wait()).await.doing("the manager ended")
}

fn options(
    args: &ManagerArgs,
    config: &kube::Config,
    context: &Context,
) -> Result<Options, CommandError> {
    if !args.ignored.profiler_address.is_empty() {
        return Err(CommandError::usage("--profiler-address: this program has no profiler")
            .hint("leave it out; `perf record -p PID` works on the process"));
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

/// Where the manager's own objects are.
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
            "--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline, and \
             that longer than --leader-elect-retry-period",
        )
        .hint("leave them out for 15s, 10s and 2s"));
    }
    let namespace = own_namespace(args, config);
    let mut options = ElectionOptions::new(namespace, context.environment.unique_name());
    options.lease_duration = lease;
    options.renew_deadline = renew;
    options.retry_period = retry;
    options.status = status;
    Ok(options)
}
