//! The rows of `capn get`, read from the plane.

use std::collections::HashMap;

use capi_api::conditions::{self, AVAILABLE, NODE_READY, READY};
use capi_api::{Cluster, Machine};
use capn_api::LXCMachine;
use capn_controller::watch as lists;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use super::GetArgs;
use crate::cluster::NodeRow;
use crate::error::{CommandError, Doing as _};
use crate::power::Phase;
use crate::session::Session;
use crate::ui::Ui;

/// A node and its cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterNode {
    pub(super) namespace: String,
    pub(super) cluster: String,
    #[serde(flatten)]
    pub(super) node: NodeRow,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterRow {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Phase of the object, or a [`Phase`] computed from its conditions.
    pub(super) phase: String,
    #[serde(skip)]
    pub(super) stopped: Option<Phase>,
    pub(super) available: bool,
    pub(super) control_planes: Count,
    pub(super) workers: Count,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Count {
    pub(super) ready: usize,
    pub(super) total: usize,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineRow {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) cluster: String,
    pub(super) role: &'static str,
    pub(super) phase: String,
    pub(super) ready: bool,
    pub(super) instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) isolation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<String>,
}

pub(super) fn api<K>(session: &Session, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(session.client().clone(), namespace),
        None => Api::all(session.client().clone()),
    }
}

/// Returns the objects that can be parsed. Prints a note for the others.
pub(in crate::commands) async fn readable<K: lists::Kind>(
    ui: &Ui,
    api: Api<K>,
    doing: &'static str,
) -> Result<Vec<K>, CommandError> {
    let (objects, unreadable) = lists::list(api, &ListParams::default()).await.doing(doing)?;
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
    // There may be thousands, so avoid a linear search per machine.
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
                // The objects describe the state before the cluster was stopped.
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

/// Returns the stopped clusters, by namespace and name.
async fn stopped(
    session: &Session,
    namespace: Option<&str>,
) -> Result<HashMap<(String, String), Phase>, CommandError> {
    let clusters: Api<Cluster> = api(session, namespace);
    // Unparsable clusters are reported elsewhere.
    let list = lists::list(clusters, &ListParams::default()).await.doing("cannot list clusters")?.0;
    let of = |cluster: &Cluster| {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        Some((key, Phase::of(cluster)?))
    };
    Ok(list.iter().filter_map(of).collect())
}

/// Returns whether the bootstrap data of a machine failed, which a Ready node does not reveal.
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

pub(super) async fn machines(
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

pub(super) async fn clusters(
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
        return Err(CommandError::new(format!("cluster `{name}` does not exist"))
            .hint(crate::cluster::known(&names)));
    }
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(rows)
}

/// Returns the row of a cluster with these machines.
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

pub(in crate::commands) fn created_at(time: Option<&Time>) -> Option<String> {
    time.map(|time| time.0.to_string())
}

/// Returns the age in kubectl's format: `45s`, `12m`, `5h`, `3d`.
pub(in crate::commands) fn age(created_at: Option<&str>, now: Timestamp) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_kubectl_format() {
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
