//! `capn identity create`

use clap::Args;

use super::{Place, TargetArgs};
use crate::Context;
use crate::cluster;
use crate::commands::NamespaceArg;
use crate::error::{CommandError, Doing as _};
use crate::identity::fence::Wishes;
use crate::identity::kept::{self, Kept};
use crate::identity::proof::{Proof, Tries};
use crate::identity::tenant::{self, Fenced};
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
    /// Name of the identity, and of its Secret
    pub name: String,
    /// Project on the server [default: the remote's]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Namespace of the Secret
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Form of the Secret [default: yaml]
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub output: Option<Format>,
    /// Apply the Secret to the embedded plane, or to the cluster that --kubeconfig names, instead
    /// of printing it
    #[arg(long)]
    pub apply: bool,
    /// Where to apply it.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Accept a server behind a socket of this machine
    #[arg(long)]
    pub allow_unix_socket: bool,

    /// Remote of the `incus` or `lxc` command, or unix:///PATH [default: the local socket]
    #[arg(long, value_name = "REMOTE", help_heading = "Server")]
    pub remote: Option<String>,
    /// Trust token of a server, as `incus config trust add NAME` prints it
    #[arg(long, value_name = "TOKEN", conflicts_with = "remote", help_heading = "Server")]
    pub token: Option<String>,

    /// A restricted project and a certificate that is limited to it.
    #[command(flatten)]
    pub tenant: TenantArgs,
}

/// Options of a restricted identity.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Restricted identity")]
pub struct TenantArgs {
    /// Make the project, restricted, and an identity that can use nothing else on the server
    #[arg(long, requires = "project", conflicts_with = "token")]
    pub restricted: bool,
    /// Let a server that does not listen yet do so, at this address
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "restricted")]
    pub listen: Option<String>,
    /// Address at which clients reach the server [default: what it listens on]
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "restricted")]
    pub address: Option<String>,
    /// Most instances at once, load balancers included [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "restricted")]
    pub instances: Option<u32>,
    /// Most processors of all instances together [default: --instances times --machine-cpus]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "restricted")]
    pub cpus: Option<u32>,
    /// Most memory of all instances together, as 40GiB [default: 4 GiB an instance]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub memory: Option<String>,
    /// Processors of a machine that names no flavor [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), requires = "restricted")]
    pub machine_cpus: Option<u32>,
    /// Memory of a machine that names no flavor [default: 4GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub machine_memory: Option<String>,
    /// Most processes of all instances together [default: --instances times --machine-processes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "restricted")]
    pub processes: Option<u32>,
    /// Processes of a machine that does not say [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=4_194_304), requires = "restricted")]
    pub machine_processes: Option<u32>,
    /// Most room of all root disks together, as 200GiB [default: not limited]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub disk: Option<String>,
    /// Room of the root disk of a machine that does not say [default with --disk: 20GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "restricted")]
    pub machine_disk: Option<String>,
    /// Give each machine host user ids of its own
    #[arg(long, requires = "restricted")]
    pub isolated: bool,
    /// Network of the machines [default: that of the default profile]
    #[arg(long, value_name = "NETWORK", requires = "restricted")]
    pub network: Option<String>,
    /// Storage pool of the machines [default: that of the default profile]
    #[arg(long, value_name = "POOL", requires = "restricted")]
    pub pool: Option<String>,
}

