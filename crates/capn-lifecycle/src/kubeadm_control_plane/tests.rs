//! Table-driven tests of the control plane.

use capi_api::bootstrap::EncryptionAlgorithm;
use capi_api::controlplane::machine_conditions as health;
use capi_api::{Cluster, KubeadmConfig, KubeadmControlPlane, Machine, conditions, labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::desired::{in_place_change, kubeadm_config_spec, machine, machine_name};
use super::health::{Components, EtcdState, View, of_machine};
use super::kubelet_access::{Access, is_needed};
use super::observe::{Observed, OwnedMachine};
use super::plan::plan;
use super::preflight::failure_domain;
use super::report::{StatusInputs, machine_conditions, status};
use super::step::{Action, Plan, WaitingOn};
use super::up_to_date::differences;
use super::upgrade::{document, with_tag};
use super::validate::validate;
use crate::kubeconfig::{Kubeconfig, render};
use crate::lookup::Lookup;
use crate::pki::{ClientIdentity, PemPair, Purpose, client_certificate};
use crate::workload::etcd;

mod coredns;
mod deciding;
mod kube_proxy;
mod leaving;
mod machines;
mod members;
mod remediating;
mod reporting;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn kcp(spec: Value) -> KubeadmControlPlane {
    let mut value = json!({
        "metadata": {
            "name": "cp", "namespace": "default", "uid": "uid-cp", "generation": 1,
            "finalizers": ["kubeadm.controlplane.cluster.x-k8s.io"],
        },
        "spec": {
            "replicas": 1,
            "version": "v1.36.0",
            "machineTemplate": { "spec": {
                "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t" },
            }},
        },
    });
    for (key, part) in spec.as_object().unwrap() {
        value["spec"][key] = part.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "metadata": { "name": "c", "namespace": "default", "uid": "uid-c" },
        "spec": { "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 } },
        "status": { "initialization": { "infrastructureProvisioned": true } },
    }))
    .unwrap()
}

fn kubeconfig() -> Secret {
    let ca = PemPair::authority(EncryptionAlgorithm::EcdsaP256, None, now()).unwrap();
    let identity = ClientIdentity { user: "kubernetes-admin", group: "system:masters" };
    let year = SignedDuration::from_hours(24 * 365);
    let client = client_certificate(&ca, identity, now(), year).unwrap();
    let text = render(&Kubeconfig {
        cluster: "c",
        server: "https://192.0.2.1:6443",
        authority: &ca.certificate,
        client: &client,
    });
    Secret {
        type_: Some("cluster.x-k8s.io/secret".into()),
        data: Some([("value".to_owned(), ByteString(text.into_bytes()))].into()),
        ..Secret::default()
    }
}

/// A machine as the control plane creates it, with an instance, created `age` seconds ago.
fn owned(kcp: &KubeadmControlPlane, name: &str, age: i64) -> OwnedMachine {
    let mut machine = machine(kcp, "c", name, None);
    machine.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_secs(age)));
    machine.status = Some(
        serde_json::from_value(json!({ "initialization": { "infrastructureProvisioned": true } }))
            .unwrap(),
    );
    let version = validate(kcp).unwrap().version;
    let config = KubeadmConfig::new(name, kubeadm_config_spec(kcp, &version, false));
    let infrastructure: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "i.io/v1", "kind": "FooMachine",
        "metadata": { "name": name, "annotations": {
            "cluster.x-k8s.io/cloned-from-name": "t",
            "cluster.x-k8s.io/cloned-from-groupkind": "FooMachineTemplate.i.io",
        }},
    }))
    .unwrap();
    OwnedMachine { machine, config: Some(config), infrastructure: Some(infrastructure) }
}

/// A machine that waits for another one to initialize the control plane.
fn joining(kcp: &KubeadmControlPlane, name: &str) -> OwnedMachine {
    let mut owned = owned(kcp, name, 4);
    let version = validate(kcp).unwrap().version;
    owned.config = Some(KubeadmConfig::new(name, kubeadm_config_spec(kcp, &version, true)));
    owned
}

/// A machine with a node and a known certificate expiry.
fn with_node(mut owned: OwnedMachine) -> OwnedMachine {
    let name = owned.name();
    let known = (labels::CERTIFICATES_EXPIRY.to_owned(), "2100-01-01T00:00:00Z".to_owned());
    owned.config.as_mut().unwrap().annotations_mut().extend([known]);
    let status = owned.machine.status.as_mut().unwrap();
    status.node_ref = Some(capi_api::core::NodeRef { name });
    owned
}

