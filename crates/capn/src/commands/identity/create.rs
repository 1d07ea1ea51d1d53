//! `capn identity create`

use clap::Args;

use super::{SecretStore, TargetArgs};
use crate::Context;
use crate::cluster;
use crate::commands::NamespaceArg;
use crate::error::{CommandError, Doing as _};
use crate::identity::access_check::{AccessCheck, AccessTester};
use crate::identity::restrictions::TenantOptions;
use crate::identity::stored::{self, StoredIdentity};
use crate::identity::tenant::{self, ProjectOutcome};
use crate::identity::{self, Identity, listen, secret, token};
use crate::manifest::{Document, to_yaml};
use crate::output::{self, Format};
use crate::preflight;
use crate::signal::Interrupt;
use crate::state::StateDir;
use crate::ui::Tone;

/// Options of `identity create`.
#[derive(Clone, Debug, Args)]
pub struct IdentityCreateArgs {
    /// Name of the identity and of its Secret
    pub name: String,
    /// Project on the server [default: the remote's]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Namespace of the Secret
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Output format of the Secret [default: yaml]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Apply the Secret instead of printing it: to the embedded plane, or to the cluster given by
    /// --kubeconfig
    #[arg(long)]
    pub apply: bool,
    /// Where to apply it.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Allow a server behind a local Unix socket
    #[arg(long)]
    pub allow_unix_socket: bool,

    /// Remote of the `incus` or `lxc` command, or unix:///PATH [default: the local socket]
    #[arg(long, value_name = "REMOTE", help_heading = "Server")]
    pub remote: Option<String>,
    /// Trust token of the server, as printed by `incus config trust add NAME`
    #[arg(long, value_name = "TOKEN", conflicts_with = "remote", help_heading = "Server")]
    pub token: Option<String>,

    /// A restricted project and a certificate limited to it.
    #[command(flatten)]
    pub tenant: TenantArgs,
}

/// Options of a restricted identity.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Restricted identity")]
pub struct TenantArgs {
    /// Create a restricted project and an identity that cannot access anything else on the server
    #[arg(long, requires = "project", conflicts_with = "token")]
    pub restricted: bool,
    /// Make a server listen on this address if it does not listen on the network yet
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "restricted")]
    pub listen: Option<String>,
    /// Address that clients use to reach the server [default: its listen address]
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "restricted")]
    pub address: Option<String>,
    /// Maximum number of instances, including load balancers [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "restricted")]
    pub instances: Option<u32>,
    /// CPU limit of the project [default: --instances times --machine-cpus]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "restricted")]
    pub cpus: Option<u32>,
    /// Memory limit of the project, for example 40GiB [default: 4 GiB per instance]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub memory: Option<String>,
    /// CPU limit of machines without a flavor [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), requires = "restricted")]
    pub machine_cpus: Option<u32>,
    /// Memory limit of machines without a flavor [default: 4GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub machine_memory: Option<String>,
    /// Process limit of the project [default: --instances times --machine-processes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "restricted")]
    pub processes: Option<u32>,
    /// Process limit of machines that do not set one [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=4_194_304), requires = "restricted")]
    pub machine_processes: Option<u32>,
    /// Disk limit of the project, for example 200GiB [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub disk: Option<String>,
    /// Root disk size of machines that do not set one [default with --disk: 20GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub machine_disk: Option<String>,
    /// Give each machine its own range of host user IDs
    #[arg(long, requires = "restricted")]
    pub isolated: bool,
    /// Network of the machines [default: the network of the default profile]
    #[arg(long, value_name = "NETWORK", requires = "restricted")]
    pub network: Option<String>,
    /// Storage pool of the machines [default: the pool of the default profile]
    #[arg(long, value_name = "POOL", requires = "restricted")]
    pub pool: Option<String>,
}

impl TenantArgs {
    fn options(&self) -> TenantOptions {
        TenantOptions {
            instances: self.instances,
            cpus: self.cpus,
            memory: self.memory.clone(),
            machine_cpus: self.machine_cpus,
            machine_memory: self.machine_memory.clone(),
            processes: self.processes,
            machine_processes: self.machine_processes,
            disk: self.disk.clone(),
            machine_disk: self.machine_disk.clone(),
            isolated: self.isolated,
        }
    }
}

/// Parses a size. The servers accept more notations than these.
fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let known = ["MB", "GB", "TB", "MiB", "GiB", "TiB"].contains(&unit);
    match digits.parse::<u64>() {
        Ok(1..) if known => Ok(text.to_owned()),
        _ => Err("expected a size such as `512MiB` or `40GiB`".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: IdentityCreateArgs) -> Result<(), CommandError> {
    secret::check_name(&args.name)?;
    if args.target.kubeconfig.is_some() && !args.apply {
        return Err(CommandError::usage("`--kubeconfig` requires `--apply`")
            .hint("add `--apply`, or omit `--kubeconfig`"));
    }
    let mut interrupt = Interrupt::listen()?;
    let work = async {
        let state = StateDir::of(context)?;
        let identity = match (&args.token, args.tenant.restricted) {
            (Some(token), _) => from_token(context, &state, &args, token).await?,
            (None, true) => restricted(context, &state, &args).await?,
            (None, false) => from_remote(context, &args).await?,
        };
        let document = secret::document(&args.name, &args.namespace.namespace, &identity);
        match args.apply {
            true => apply(context, &state, &args, &document).await,
            false => print(context, &document, args.output),
        }
    };
    tokio::select! {
        result = work => result
            .map_err(|error| error.while_doing(format!("cannot create identity `{}`", args.name))),
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("run the same command again to continue")
            .hint(format!("to undo it: `capn identity delete {}`", args.name))),
    }
}