impl TenantArgs {
    fn wishes(&self) -> Wishes {
        Wishes {
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

/// Sizes as the servers write them. They take more forms; these are those that people type.
fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let known = ["MB", "GB", "TB", "MiB", "GiB", "TiB"].contains(&unit);
    match digits.parse::<u64>() {
        Ok(1..) if known => Ok(text.to_owned()),
        _ => Err("write it like `512MiB` or `40GiB`".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: IdentityCreateArgs) -> Result<(), CommandError> {
    secret::check_name(&args.name)?;
    if args.target.kubeconfig.is_some() && !args.apply {
        return Err(CommandError::usage("`--kubeconfig` says where `--apply` goes")
            .hint("add `--apply`, or leave `--kubeconfig` out"));
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
            .map_err(|error| error.while_doing(format!("cannot make identity `{}`", args.name))),
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")
            .hint("the same command continues")
            .hint(format!("undo it: `capn identity delete {}`", args.name))),
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
    let place = Place::open(state, args.target.kubeconfig.as_deref()).await?;
    let applied = cluster::apply(place.client(), document, &args.namespace.namespace).await;
    let closed = place.close().await;
    let applied = applied?;
    closed?;
    match args.output {
        None | Some(Format::Table | Format::Wide) => {
            context.ui.data(&format!("{} {}\n", document.shown(), applied.as_str()))
        }
        // What is printed names the Secret without what is in it.
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

/// The identity of a remote of the client configuration, as it is.
async fn from_remote(
    context: &Context,
    args: &IdentityCreateArgs,
) -> Result<Identity, CommandError> {
    let environment = &context.environment;
    let identity = identity::resolve(environment, args.remote.as_deref(), args.project.as_deref())?;
    // The embedded plane's controllers run on this machine and reach its sockets.
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

/// An identity from a trust token: its key is made here.
async fn from_token(
    context: &Context,
    state: &StateDir,
    args: &IdentityCreateArgs,
    text: &str,
) -> Result<Identity, CommandError> {
    let parsed = token::parse(text)?;
    let mut kept = match kept::find(state, &args.name)? {
        Some(kept) if parsed.names(&kept.server) => kept,
        found => {
            let (url, certificate) = token::find_server(&parsed).await?;
            let kept = match found {
                None => Kept::mint(&args.name, url, certificate, args.project.clone(), None)?,
                Some(found) => found.at(url, certificate)?,
            };
            kept::keep(state, &kept)?;
            kept
        }
    };
    let client = Identity { project: None, ..kept.identity() }.client()?;
    let server = client.server().await.doing(format!("cannot reach {}", kept.server))?;
    if server.is_trusted() {
        context.ui.note(format!("identity `{}` was made before: it is used again", kept.name));
    } else if let Err(error) =
        token::redeem(&client, text, &tenant::certificate_name(&args.name)).await
    {
        // Where the answer was lost, the key may be known there: then it stays for the next run.
        if client.server().await.is_ok_and(|server| !server.is_trusted()) {
            kept::forget(state, &args.name)?;
        }
        return Err(error);
    }
    let project = match &args.project {
        Some(project) => Some(project.clone()),
        None if kept.project.is_some() => kept.project.clone(),
        None => only_project(&client).await?,
    };
    if project != kept.project {
        kept.project = project;
        kept::keep(state, &kept)?;
    }
    let identity = kept.identity();
    check(context, &identity).await?;
    Ok(identity)
}

/// The project of a certificate that is limited to one.
async fn only_project(client: &incus_client::Client) -> Result<Option<String>, CommandError> {
    let mut projects = client.projects().await.doing("cannot list the projects of the server")?;
    match projects.pop() {
        Some(only) if projects.is_empty() && only.name != "default" => Ok(Some(only.name)),
        _ => Ok(None),
    }
}

/// A restricted project, and a certificate that can use nothing else.
async fn restricted(
    context: &Context,
    state: &StateDir,
    args: &IdentityCreateArgs,
) -> Result<Identity, CommandError> {
    let ui = &context.ui;
    let tenant = &args.tenant;
    // The parser sees to it that there is one.
    let Some(project) = args.project.as_deref() else {
        return Err(CommandError::usage("`--restricted` needs `--project PROJECT`"));
    };
    if project == "default" {
        return Err(CommandError::usage("the project `default` cannot be a tenant's"));
    }
    let found = kept::find(state, &args.name)?;
    if let Some(found) = &found
        && found.project.as_deref() != Some(project)
    {
        return Err(CommandError::new(format!(
            "identity `{}` was made for project `{}` before",
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
    let place = tenant::place(&admin, tenant.network.as_deref(), tenant.pool.as_deref()).await?;
    let made_through = match administrator.socket() {
        Some(_) => administrator.server.clone(),
        None => through.unwrap_or_default().to_owned(),
    };
    let kept = prepare(args, found, url, server.environment.certificate.clone(), made_through)?;
    // Before the server learns of the certificate: a key that is lost leaves nothing to undo.
    kept::keep(state, &kept)?;
    let fenced = tenant::project(&admin, &args.name, project, &tenant.wishes(), &place).await?;
    ui.say(match fenced {
        Fenced::Made => format!("project `{project}` is made, restricted to its own instances"),
        Fenced::Kept => format!("project `{project}` is restricted to its own instances"),
        Fenced::Foreign => format!(
            "project `{project}` was there and is restricted: its settings stay as they are"
        ),
    });
    tenant::trust(&admin, &kept, project).await?;
    if listen::is_loopback(&kept.server) {
        ui.note(format!(
            "{} is for this machine only: a manager in a pod does not reach it; `--address` names another",
            kept.server
        ));
    }
    let identity = kept.identity();
    let holder = identity.client()?;
    let tries = Tries {
        holder: &holder,
        admin: &admin,
        project,
        network: &place.network,
        flavor: server.flavor(),
    };
    let step = ui.step("what the holder can and cannot do");
    let proofs = tries.all().await?;
    step.done(format!(
        "what the holder of identity `{}` can and cannot do, tried with its certificate:",
        args.name
    ));
    show(context, &proofs)?;
    Ok(identity)
}

fn prepare(
    args: &IdentityCreateArgs,
    found: Option<Kept>,
    server: String,
    server_certificate: String,
    made_through: String,
) -> Result<Kept, CommandError> {
    let made_through = Some(made_through);
    match found {
        Some(found) => Ok(Kept { server, server_certificate, made_through, ..found }),
        None => {
            let project = args.project.clone();
            Kept::mint(&args.name, server, server_certificate, project, made_through)
        }
    }
}

fn show(context: &Context, proofs: &[Proof]) -> Result<(), CommandError> {
    let ui = &context.ui;
    for proof in proofs {
        let (tone, mark) = match (proof.holds(), proof.is_open()) {
            (true, _) => (Tone::Good, "  ✓"),
            (false, true) => (Tone::Bad, "  ✗"),
            (false, false) => (Tone::Note, "  !"),
        };
        ui.say_marked(tone, mark, proof.line());
    }
    let open: Vec<&str> =
        proofs.iter().filter(|proof| proof.is_open()).map(|proof| proof.what.as_str()).collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(CommandError::caused("the holder can do what it should not", open.join("; "))
        .hint("look at the project's restrictions: `incus project show PROJECT`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_the_servers_understand() {
        for good in ["512MiB", "40GiB", "1TB"] {
            assert_eq!(size(good).unwrap(), good);
        }
        for bad in ["", "0GiB", "GiB", "4", "4G", "-1GiB", "4 GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
