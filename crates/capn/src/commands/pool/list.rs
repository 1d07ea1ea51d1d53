//! `capn get pools`

use std::collections::HashMap;

use capi_api::{MachineDeployment, labels};
use capn_api::LXCMachineTemplate;
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;

use crate::cluster::pools;
use crate::commands::get::{Columns, age, created_at, readable};
use crate::error::CommandError;
use crate::ui::{Table, Ui};

/// A worker pool. Field names are stable between releases.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct PoolRow {
    namespace: String,
    name: String,
    cluster: String,
    machine_deployment: String,
    /// Desired number of machines.
    workers: i32,
    /// Current number of machines.
    machines: i32,
    ready: i32,
    up_to_date: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    flavor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profiles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    taints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

impl PoolRow {
    /// Returns the namespace and name.
    pub(in crate::commands) fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

/// Pools of all clusters, or of one, sorted by cluster and name.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(in crate::commands) async fn read(
    ui: &Ui,
    client: &Client,
    namespace: Option<&str>,
    cluster: Option<&str>,
) -> Result<Vec<PoolRow>, CommandError> {
    let deployments: Api<MachineDeployment> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let templates: Api<LXCMachineTemplate> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let templates = readable(ui, templates, "cannot list machine templates").await?;
    let templates: HashMap<_, _> =
        templates.iter().map(|found| ((found.namespace(), found.name_any()), found)).collect();
    let mut rows: Vec<PoolRow> = readable(ui, deployments, "cannot list pools")
        .await?
        .iter()
        .filter(|found| cluster.is_none_or(|cluster| found.spec.cluster_name == *cluster))
        .map(|found| {
            let name = &found.spec.template.spec.infrastructure_ref.name;
            row(found, templates.get(&(found.namespace(), name.clone())).copied())
        })
        .collect();
    rows.sort_by(|a, b| {
        fn key(row: &PoolRow) -> (&str, &str, &str) {
            (&row.namespace, &row.cluster, &row.name)
        }
        key(a).cmp(&key(b))
    });
    Ok(rows)
}

fn row(deployment: &MachineDeployment, template: Option<&LXCMachineTemplate>) -> PoolRow {
    let cluster = deployment.spec.cluster_name.clone();
    let name = deployment.name_any();
    let status = deployment.status.as_ref();
    let pool = pools::pool_of(&cluster, deployment);
    let spec = template.map(|found| &found.spec.template.spec);
    PoolRow {
        namespace: deployment.namespace().unwrap_or_default(),
        name: pools::shown(&cluster, &name),
        machine_deployment: name,
        workers: deployment.spec.replicas.unwrap_or(1),
        machines: status.and_then(|status| status.replicas).unwrap_or_default(),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
        up_to_date: status.and_then(|status| status.up_to_date_replicas).unwrap_or_default(),
        kubernetes_version: deployment.spec.template.spec.version.clone(),
        flavor: spec.map(|spec| spec.flavor.clone()).unwrap_or_default(),
        image: spec.map(|spec| spec.image.name.clone()).unwrap_or_default(),
        profiles: spec.map(|spec| spec.profiles.clone()).unwrap_or_default(),
        labels: match &pool {
            Some(pool) => pool.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            // Labels of Cluster API itself are not labels of the pool.
            None => of_template(deployment),
        },
        taints: pool.map(|pool| pool.taints).unwrap_or_default(),
        created_at: created_at(deployment.metadata.creation_timestamp.as_ref()),
        cluster,
    }
}

fn of_template(deployment: &MachineDeployment) -> Vec<String> {
    let metadata = deployment.spec.template.metadata.as_ref();
    let found = metadata.and_then(|metadata| metadata.labels.as_ref()).into_iter().flatten();
    found
        .filter(|(key, _)| ![labels::CLUSTER_NAME, labels::DEPLOYMENT_NAME].contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// Renders pools as a table.
pub(in crate::commands) fn table(rows: &[PoolRow], columns: Columns, now: Timestamp) -> Table {
    let head = ["NAME", "CLUSTER", "READY", "UP-TO-DATE", "VERSION", "FLAVOR", "AGE"];
    let mut table = Table::new(columns.head(&head, &["IMAGE", "PROFILES", "LABELS", "TAINTS"]));
    for row in rows {
        let cells = vec![
            row.name.clone(),
            row.cluster.clone(),
            format!("{}/{}", row.ready, row.workers),
            row.up_to_date.to_string(),
            row.kubernetes_version.clone().unwrap_or_default(),
            row.flavor.clone(),
            age(row.created_at.as_deref(), now),
        ];
        let wide = vec![
            row.image.clone(),
            row.profiles.join(","),
            row.labels.join(","),
            row.taints.join(","),
        ];
        table.row(columns.cells(&row.namespace, cells, wide));
    }
    table
}
