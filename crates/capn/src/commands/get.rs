//! `capn get`

use std::collections::HashMap;

use capi_api::conditions::{self, AVAILABLE, NODE_READY, READY};
use capi_api::{Cluster, Machine};
use capn_api::LXCMachine;
use capn_controller::watch;
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use super::freshness;
use super::image::{ServerArgs, list};
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::output::{self, Format, OutputArgs};
use crate::power::Phase;
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::{Table, Ui};

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Clusters of the plane
    #[value(alias = "cluster")]
    Clusters,
    /// Machines of all clusters, or of one: `capn get machines demo`
    #[value(alias = "machine")]
    Machines,
    /// Images of the server
    #[value(alias = "image")]
    Images,
}

/// Options of `get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// What to list
    #[arg(value_enum)]
    pub what: What,
    /// Only of this cluster
    pub cluster: Option<String>,
    /// Only in this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Server of images.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(context: &Context, args: GetArgs) -> Result<(), CommandError> {
    let format = args.output.format();
    if args.what == What::Images {
        return list::of_server(context, args.server, args.output).await;
    }
    let state = StateDir::of(context)?;
    let written = freshness::Written::of(&state);
    let session = Session::open(&state, Need::Objects).await?;
    let read = match args.what {
        What::Machines => machines(&context.ui, &session, &args).await.map(Rows::Machines),
        _ => clusters(&context.ui, &session, &args).await.map(Rows::Clusters),
    };
    if matches!(format, Format::Table | Format::Wide) {
        freshness::note(&context.ui, written, &session);
    }
    session.close().await?;
    print(context, &read?, format)
}

