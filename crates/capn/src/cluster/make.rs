//! Creates a cluster, from the command line to Ready nodes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capn_provider::LocalSockets;
use kube::Client;

use super::changes::Changes;
use super::outcome::ClusterOutcome;
use super::pools::no_clash;
use super::prepare::{Prepared, prepare, summary};
use super::{Existing, create_missing, find, node_check, services, workload};
use crate::Context;
use crate::commands::cluster_args::ClusterArgs;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::images::{self, ImageRequirements};
use crate::manifest::request::{Network, root_device};
use crate::manifest::{Bootstrap, ClusterRequest, Cni, Document, LoadBalancer};
use crate::power;
use crate::preflight;
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::{StateDir, write_private};
use crate::trust;
use crate::ui::Ui;
use crate::watch::{self, Deadline, DesiredState, Objects, Progress, Readiness, Scope, View};

/// Default time limit for a cluster, unless `--timeouts` extends it.
const WAIT: Duration = Duration::from_secs(15 * 60);

/// Manifests of a new cluster. Asks the server about its image if the server responds.
///
/// # Errors
///
/// Returns a usage error, or an error if no server is configured.
pub async fn manifests(
    context: &Context,
    name: &str,
    args: &ClusterArgs,
) -> Result<Vec<Document>, CommandError> {
    let mut prepared = prepare(context, name, args, None).await?;
    prepared.request.image_facts =
        images::expected(&prepared.request, prepared.binaries.as_ref(), &prepared.identity).await;
    if let Ok(server) = prepared.identity.client() {
        prepared.request.root_on_zfs = root_on_zfs(&server, &prepared.request).await;
        prepared.request.single_server = preflight::is_single(&server).await.unwrap_or(false);
        // Best effort, like the other facts: manifests can be printed without the server.
        prepared.request.image_facts.without_host_boot =
            preflight::hides_host_paths(&server).await.unwrap_or(false);
    }
    own_network(context, &mut prepared).await;
    note_newer(context, &prepared.request);
    Ok(prepared.documents())
}

/// Creates the cluster, or continues to create it, and waits until it is ready and Services
/// respond.
///
/// `wait` defaults to 15 minutes, or longer with `--timeouts`.
///
/// # Errors
///
/// Returns an error if it is not ready in time. Everything created so far is kept, and the same
/// command continues.
pub async fn make(
    context: &Context,
    name: &str,
    args: &ClusterArgs,
    wait: Option<Duration>,
) -> Result<ClusterOutcome, CommandError> {
    preflight::cluster_name(name)?;
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let sockets = LocalSockets::default().and(args.namespace.as_deref().unwrap_or("default"));
    let need = match wait.is_some_and(|wait| wait.is_zero()) {
        true => Need::Objects,
        false => Need::Controllers(&sockets),
    };
    let mut session = Session::open_or_make(&state, need).await?;
    let client = session.client().clone();
    let work =
        Work { context, state: &state, client, name, args, wait, known: AtomicBool::new(false) };
    let result = tokio::select! {
        result = session.while_running(work.run()) => result,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    };
    let closed = session.close().await;
    result.map_err(|error| work.continuation(error)).and_then(|made| closed.map(|()| made))
}

struct Work<'a> {
    context: &'a Context,
    state: &'a StateDir,
    client: Client,
    name: &'a str,
    args: &'a ClusterArgs,
    /// Time limit from the command line; `None` means [`WAIT`].
    wait: Option<Duration>,
    /// Whether the plane already had the cluster.
    known: AtomicBool,
}