fn print(context: &Context, document: &Document, form: Option<Format>) -> Result<(), CommandError> {
    let text = match form {
        None | Some(Format::Yaml | Format::Table | Format::Wide) => {
            to_yaml(std::slice::from_ref(document))?
        }
        Some(Format::Json) => output::json(document.value())?,
        Some(Format::Name) => format!("{}\n", document.shown()),
    };
    context.ui.data(&text)
}

async fn apply(
    context: &Context,
    state: &StateDir,
    args: &IdentityCreateArgs,
    document: &Document,
) -> Result<(), CommandError> {
    let store = SecretStore::open(state, args.target.kubeconfig.as_deref()).await?;
    if args.target.kubeconfig.is_none() {
        cluster::ensure_namespace(store.client(), &args.namespace.namespace).await?;
    }
    let applied = cluster::apply(store.client(), document, &args.namespace.namespace).await;
    let closed = store.close().await;
    let applied = applied?;
    closed?;
    match args.output {
        None | Some(Format::Table | Format::Wide) => {
            context.ui.data(&format!("{} {}\n", document.shown(), applied.as_str()))
        }
        // The output names the Secret without its content.
        Some(Format::Name) => context.ui.data(&format!("{}\n", document.shown())),
        Some(Format::Json) => context.ui.data(&output::json(&outcome(document, applied))?),
        Some(Format::Yaml) => context.ui.data(&output::yaml(&outcome(document, applied))?),
    }
}

fn outcome(document: &Document, applied: cluster::Applied) -> serde_json::Value {
    serde_json::json!({
        "secret": document.name(), "namespace": document.namespace(), "applied": applied,
    })
}

/// Returns the identity of a configured remote.
async fn from_remote(
    context: &Context,
    args: &IdentityCreateArgs,
) -> Result<Identity, CommandError> {
    let environment = &context.environment;
    let identity = identity::resolve(environment, args.remote.as_deref(), args.project.as_deref())?;
    // The controllers of the embedded plane run on this machine and can use its sockets.
    let is_for_here = args.apply && args.target.kubeconfig.is_none();
    if !args.allow_unix_socket && !is_for_here {
        let https = identity::remotes_with_address(environment);
        secret::refuse_socket(&identity, &args.name, &https)?;
    }
    check(context, &identity).await?;
    Ok(identity)
}

async fn check(context: &Context, identity: &Identity) -> Result<(), CommandError> {
    let step = context.ui.step(format!("server at {}", identity.server));
    let server = preflight::contact(identity, &identity.client()?).await?;
    step.done(format!(
        "{} {} at {}, project `{}`",
        server.environment.server,
        server.environment.server_version,
        identity.server,
        identity.project.as_deref().unwrap_or("default"),
    ));
    Ok(())
}

/// Creates an identity from a trust token, with a new key.
async fn from_token(
    context: &Context,
    state: &StateDir,
    args: &IdentityCreateArgs,
    text: &str,
) -> Result<Identity, CommandError> {
    let parsed = token::parse(text)?;
    let mut stored = match stored::find(state, &args.name)? {
        Some(stored) if parsed.names(&stored.server) => stored,
        found => {
            let (url, certificate) = token::find_server(&parsed).await?;
            let stored = match found {
                None => {
                    StoredIdentity::mint(&args.name, url, certificate, args.project.clone(), None)?
                }
                Some(found) => found.at(url, certificate)?,
            };
            stored::keep(state, &stored)?;
            stored
        }
    };
    let client = Identity { project: None, ..stored.identity() }.client()?;
    let server = client.server().await.doing(format!("cannot reach {}", stored.server))?;
    if server.is_trusted() {
        context.ui.note(format!("using existing identity `{}`", stored.name));
    } else if let Err(error) =
        token::redeem(&client, text, &tenant::certificate_name(&args.name)).await
    {
        // If the response was lost, the server may already trust the key, so keep it for the next
        // run.
        if client.server().await.is_ok_and(|server| !server.is_trusted()) {
            stored::forget(state, &args.name)?;
        }
        return Err(error);
    }
    let project = match &args.project {
        Some(project) => Some(project.clone()),
        None if stored.project.is_some() => stored.project.clone(),
        None => only_project(&client).await?,
    };
    if project != stored.project {
        stored.project = project;
        stored::keep(state, &stored)?;
    }
    let identity = stored.identity();
    check(context, &identity).await?;
    Ok(identity)
}

