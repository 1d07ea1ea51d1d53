//! Making a cluster, from the command line to Ready nodes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capn_provider::LocalSockets;
use kube::Client;

use super::made::Made;
use super::prepare::{Prepared, prepare, summary};
use super::{Existing, create_missing, find, prove, services, workload};
use crate::Context;
use crate::commands::cluster_args::ClusterArgs;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::images::{self, Needs};
use crate::manifest::request::{Network, root_device};
use crate::manifest::{Bootstrap, ClusterRequest, Cni, Document, LoadBalancer};
use crate::power;
use crate::preflight;
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::{StateDir, write_private};
use crate::ui::Ui;
use crate::watch::{self, Asked, Deadline, Objects, Readiness, Scope, Verdict, View};

/// How long is waited for a cluster, as long as `--timeouts` does not make it longer.
const WAIT: Duration = Duration::from_secs(15 * 60);

/// The manifests of a new cluster. The server is asked about its image if it answers.
///
/// # Errors
///
/// Wrong usage, or no server to name in the identity.
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
        // As with the other facts: manifests can also be printed without the server.
        prepared.request.image_facts.without_host_boot =
            preflight::hides_host_paths(&server).await.unwrap_or(false);
    }
    own_network(context, &mut prepared).await;
    note_newer(context, &prepared.request);
    Ok(prepared.documents())
}

/// Makes the cluster, or continues to, and waits until it is ready and Services answer.
///
/// Without a `wait`, 15 minutes, or longer with `--timeouts`.
///
/// # Errors
///
/// When it is not ready in the end. What was made stays: the same command continues from there.
pub async fn make(
    context: &Context,
    name: &str,
    args: &ClusterArgs,
    wait: Option<Duration>,
) -> Result<Made, CommandError> {
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
    /// As given; none is [`WAIT`].
    wait: Option<Duration>,
    /// The plane had the cluster before.
    known: AtomicBool,
}

impl Work<'_> {
    async fn run(&self) -> Result<Made, CommandError> {
        let namespace = self.args.namespace.as_deref().unwrap_or("default");
        let existing = find(&self.client, namespace, self.name).await?;
        let mut prepared = prepare(self.context, self.name, self.args, existing.as_ref()).await?;
        let asked = asked(&prepared.request);
        let scope = scope(&prepared.request);
        let wait = self.wait.unwrap_or(WAIT * prepared.request.timeouts.factor());
        let deadline = Deadline::after(wait);
        let mut unproven =
            !wait.is_zero() && services::are_due(&prepared.request, existing.as_ref());
        let mut known = HashSet::new();
        if let Some(existing) = &existing {
            self.known.store(true, Ordering::Relaxed);
            let whole = watch::read(&self.client, namespace, self.name).await;
            let mut was_down = false;
            if !wait.is_zero() {
                was_down = self.bring_up(existing, &prepared, &whole, deadline).await?;
                unproven |= was_down && services::are_due(&prepared.request, None);
            }
            let view = scope.narrow(whole);
            if watch::verdict(&view, &asked) == Verdict::Holds && !was_down {
                if !unproven {
                    let ui = &self.context.ui;
                    ui.say(format!("cluster `{}` is as asked: nothing to do", self.name));
                }
                let proof = unproven.then_some(deadline);
                return self.outcome(&prepared, false, proof).await;
            }
            known = watch::reached(&view, &asked);
        }
        self.context.ui.say(summary(&prepared.request));
        self.check_server(&mut prepared, existing.as_ref()).await?;
        let server = prepared.identity.client()?;
        let needs = Needs {
            request: &prepared.request,
            binaries: prepared.binaries.as_ref(),
            runtime: prepared.runtime.as_ref(),
        };
        let found = images::ensure(&self.context.ui, &server, &needs).await?;
        if existing.is_none() {
            prepared.request.image_facts = found.facts;
            prepared.request.image_facts.without_host_boot =
                preflight::hides_host_paths(&server).await?;
            prepared.request.root_on_zfs = root_on_zfs(&server, &prepared.request).await;
            prepared.request.single_server = preflight::is_single(&server).await.unwrap_or(false);
            // A version that nobody asked for gives way to the one that is in the image.
            if self.args.kubernetes_version.is_none() && found.kubernetes_version.is_some() {
                prepared.request.kubernetes_version = found.kubernetes_version;
            }
            note_newer(self.context, &prepared.request);
        }
        for document in prepared.documents() {
            create_missing(&self.client, &document, namespace).await?;
        }
        if wait.is_zero() {
            self.context
                .ui
                .note("recorded; `capn serve` makes it, or this command without `--wait 0`");
            return Ok(Made::recorded(&prepared.request));
        }
        let mut objects = Objects::of(&self.client, namespace, self.name).within(scope);
        let deadline = Deadline::after(wait);
        let view = watch::follow(&self.context.ui, &mut objects, &asked, deadline, known).await?;
        let made = self.outcome(&prepared, true, unproven.then_some(deadline)).await?;
        // Nodes are not Ready before the user has installed a pod network.
        let Prepared { request, .. } = &prepared;
        if request.bootstrap == Bootstrap::Kubeadm && request.cni != Cni::None {
            watch::settle(&self.context.ui, &mut objects, view, deadline).await;
        }
        Ok(made)
    }

    /// Starts what does not run of a cluster that is there, whoever stopped it.
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
        let subject = power::Subject::of(namespace, name, existing, view, identity).await?;
        if subject.existing.is_paused && subject.existing.stopped.is_none() {
            let rests = power::plan::start(&subject.instances().await?).into_iter().flatten();
            let rests: Vec<String> = rests.map(|step| step.instance).collect();
            if rests.is_empty() {
                return Ok(false);
            }
            return Err(CommandError::new(format!(
                "it is paused, and these instances do not run: {}",
                rests.join(", ")
            ))
            .hint(format!(
                "resume it: `capn resume {name}`; or start it paused: `capn start {name}`"
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
            // It has the addresses that the cluster needs, and none of its ranges.
            true => (Vec::new(), Vec::new()),
            false => request.families(),
        };
        let (profiles, network) = (&request.profiles, &request.network);
        let devices = request.machine_devices();
        let devices = preflight::with_network(&server, profiles, devices, network).await?;
        preflight::profiles(&server, profiles, &devices, &of_nodes).await?;
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

    /// What there is now that everything holds. With a deadline it is proven that Services
    /// answer.
    async fn outcome(
        &self,
        prepared: &Prepared,
        changed: bool,
        proof: Option<Deadline>,
    ) -> Result<Made, CommandError> {
        let request = &prepared.request;
        let exec = prepared.identity.exec_command();
        let view = watch::read(&self.client, &request.namespace, self.name).await;
        if request.bootstrap == Bootstrap::None {
            let server = prepared.identity.client()?;
            let proofs = prove::all(&self.context.ui, &server, request, &view).await?;
            return Ok(Made { exec, ..Made::instances(request, &view, proofs, changed) });
        }
        let text = workload::kubeconfig(&self.client, &request.namespace, self.name).await?;
        let path = self.state.cluster_kubeconfig(self.name);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            write_private(&path, &text)?;
        }
        if let Some(deadline) = proof {
            let subject = services::Subject {
                request,
                view: &view,
                workload: workload::client(&text)?,
                server: prepared.identity.client()?,
                exec: exec.as_deref(),
            };
            services::prove(&self.context.ui, &self.client, &subject, deadline).await?;
        }
        let nodes = workload::nodes(&text).await?;
        Ok(Made { exec, ..Made::cluster(request, &view, nodes, path, changed) })
    }

    /// Says how to go on after a failure: what was made stays.
    fn continuation(&self, error: CommandError) -> CommandError {
        use crate::exit::Exit;
        let name = self.name;
        match error.exit() {
            Exit::Usage => error,
            Exit::Interrupted => error
                .hint("everything made so far is kept: the same command continues")
                .hint(format!("remove it: `capn delete cluster {name}`")),
            _ if self.known.load(Ordering::Relaxed) => {
                error.while_doing(format!("cluster `{name}` is not as asked"))
            }
            _ => error.while_doing(format!("cannot create cluster `{name}`")),
        }
    }
}

/// Proves that Services and DNS answer from every node of a cluster that has changed. A cluster without a
/// network of ours is not asked.
///
/// # Errors
///
/// When a node is not answered, with the cause as far as it is seen.
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
    let text = workload::kubeconfig(client, &request.namespace, &request.name).await?;
    let exec = identity.exec_command();
    let subject = services::Subject {
        request,
        view: &view,
        workload: workload::client(&text)?,
        server: identity.client()?,
        exec: exec.as_deref(),
    };
    services::prove(ui, client, &subject, deadline).await
}