impl Work<'_> {
    async fn run(&self) -> Result<ClusterOutcome, CommandError> {
        let namespace = self.args.namespace.as_deref().unwrap_or("default");
        let existing = find(&self.client, namespace, self.name).await?;
        self.known.store(existing.is_some(), Ordering::Relaxed);
        let mut prepared = prepare(self.context, self.name, self.args, existing.as_ref()).await?;
        trust::check(&self.client, &prepared.identity, namespace).await?;
        let asked = asked(&prepared.request);
        let scope = scope(&prepared.request);
        let wait = self.wait.unwrap_or(WAIT * prepared.request.timeouts.factor());
        let deadline = Deadline::after(wait);
        let mut unproven =
            !wait.is_zero() && services::are_due(&prepared.request, existing.as_ref());
        let mut known = HashSet::new();
        let before = existing.as_ref().and_then(|existing| existing.request.as_ref());
        let changes = match before {
            Some(before) => Changes::between(before, &prepared.request)?,
            None => Changes::default(),
        };
        if let Some(existing) = &existing {
            let whole = watch::read(&self.client, namespace, self.name).await;
            let mut was_down = false;
            if !wait.is_zero() {
                was_down = self.bring_up(existing, &prepared, &whole, deadline).await?;
                unproven |= was_down && services::are_due(&prepared.request, None);
            }
            let view = scope.narrow(whole);
            let holds = watch::progress(&view, &asked) == Progress::Holds;
            if holds && changes.is_empty() && !was_down {
                if !unproven {
                    let ui = &self.context.ui;
                    ui.say(format!("cluster `{}` is up to date: nothing to do", self.name));
                }
                let check = unproven.then_some(deadline);
                return self.outcome(&prepared, false, check).await;
            }
            known = watch::reached(&view, &asked);
        }
        self.context.ui.say(summary(&prepared.request));
        changes.say(&self.context.ui);
        let pools = prepared.request.pools();
        no_clash(&self.client, &prepared.request, &pools).await?;
        self.check_server(&mut prepared, existing.as_ref()).await?;
        let server = prepared.identity.client()?;
        let needs = ImageRequirements {
            request: &prepared.request,
            binaries: prepared.binaries.as_ref(),
            runtime: prepared.runtime.as_ref(),
        };
        let found = images::ensure(&self.context.ui, &server, &needs).await?;
        for image in pools.iter().filter_map(|pool| pool.image.as_deref()) {
            images::named(&server, image).await?;
        }
        if existing.is_none() {
            prepared.request.image_facts = found.facts;
            prepared.request.image_facts.without_host_boot =
                preflight::hides_host_paths(&server).await?;
            prepared.request.root_on_zfs = root_on_zfs(&server, &prepared.request).await;
            prepared.request.single_server = preflight::is_single(&server).await.unwrap_or(false);
            // Without an explicit version, use the one in the image.
            if self.args.kubernetes_version.is_none() && found.kubernetes_version.is_some() {
                prepared.request.kubernetes_version = found.kubernetes_version;
            }
            note_newer(self.context, &prepared.request);
        }
        super::ensure_namespace(&self.client, namespace).await?;
        for document in prepared.documents() {
            create_missing(&self.client, &document, namespace).await?;
        }
        changes.apply(&self.client, &prepared.request).await?;
        if wait.is_zero() {
            self.context
                .ui
                .note("recorded; `capn serve` or this command without `--wait 0` creates it");
            return Ok(ClusterOutcome::recorded(&prepared.request));
        }
        let mut objects = Objects::of(&self.client, namespace, self.name).within(scope);
        let deadline = Deadline::after(wait);
        let view = watch::follow(&self.context.ui, &mut objects, &asked, deadline, known).await?;
        let made = self.outcome(&prepared, true, unproven.then_some(deadline)).await?;
        // Nodes only become Ready after the user has installed a pod network.
        let Prepared { request, .. } = &prepared;
        if request.bootstrap == Bootstrap::Kubeadm && request.cni != Cni::None {
            watch::settle(&self.context.ui, &mut objects, view, deadline).await;
        }
        Ok(made)
    }

    /// Starts stopped instances of an existing cluster.
    async fn bring_up(
        &self,
        existing: &Existing,
        prepared: &Prepared,
        view: &View,
        deadline: Deadline,
    ) -> Result<bool, CommandError> {
        let ClusterRequest { namespace, name, .. } = &prepared.request;
        let (existing, view) = (existing.clone(), view.clone());
        let identity = prepared.identity.clone();
        let subject =
            power::ClusterInstances::of(namespace, name, existing, view, identity).await?;
        if subject.existing.is_paused && subject.existing.stopped.is_none() {
            let rests = power::plan::start(&subject.instances().await?).into_iter().flatten();
            let rests: Vec<String> = rests.map(|step| step.instance).collect();
            if rests.is_empty() {
                return Ok(false);
            }
            return Err(CommandError::new(format!(
                "it is paused, and these instances are not running: {}",
                rests.join(", ")
            ))
            .hint(format!(
                "resume it: `capn resume {name}`, or start its instances only: `capn start {name}`"
            )));
        }
        power::bring_up(&self.context.ui, &self.client, &subject, deadline).await
    }

    async fn check_server(
        &self,
        prepared: &mut Prepared,
        existing: Option<&Existing>,
    ) -> Result<(), CommandError> {
        let Prepared { request, identity, .. } = prepared;
        let is_local = identity.socket().is_some();
        let server = identity.client()?;
        let step = self.context.ui.step(format!("server at {}", identity.server));
        let found = preflight::contact(identity, &server).await?;
        if existing.is_none() {
            preflight::no_foreign_instances(&server, &request.namespace, self.name, self.state)
                .await?;
        }
        if existing.is_none()
            && request.network == Network::Own
            && let Err(why) = preflight::own_network(&server, &found, request, is_local).await?
        {
            self.context.ui.note(shared(&why));
            request.network = Network::Shared;
        }
        let is_own = request.network == Network::Own;
        let (of_nodes, of_endpoint) = match is_own {
            // A dedicated network provides the addresses, so the request's ranges do not apply.
            true => (Vec::new(), Vec::new()),
            false => request.families(),
        };
        let (profiles, network) = (&request.profiles, &request.network);
        let devices = request.machine_devices();
        let devices = preflight::with_network(&server, profiles, devices, network).await?;
        preflight::profiles(&server, profiles, &devices, &of_nodes).await?;
        for pool in request.pools() {
            let of_pool = request.of_pool(&pool);
            let (profiles, own) = (&of_pool.profiles, of_pool.machine_devices());
            let own = preflight::with_network(&server, profiles, own, network).await?;
            if (profiles, &own) != (&request.profiles, &devices) {
                let checked = preflight::profiles(&server, profiles, &own, &of_nodes).await;
                checked.map_err(|error| error.while_doing(format!("pool `{}`", pool.name)))?;
            }
        }
        if existing.is_none() && request.bootstrap == Bootstrap::Kubeadm && !is_own {
            let ranges = [request.pod_cidrs(), request.service_cidrs()].concat();
            preflight::ranges(&server, profiles, &devices, &ranges).await?;
        }
        if matches!(request.load_balancer, LoadBalancer::Lxc | LoadBalancer::Oci) {
            let root: Vec<_> = request.storage_pool.iter().map(|pool| root_device(pool)).collect();
            let profiles = &request.load_balancer_profiles;
            let devices = preflight::with_network(&server, profiles, root, network).await?;
            preflight::profiles(&server, profiles, &devices, &of_endpoint).await?;
        }
        preflight::balancer(&server, &found, request).await?;
        if is_local {
            for note in preflight::host(request)? {
                self.context.ui.note(note);
            }
        }
        preflight::isolated_ids(&server, request, is_local).await?;
        step.done(format!(
            "{} {} at {}, project `{}`",
            found.environment.server,
            found.environment.server_version,
            identity.server,
            identity.project.as_deref().unwrap_or("default"),
        ));
        Ok(())
    }

    /// Collects the outcome once everything is ready. With a deadline, verifies that Services
    /// respond.
    async fn outcome(
        &self,
        prepared: &Prepared,
        changed: bool,
        check: Option<Deadline>,
    ) -> Result<ClusterOutcome, CommandError> {
        let request = &prepared.request;
        let exec = prepared.identity.exec_command();
        let view = watch::read(&self.client, &request.namespace, self.name).await;
        if request.bootstrap == Bootstrap::None {
            let server = prepared.identity.client()?;
            let proofs = node_check::all(&self.context.ui, &server, request, &view).await?;
            return Ok(ClusterOutcome {
                exec,
                ..ClusterOutcome::instances(request, &view, proofs, changed)
            });
        }
        let kubeconfig = workload::kubeconfig(&self.client, &request.namespace, self.name).await?;
        let path = self.state.cluster_kubeconfig(&request.namespace, self.name);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(kubeconfig.text()) {
            write_private(&path, kubeconfig.text())?;
        }
        if let Some(deadline) = check {
            let subject = services::ServiceCheck {
                request,
                view: &view,
                workload: kubeconfig.client()?,
                server: prepared.identity.client()?,
                exec: exec.as_deref(),
            };
            services::check(&self.context.ui, &self.client, &subject, deadline).await?;
        }
        let nodes = workload::nodes(&kubeconfig, workload::PATIENCE).await?;
        Ok(ClusterOutcome { exec, ..ClusterOutcome::cluster(request, &view, nodes, path, changed) })
    }

    /// Adds a hint how to continue after a failure.
    fn continuation(&self, error: CommandError) -> CommandError {
        use crate::exit::Exit;
        let name = self.name;
        match error.exit() {
            Exit::Usage => error,
            Exit::Interrupted => error
                .hint("everything created so far is kept; run the same command again to continue")
                .hint(format!("remove it: `capn delete cluster {name}`")),
            _ if self.known.load(Ordering::Relaxed) => {
                error.while_doing(format!("cannot bring cluster `{name}` to the requested state"))
            }
            _ => error.while_doing(format!("cannot create cluster `{name}`")),
        }
    }
}