/// Returns the project of a certificate that is limited to one project.
async fn only_project(client: &incus_client::Client) -> Result<Option<String>, CommandError> {
    let mut projects = client.projects().await.doing("cannot list the projects of the server")?;
    match projects.pop() {
        Some(only) if projects.is_empty() && only.name != "default" => Ok(Some(only.name)),
        _ => Ok(None),
    }
}

/// Creates a restricted project and a certificate that is limited to it.
async fn restricted(
    context: &Context,
    state: &StateDir,
    args: &IdentityCreateArgs,
) -> Result<Identity, CommandError> {
    let ui = &context.ui;
    let tenant = &args.tenant;
    // The parser guarantees a project.
    let Some(project) = args.project.as_deref() else {
        return Err(CommandError::usage("`--restricted` needs `--project PROJECT`"));
    };
    if project == "default" {
        return Err(CommandError::usage("project `default` cannot be used for a tenant"));
    }
    let found = stored::find(state, &args.name)?;
    if let Some(found) = &found
        && found.project.as_deref() != Some(project)
    {
        return Err(CommandError::new(format!(
            "identity `{}` already exists for project `{}`",
            args.name,
            found.project.as_deref().unwrap_or("default")
        ))
        .hint(format!("choose another name, or delete it: `capn identity delete {}`", args.name)));
    }
    let remembered = found.as_ref().and_then(|found| found.made_through.as_deref());
    let through = args.remote.as_deref().or(remembered);
    let administrator =
        Identity { project: None, ..identity::resolve(&context.environment, through, None)? };
    let admin = administrator.client()?;
    let server = preflight::contact(&administrator, &admin).await?;
    let url = listen::url(
        &administrator,
        &admin,
        &server,
        tenant.listen.as_deref(),
        tenant.address.as_deref(),
    )
    .await?;
    tenant::usable(&admin, &args.name, project).await?;
    let network_and_pool =
        tenant::network_and_pool(&admin, tenant.network.as_deref(), tenant.pool.as_deref()).await?;
    let made_through = match administrator.socket() {
        Some(_) => administrator.server.clone(),
        None => through.unwrap_or_default().to_owned(),
    };
    let stored = prepare(args, found, url, server.environment.certificate.clone(), made_through)?;
    // Stored before the server learns the certificate: losing an unregistered key needs no cleanup.
    stored::keep(state, &stored)?;
    let outcome =
        tenant::project(&admin, &args.name, project, &tenant.options(), &network_and_pool).await?;
    ui.say(match outcome {
        ProjectOutcome::Created => {
            format!("project `{project}` is created, restricted to its own instances")
        }
        ProjectOutcome::Reused => format!("project `{project}` is restricted to its own instances"),
        ProjectOutcome::Foreign => {
            format!("project `{project}` exists and is restricted: its settings are not changed")
        }
    });
    tenant::trust(&admin, &stored, project).await?;
    if listen::is_loopback(&stored.server) {
        ui.note(format!(
            "{} is only reachable from this machine, not from a manager in a pod; use `--address` to set another address",
            stored.server
        ));
    }
    let identity = stored.identity();
    let holder = identity.client()?;
    let tester = AccessTester {
        holder: &holder,
        admin: &admin,
        project,
        network: &network_and_pool.network,
        flavor: server.flavor(),
    };
    let step = ui.step("what the holder can and cannot do");
    let checks = tester.all().await?;
    step.done(format!("access of identity `{}`, tested with its certificate:", args.name));
    show(context, &checks)?;
    Ok(identity)
}

fn prepare(
    args: &IdentityCreateArgs,
    found: Option<StoredIdentity>,
    server: String,
    server_certificate: String,
    made_through: String,
) -> Result<StoredIdentity, CommandError> {
    let made_through = Some(made_through);
    match found {
        Some(found) => Ok(StoredIdentity { server, server_certificate, made_through, ..found }),
        None => {
            let project = args.project.clone();
            StoredIdentity::mint(&args.name, server, server_certificate, project, made_through)
        }
    }
}

fn show(context: &Context, checks: &[AccessCheck]) -> Result<(), CommandError> {
    let ui = &context.ui;
    for check in checks {
        let (tone, mark) = match (check.holds(), check.is_open()) {
            (true, _) => (Tone::Good, "  ✓"),
            (false, true) => (Tone::Bad, "  ✗"),
            (false, false) => (Tone::Note, "  !"),
        };
        ui.say_marked(tone, mark, check.line());
    }
    let open: Vec<&str> =
        checks.iter().filter(|check| check.is_open()).map(|check| check.what.as_str()).collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(CommandError::caused("the identity has more access than intended", open.join("; "))
        .hint("check the project's restrictions: `incus project show PROJECT`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_units_that_servers_accept() {
        for good in ["512MiB", "40GiB", "1TB"] {
            assert_eq!(size(good).unwrap(), good);
        }
        for bad in ["", "0GiB", "GiB", "4", "4G", "-1GiB", "4 GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