/// What is said where a cluster cannot have a network of its own.
fn shared(why: &str) -> String {
    format!("network: shared with other instances (`--network shared`), since {why}")
}

/// Decides for manifests whether the cluster has a network of its own. A server that cannot be asked
/// is taken to be one where that is not possible.
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
        Err(error) => format!("the server was not asked: {error}"),
    };
    context.ui.note(shared(&why));
    request.network = Network::Shared;
}

/// Says that a version is newer than all that are known here, if it is.
fn note_newer(context: &Context, request: &ClusterRequest) {
    let version = request.kubernetes_version.as_deref();
    if let Some(note) = version.and_then(preflight::newer_than_known) {
        context.ui.note(note);
    }
}

/// Whether machines get a ZFS dataset. A server that does not say so has none.
async fn root_on_zfs(server: &incus_client::Client, request: &ClusterRequest) -> bool {
    preflight::root_on_zfs(server, &request.profiles, &request.machine_devices())
        .await
        .unwrap_or_else(|error| {
            tracing::debug!(%error, "the storage of machines is not known");
            false
        })
}

/// What a request is about: not the machines of deployments that somebody made beside it.
fn scope(request: &ClusterRequest) -> Scope {
    match request.bootstrap {
        // Its machines stand alone.
        Bootstrap::None => Scope::All,
        Bootstrap::Kubeadm => {
            Scope::Some { control_planes: true, deployment: Some(request.workers_name()) }
        }
    }
}

/// What has to hold for a request.
pub(super) fn asked(request: &ClusterRequest) -> Asked {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Asked {
        control_planes: count(request.control_planes),
        workers: count(request.workers),
        readiness: match (request.bootstrap, request.cni) {
            (Bootstrap::None, _) => Readiness::Instances,
            (Bootstrap::Kubeadm, Cni::None) => Readiness::Nodes,
            (Bootstrap::Kubeadm, Cni::Bridge | Cni::Flannel) => Readiness::ReadyNodes,
        },
    }
}
