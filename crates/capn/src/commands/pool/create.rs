//! `capn create pool`

use std::time::Duration;

use capn_plan::families;
use clap::Args;
use kube::Client;

use super::at_work;
use crate::Context;
use crate::cluster::{self, Existing, create_missing, pools};
use crate::commands::cluster_args::key_value;
use crate::commands::{NamespaceArg, duration};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::images;
use crate::manifest::pool::{self, MAX_POOLS};
use crate::manifest::{Bootstrap, ClusterRequest, Document, Pool, pool_documents, to_yaml};
use crate::preflight;
use crate::session;
use crate::state::StateDir;
use crate::watch::{self, Deadline, Objects, Scope};

/// Options of `create pool`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  capn create pool gpu --cluster demo --workers 2 --device gpu,type=gpu \
    --label example.org/gpu=true --taint example.org/gpu=true:NoSchedule"
)]
pub struct CreatePoolArgs {
    /// Name of the pool
    pub name: String,
    /// Cluster that the pool belongs to
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: String,
    /// Number of worker machines [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=999))]
    pub workers: Option<u32>,
    /// Size of the machines, for example c2-m4 for 2 CPUs and 4 GiB [default: as in the cluster]
    #[arg(long, value_name = "FLAVOR")]
    pub flavor: Option<String>,
    /// Image of the machines [default: as in the cluster]
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Profile of the machines; can be repeated [default: as in the cluster]
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Additional device of the machines, as NAME,KEY=VALUE,...; can be repeated
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// Additional instance configuration of the machines, as KEY=VALUE; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub config: Vec<(String, String)>,
    /// Label of the nodes; can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pool::label)]
    pub labels: Vec<(String, String)>,
    /// Taint of the nodes when they join; can be repeated
    #[arg(long = "taint", value_name = "KEY=VALUE:EFFECT", value_parser = taint)]
    pub taints: Vec<String>,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until the nodes are Ready; 0 records the request without waiting
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub wait: Duration,
    /// Print the manifests as YAML instead of applying them
    #[arg(long)]
    pub dry_run: bool,
}

fn taint(text: &str) -> Result<String, String> {
    pool::taint(text).map(|_| text.to_owned())
}

impl CreatePoolArgs {
    fn pool(&self) -> Pool {
        Pool {
            name: self.name.clone(),
            workers: self.workers,
            flavor: self.flavor.clone(),
            image: self.image.clone(),
            profiles: self.profiles.clone(),
            devices: self.devices.clone(),
            config: self.config.iter().cloned().collect(),
            labels: self.labels.iter().cloned().collect(),
            taints: self.taints.clone(),
        }
    }
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: CreatePoolArgs,
) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let namespace = args.namespace.namespace.as_str();
    let (cluster, name) = (args.cluster.as_str(), args.name.as_str());
    let work = async |client: Client| {
        let existing = cluster::existing(&client, namespace, cluster).await?;
        let (request, pool) = planned(&existing, cluster, &args.pool())?;
        let documents = pool_documents(&request, &pool);
        if args.dry_run {
            return context.ui.data(&to_yaml(&documents)?);
        }
        at_work(&existing, cluster)?;
        pools::no_clash(&client, &request, std::slice::from_ref(&pool)).await?;
        make(context, &client, &existing, &request, &pool, &documents, args.wait).await
    };
    let hint = "everything created so far is kept; run the same command again to continue";
    let done = session::on_cluster(&state, namespace, args.dry_run, hint, work).await;
    done.map_err(|error| {
        let act = format!("cannot create pool `{name}` of cluster `{cluster}`");
        match error.exit() {
            Exit::Usage | Exit::Interrupted => error.while_doing(act),
            _ => error.while_doing(act).hint(format!(
                "check its progress: `capn describe cluster {cluster}`; run the same command again to continue"
            )),
        }
    })
}