enum Rows {
    Clusters(Vec<ClusterRow>),
    Machines(Vec<MachineRow>),
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterRow {
    namespace: String,
    name: String,
    /// That of the object, or that of [`Phase`].
    phase: String,
    #[serde(skip)]
    stopped: Option<Phase>,
    available: bool,
    control_planes: Count,
    workers: Count,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Count {
    ready: usize,
    total: usize,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MachineRow {
    namespace: String,
    name: String,
    cluster: String,
    role: &'static str,
    phase: String,
    ready: bool,
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

fn api<K>(session: &Session, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(session.client().clone(), namespace),
        None => Api::all(session.client().clone()),
    }
}

/// The objects that can be read; of the others the user is told.
async fn readable<K: watch::Kind>(
    ui: &Ui,
    api: Api<K>,
    doing: &'static str,
) -> Result<Vec<K>, CommandError> {
    let (objects, unreadable) = watch::list(api, &ListParams::default()).await.doing(doing)?;
    for object in unreadable {
        ui.note(object.to_string());
    }
    Ok(objects)
}

async fn read_machines(
    ui: &Ui,
    session: &Session,
    args: &GetArgs,
) -> Result<Vec<MachineRow>, CommandError> {
    let namespace = args.namespace.as_deref();
    let machines: Vec<Machine> =
        readable(ui, api(session, namespace), "cannot list machines").await?;
    let lxc_machines: Vec<LXCMachine> =
        readable(ui, api(session, namespace), "cannot list LXCMachines").await?;
    // There may be thousands: no machine is searched for.
    let by_name: HashMap<_, _> = lxc_machines
        .iter()
        .map(|found| ((&found.metadata.namespace, found.metadata.name.as_ref()), found))
        .collect();
    let stopped = stopped(session, namespace).await?;
    let mut rows: Vec<MachineRow> = machines
        .iter()
        .map(|machine| {
            let name = &machine.spec.infrastructure_ref.name;
            let lxc_machine = by_name.get(&(&machine.metadata.namespace, Some(name))).copied();
            let row = machine_row(machine, lxc_machine);
            match stopped.get(&(row.namespace.clone(), row.cluster.clone())) {
                // What its objects say is of the time before.
                Some(phase) => MachineRow { phase: phase.as_str().into(), ready: false, ..row },
                None => row,
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        fn key(row: &MachineRow) -> (&str, &str, bool, &str) {
            (&row.namespace, &row.cluster, row.role == "worker", &row.name)
        }
        key(a).cmp(&key(b))
    });
    Ok(rows)
}

/// The clusters that are stopped, by namespace and name.
async fn stopped(
    session: &Session,
    namespace: Option<&str>,
) -> Result<HashMap<(String, String), Phase>, CommandError> {
    let clusters: Api<Cluster> = api(session, namespace);
    // Of one that cannot be read the user is told elsewhere.
    let list = watch::list(clusters, &ListParams::default()).await.doing("cannot list clusters")?.0;
    let of = |cluster: &Cluster| {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        Some((key, Phase::of(cluster)?))
    };
    Ok(list.iter().filter_map(of).collect())
}

/// Whether the bootstrap data of a machine failed, which a node that is Ready does not tell.
fn has_failed(lxc_machine: Option<&LXCMachine>) -> bool {
    let status = lxc_machine.and_then(|found| found.status.as_ref());
    let known = status.and_then(|status| {
        conditions::get(Some(&status.conditions), capn_api::conditions::BOOTSTRAP_SUCCEEDED)
    });
    known.is_some_and(|known| known.reason == capn_api::conditions::reasons::BOOTSTRAP_FAILED)
}

fn machine_row(machine: &Machine, lxc_machine: Option<&LXCMachine>) -> MachineRow {
    let status = machine.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let lxc_status = lxc_machine.and_then(|found| found.status.as_ref());
    let has_node = machine.node_name().is_some();
    MachineRow {
        namespace: machine.namespace().unwrap_or_default(),
        name: machine.name_any(),
        cluster: machine.spec.cluster_name.clone(),
        role: if machine.is_control_plane() { "control-plane" } else { "worker" },
        phase: status
            .and_then(|status| status.phase)
            .map_or("Pending", |phase| phase.as_str())
            .to_owned(),
        ready: match has_node {
            true => conditions::is_true(conditions, NODE_READY) && !has_failed(lxc_machine),
            false => conditions::is_true(conditions, READY),
        },
        instance: machine.spec.infrastructure_ref.name.clone(),
        node: machine.node_name().map(str::to_owned),
        address: lxc_machine.and_then(crate::watch::address).map(str::to_owned),
        kubernetes_version: machine.spec.version.clone(),
        image: lxc_status.and_then(|status| status.image.clone()),
        isolation: lxc_status
            .and_then(|status| status.isolation)
            .and_then(|isolation| serde_json::to_value(isolation).ok())
            .and_then(|value| value.as_str().map(str::to_owned)),
        created_at: created_at(machine.metadata.creation_timestamp.as_ref()),
    }
}

async fn machines(
    ui: &Ui,
    session: &Session,
    args: &GetArgs,
) -> Result<Vec<MachineRow>, CommandError> {
    let mut rows = read_machines(ui, session, args).await?;
    if let Some(cluster) = &args.cluster {
        rows.retain(|row| row.cluster == *cluster);
    }
    Ok(rows)
}

async fn clusters(
    ui: &Ui,
    session: &Session,
    args: &GetArgs,
) -> Result<Vec<ClusterRow>, CommandError> {
    let clusters = api(session, args.namespace.as_deref());
    let list: Vec<Cluster> = readable(ui, clusters, "cannot list clusters").await?;
    let machines = read_machines(ui, session, args).await?;
    let mut of_cluster: HashMap<(&str, &str), Vec<&MachineRow>> = HashMap::new();
    for machine in &machines {
        let cluster = (machine.namespace.as_str(), machine.cluster.as_str());
        of_cluster.entry(cluster).or_default().push(machine);
    }
    let mut rows: Vec<ClusterRow> = list
        .iter()
        .filter(|cluster| args.cluster.as_ref().is_none_or(|name| cluster.name_any() == *name))
        .map(|cluster| {
            let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
            let machines = of_cluster.get(&(namespace.as_str(), name.as_str()));
            cluster_row(cluster, namespace.clone(), machines.map_or(&[], Vec::as_slice))
        })
        .collect();
    if let (Some(name), true) = (&args.cluster, rows.is_empty()) {
        let names: Vec<String> = list.iter().map(|cluster| cluster.name_any()).collect();
        return Err(CommandError::new(format!("there is no cluster `{name}`"))
            .hint(crate::cluster::known(&names)));
    }
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(rows)
}

/// The row of a cluster with these machines.
fn cluster_row(cluster: &Cluster, namespace: String, machines: &[&MachineRow]) -> ClusterRow {
    let of = |role: &'static str| {
        let mine = || machines.iter().filter(|machine| machine.role == role);
        Count { ready: mine().filter(|machine| machine.ready).count(), total: mine().count() }
    };
    let status = cluster.status.as_ref();
    let version = machines
        .iter()
        .find(|machine| machine.role == "control-plane")
        .and_then(|m| m.kubernetes_version.clone());
    let stopped = Phase::of(cluster);
    ClusterRow {
        phase: match stopped {
            Some(phase) => phase.as_str(),
            None => status.and_then(|s| s.phase).map_or("Pending", |phase| phase.as_str()),
        }
        .to_owned(),
        stopped,
        available: stopped.is_none()
            && conditions::is_true(status.and_then(|status| status.conditions.as_ref()), AVAILABLE),
        control_planes: of("control-plane"),
        workers: of("worker"),
        kubernetes_version: version,
        endpoint: cluster
            .endpoint()
            .and_then(|found| Some(format!("https://{}:{}", found.host.as_ref()?, found.port?))),
        created_at: created_at(cluster.metadata.creation_timestamp.as_ref()),
        namespace,
        name: cluster.name_any(),
    }
}

fn created_at(time: Option<&Time>) -> Option<String> {
    time.map(|time| time.0.to_string())
}

/// How long ago, as kubectl says it: `45s`, `12m`, `5h`, `3d`.
pub(super) fn age(created_at: Option<&str>, now: Timestamp) -> String {
    let Some(created) = created_at.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return String::new();
    };
    let seconds = now.as_second().saturating_sub(created.as_second()).max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn print(context: &Context, rows: &Rows, format: Format) -> Result<(), CommandError> {
    let ui = &context.ui;
    match (format, rows) {
        (Format::Json, Rows::Clusters(rows)) => ui.data(&output::json(rows)?),
        (Format::Json, Rows::Machines(rows)) => ui.data(&output::json(rows)?),
        (Format::Yaml, Rows::Clusters(rows)) => ui.data(&output::yaml(rows)?),
        (Format::Yaml, Rows::Machines(rows)) => ui.data(&output::yaml(rows)?),
        (Format::Name, Rows::Clusters(rows)) => {
            ui.data(&rows.iter().map(|row| format!("{}\n", row.name)).collect::<String>())
        }
        (Format::Name, Rows::Machines(rows)) => {
            ui.data(&rows.iter().map(|row| format!("{}\n", row.name)).collect::<String>())
        }
        (Format::Table | Format::Wide, Rows::Clusters(rows)) if rows.is_empty() => {
            ui.say("no clusters yet; make one: `capn up`");
            Ok(())
        }
        (Format::Table | Format::Wide, Rows::Machines(rows)) if rows.is_empty() => {
            ui.say("no machines");
            Ok(())
        }
        (Format::Table | Format::Wide, rows) => {
            ui.table(&table(rows, format, Timestamp::now()))?;
            if let Rows::Clusters(rows) = rows {
                for (name, phase) in rows.iter().filter_map(|row| Some((&row.name, row.stopped?))) {
                    ui.note(format!("cluster `{name}` {}", phase.advice(name)));
                }
            }
            Ok(())
        }
    }
}

fn table(rows: &Rows, format: Format, now: Timestamp) -> Table {
    let is_wide = format == Format::Wide;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    match rows {
        Rows::Clusters(rows) => {
            let mut head =
                vec!["NAME", "PHASE", "AVAILABLE", "CONTROL PLANES", "WORKERS", "VERSION", "AGE"];
            if is_wide {
                head.extend(["ENDPOINT", "NAMESPACE"]);
            }
            let mut table = Table::new(head);
            for row in rows {
                let count = |count: Count| format!("{}/{}", count.ready, count.total);
                let mut cells = vec![
                    row.name.clone(),
                    row.phase.clone(),
                    if row.available { "True" } else { "False" }.to_owned(),
                    count(row.control_planes),
                    count(row.workers),
                    text(&row.kubernetes_version),
                    age(row.created_at.as_deref(), now),
                ];
                if is_wide {
                    cells.extend([text(&row.endpoint), row.namespace.clone()]);
                }
                table.row(cells);
            }
            table
        }
        Rows::Machines(rows) => {
            let mut head =
                vec!["NAME", "CLUSTER", "ROLE", "PHASE", "READY", "ADDRESS", "VERSION", "AGE"];
            if is_wide {
                head.extend(["NODE", "IMAGE", "ISOLATION", "NAMESPACE"]);
            }
            let mut table = Table::new(head);
            for row in rows {
                let mut cells = vec![
                    row.name.clone(),
                    row.cluster.clone(),
                    row.role.to_owned(),
                    row.phase.clone(),
                    if row.ready { "True" } else { "False" }.to_owned(),
                    text(&row.address),
                    text(&row.kubernetes_version),
                    age(row.created_at.as_deref(), now),
                ];
                if is_wide {
                    cells.extend([
                        text(&row.node),
                        text(&row.image),
                        text(&row.isolation),
                        row.namespace.clone(),
                    ]);
                }
                table.row(cells);
            }
            table
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_as_short_as_kubectl_says_them() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let cases = [
            ("2026-01-09T23:59:15Z", "45s"),
            ("2026-01-09T23:48:00Z", "12m"),
            ("2026-01-09T19:00:00Z", "5h"),
            ("2026-01-07T00:00:00Z", "3d"),
        ];
        for (created, shown) in cases {
            assert_eq!(age(Some(created), now), shown);
        }
        assert_eq!(age(None, now), "");
    }
}