/// A machine that passes all preflight checks.
fn well(owned: OwnedMachine) -> OwnedMachine {
    let mut owned = with_node(owned);
    let all: Vec<Value> = [
        health::API_SERVER_POD_HEALTHY,
        health::CONTROLLER_MANAGER_POD_HEALTHY,
        health::SCHEDULER_POD_HEALTHY,
        health::ETCD_POD_HEALTHY,
        health::ETCD_MEMBER_HEALTHY,
        conditions::READY,
        conditions::AVAILABLE,
    ]
    .map(|kind| {
        json!({
            "type": kind, "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        })
    })
    .into();
    let status = owned.machine.status.as_mut().unwrap();
    status.conditions = Some(serde_json::from_value(Value::Array(all)).unwrap());
    owned
}

fn deleting(mut owned: OwnedMachine, reason: &str) -> OwnedMachine {
    owned.machine.metadata.deletion_timestamp = Some(Time(now()));
    let status = owned.machine.status.as_mut().unwrap();
    status.conditions = Some(
        serde_json::from_value(json!([{
            "type": "Deleting", "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }]))
        .unwrap(),
    );
    owned
}

fn observation(machines: Vec<OwnedMachine>) -> Observed {
    let template = json!({
        "apiVersion": "i.io/v1", "kind": "FooMachineTemplate",
        "metadata": { "name": "t", "ownerReferences": [{
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
        }]},
    });
    let pair = PemPair { certificate: "c".into(), private_key: "k".into() };
    Observed {
        cluster: Some(cluster()),
        certificates: Purpose::GENERATED.map(|purpose| (purpose, pair.clone())).into(),
        kubeconfig: Some(kubeconfig()),
        template: Lookup::Found(Box::new(serde_json::from_value(template).unwrap())),
        initialized: machines.iter().any(|owned| owned.machine.node_name().is_some()),
        machines,
        others: Vec::new(),
        is_other_older: false,
        orphans: Vec::new(),
        view: View::NotYet,
    }
}

fn decide(kcp: &KubeadmControlPlane, observed: &Observed) -> Plan {
    let valid = validate(kcp);
    plan(kcp, observed, valid.as_ref(), now())
}

/// Formats a plan.
fn words(plan: &Plan) -> String {
    let mut words: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::AddFinalizer => "add finalizer".into(),
            Action::RemoveFinalizer => "remove finalizer".into(),
            Action::OwnTemplate(_) => "own template".into(),
            Action::MakeCertificates(purposes) => format!("make {} certificates", purposes.len()),
            Action::WriteKubeconfig => "write kubeconfig".into(),
            Action::Sync { machine, .. } => format!("sync {machine}"),
            Action::DeleteOrphans(orphans) => format!("delete {} orphans", orphans.len()),
            Action::DropHook { machine } => format!("let go of {machine}"),
            Action::TransferLeadership { from, .. } => format!("{from} hands over"),
            Action::RemoveMember { via, member } => format!("remove member {member} via {via}"),
            Action::WriteKubeletAccess(_) => "let API servers reach kubelets".into(),
            Action::UpdateKubeadmConfig => "update kubeadm-config".into(),
            Action::UpdateKubeProxy => "update kube-proxy".into(),
            Action::RollKubeProxy(_) => "roll kube-proxy".into(),
            Action::UpdateCoreDns => "update CoreDNS".into(),
            Action::NoteExpiry { node, port, .. } => format!("ask {node}:{port} for its end"),
            Action::Create { join, replaces, .. } => {
                let how = if *join { "join" } else { "initialize" };
                let record = replaces.as_ref();
                record.map_or(how.into(), |old| format!("{how} for {}", old.machine))
            }
            Action::Delete { machine } => format!("delete {machine}"),
            Action::NoteRemediation(record) => {
                format!("note {} {}", record.machine, record.retry_count)
            }
            Action::ForgetRemediation => "forget the note".into(),
        })
        .collect();
    if let Some(on) = &plan.waiting {
        let text = format!("{on:?}");
        let name = text.split(['(', ' ']).next().unwrap_or_default();
        words.push(format!("wait for {name}"));
    }
    words.join(", ")
}