/// Returns the planned pool and the updated cluster. An existing pool must match.
fn planned(
    existing: &Existing,
    cluster: &str,
    asked: &Pool,
) -> Result<(ClusterRequest, Pool), CommandError> {
    let request = existing.request.clone().ok_or_else(|| {
        CommandError::new(format!("cluster `{cluster}` was created from manifests"))
            .hint("add a MachineDeployment to the manifests and apply them: `capn apply -f FILE`")
    })?;
    let name = asked.name.as_str();
    let mut all = request.pools();
    let (pool, is_there) = match all.iter().find(|pool| pool.name == name) {
        Some(known) => (asked.over(known), true),
        None => (Pool { workers: Some(asked.count()), ..asked.clone() }, false),
    };
    if is_there && !all.contains(&pool) {
        return Err(CommandError::new("a different pool with that name exists")
            .hint(format!("to change the number of workers: `capn scale {cluster} --pool {name} --workers N`"))
            .hint(format!("show it: `capn get pools {cluster} -o yaml`; use another pool for different machines")));
    }
    if !is_there {
        all.push(pool.clone());
    }
    if all.len() > MAX_POOLS {
        return Err(CommandError::usage(format!("a cluster can have at most {MAX_POOLS} pools")));
    }
    pool.check(cluster).map_err(CommandError::usage)?;
    let request = request.with_pools(all);
    if request.bootstrap == Bootstrap::None && pool.marks_nodes() {
        return Err(CommandError::usage(
            "labels and taints need a bootstrap provider, which this cluster does not have",
        )
        .hint("omit `--label` and `--taint`"));
    }
    let nodes = request.control_planes.saturating_add(request.workers);
    families::room(&request.pod_cidrs(), nodes).map_err(CommandError::new)?;
    Ok((request, pool))
}

async fn make(
    context: &Context,
    client: &Client,
    existing: &Existing,
    request: &ClusterRequest,
    pool: &Pool,
    documents: &[Document],
    wait: Duration,
) -> Result<(), CommandError> {
    let (namespace, cluster) = (request.namespace.as_str(), request.name.as_str());
    let deployments = vec![request.deployment_name(&pool.name)];
    let scope = Scope::Some { control_planes: false, deployments };
    let whole = watch::read(client, namespace, cluster).await;
    let identity = cluster::identity(client, namespace, existing, &whole).await?;
    let server = identity.client()?;
    let of_pool = request.of_pool(pool);
    let facts = preflight::contact(&identity, &server).await?;
    preflight::flavor(of_pool.flavor.as_deref())?;
    let devices = of_pool.machine_devices();
    let (profiles, network) = (&of_pool.profiles, &of_pool.network);
    let devices = preflight::with_network(&server, profiles, devices, network).await?;
    preflight::profiles(&server, profiles, &devices, &[]).await?;
    preflight::isolated_ids(&server, request, identity.socket().is_some()).await?;
    if let Some(image) = &pool.image {
        images::named(&server, image).await?;
    }
    tracing::debug!(server = facts.environment.server_version, "the server supports the pool");
    for document in documents {
        create_missing(client, document, namespace).await?;
    }
    if wait.is_zero() {
        context.ui.note("recorded; `capn serve` or this command without `--wait 0` creates it");
        return Ok(());
    }
    let was_available = watch::is_available(&whole);
    let mut objects = Objects::of(client, namespace, cluster).within(scope);
    let deadline = Deadline::after(wait);
    // The load balancer was already reported.
    let known = watch::reached(&whole, &watch::DesiredState::by(&whole));
    let view = watch::follow_wanted(&context.ui, &mut objects, deadline, known).await?;
    if was_available {
        watch::settle(&context.ui, &mut objects, view, deadline).await;
    }
    let workers = match pool.count() {
        1 => "1 worker".to_owned(),
        n => format!("{n} workers"),
    };
    context.ui.say(format!("pool `{}` of cluster `{cluster}` has {workers}", pool.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::request::testing::demo;

    fn existing(request: Option<ClusterRequest>) -> Existing {
        Existing {
            request,
            identity: None,
            is_leaving: false,
            is_paused: false,
            stopped: None,
            services_answered: false,
        }
    }

    #[test]
    fn a_pool_is_new_or_unchanged() {
        let gpu = Pool { flavor: Some("c2".into()), ..Pool::plain("gpu", 2) };
        let with = existing(Some(demo().with_pools(vec![Pool::plain("md-0", 1), gpu.clone()])));
        let unsaid = Pool { name: "gpu".into(), ..Pool::default() };
        for (cluster, asked, expected) in [
            (existing(Some(demo())), unsaid.clone(), Some((2, 1))),
            (existing(Some(demo())), gpu.clone(), Some((3, 2))),
            // A continued command.
            (with.clone(), unsaid, Some((3, 2))),
            (with.clone(), gpu.clone(), Some((3, 2))),
            (with.clone(), Pool { workers: Some(3), ..gpu.clone() }, None),
            (with, Pool { flavor: Some("c4".into()), ..gpu.clone() }, None),
            (existing(None), gpu.clone(), None),
            (existing(Some(demo())), Pool::plain("A", 1), None),
        ] {
            let found = planned(&cluster, "demo", &asked).ok();
            let found = found.map(|(request, pool)| (request.workers, pool.count()));
            assert_eq!(found, expected, "{asked:?}");
        }
    }
}