/// Verifies that Services and DNS respond from every node of a changed cluster. Skipped for
/// clusters without capn's pod network.
///
/// # Errors
///
/// Returns an error if a node gets no response, with the cause as far as known.
pub async fn prove_services(
    ui: &Ui,
    client: &Client,
    request: &ClusterRequest,
    identity: &Identity,
    deadline: Deadline,
) -> Result<(), CommandError> {
    if !services::are_due(request, None) {
        return Ok(());
    }
    let view = watch::read(client, &request.namespace, &request.name).await;
    let kubeconfig = workload::kubeconfig(client, &request.namespace, &request.name).await?;
    let exec = identity.exec_command();
    let subject = services::ServiceCheck {
        request,
        view: &view,
        workload: kubeconfig.client()?,
        server: identity.client()?,
        exec: exec.as_deref(),
    };
    services::check(ui, client, &subject, deadline).await
}

/// Returns a note that a cluster cannot have a dedicated network.
fn shared(why: &str) -> String {
    format!("network: shared with other instances (`--network shared`) because {why}")
}

/// Decides for generated manifests whether the cluster gets a dedicated network. Without a response
/// from the server, it does not.
async fn own_network(context: &Context, prepared: &mut Prepared) {
    if prepared.request.network != Network::Own {
        return;
    }
    let Prepared { request, identity, .. } = prepared;
    let asked = async {
        let server = identity.client()?;
        let found = preflight::contact(identity, &server).await?;
        preflight::own_network(&server, &found, request, identity.socket().is_some()).await
    };
    let why = match asked.await {
        Ok(Ok(())) => return,
        Ok(Err(why)) => why,
        Err(error) => format!("the server does not respond: {error}"),
    };
    context.ui.note(shared(&why));
    request.network = Network::Shared;
}

/// Prints a note if a version is newer than all versions that capn knows.
fn note_newer(context: &Context, request: &ClusterRequest) {
    let version = request.kubernetes_version.as_deref();
    if let Some(note) = version.and_then(preflight::newer_than_known) {
        context.ui.note(note);
    }
}

/// Returns whether machines use ZFS datasets. Assumes not if the server does not tell.
async fn root_on_zfs(server: &incus_client::Client, request: &ClusterRequest) -> bool {
    preflight::root_on_zfs(server, &request.profiles, &request.machine_devices())
        .await
        .unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot determine the storage of machines");
            false
        })
}

/// Returns the scope of a request: excludes machines of deployments created independently of capn.
fn scope(request: &ClusterRequest) -> Scope {
    let deployments = request.pools().into_iter();
    let deployments = deployments.map(|pool| request.deployment_name(&pool.name)).collect();
    Scope::Some { control_planes: true, deployments }
}

/// Returns the desired state of a request.
pub(super) fn asked(request: &ClusterRequest) -> DesiredState {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let pools = request.pools().into_iter();
    let pools = pools.map(|pool| (request.deployment_name(&pool.name), count(pool.count())));
    DesiredState {
        control_planes: count(request.control_planes),
        pools: pools.collect(),
        workers: 0,
        readiness: match (request.bootstrap, request.cni) {
            (Bootstrap::None, _) => Readiness::Instances,
            (Bootstrap::Kubeadm, Cni::None) => Readiness::Nodes,
            (Bootstrap::Kubeadm, Cni::Bridge | Cni::Flannel) => Readiness::ReadyNodes,
        },
    }
}
