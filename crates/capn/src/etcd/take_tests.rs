use std::sync::atomic::Ordering;

use kube::api::PostParams;
use serde_json::{Value, json};

use super::*;
use crate::etcd::testing::{Etcd, make_authority};
use crate::session::{Need, Session};

/// Objects of a cluster, after a change.
fn objects(change: impl Fn(&mut Value, &mut Value)) -> (Cluster, KubeadmControlPlane) {
    let mut cluster = json!({
        "metadata": { "name": "demo", "namespace": "default", "uid": "u" },
        "spec": {},
        "status": { "initialization": { "controlPlaneInitialized": true } },
    });
    let mut plane = json!({
        "metadata": { "name": "demo-control-plane", "namespace": "default" },
        "spec": { "version": "v1.37.2", "machineTemplate": { "spec": { "infrastructureRef": {
            "apiGroup": "a", "kind": "B", "name": "c" } } } },
    });
    change(&mut cluster, &mut plane);
    (serde_json::from_value(cluster).unwrap(), serde_json::from_value(plane).unwrap())
}

#[test]
fn what_has_no_etcd_of_ours_that_runs_is_passed_over() {
    let external = json!({ "external": { "endpoints": ["https://10.0.0.9:2379"],
        "caFile": "a", "certFile": "b", "keyFile": "c" } });
    type Change = fn(&mut Value, &mut Value, &Value);
    let table: [(&str, Change, Result<(), Unfit>); 5] = [
        ("fine", |_, _, _| (), Ok(())),
        ("paused", |cluster, _, _| cluster["spec"]["paused"] = json!(true), Err(Unfit::Paused)),
        ("new", |cluster, _, _| cluster["status"] = json!({}), Err(Unfit::NotInitialized)),
        (
            "leaving",
            |cluster, _, _| {
                cluster["metadata"]["deletionTimestamp"] = json!("2026-12-01T08:00:00Z");
            },
            Err(Unfit::Leaving),
        ),
        (
            "external",
            |_, plane, etcd| {
                plane["spec"]["kubeadmConfigSpec"]["clusterConfiguration"]["etcd"] = etcd.clone();
            },
            Err(Unfit::External),
        ),
    ];
    for (what, change, expected) in table {
        let (cluster, plane) = objects(|cluster, plane| change(cluster, plane, &external));
        assert_eq!(fitness(&cluster, Some(&plane)), expected, "{what}");
    }
    let (cluster, _) = objects(|_, _| ());
    assert_eq!(fitness(&cluster, None), Err(Unfit::NoControlPlane));
}

/// A plane with a cluster that has one control plane machine.
async fn world() -> (tempfile::TempDir, StateDir, Session) {
    let held = tempfile::tempdir().unwrap();
    let state = StateDir::at(held.path().join("state").to_str().unwrap());
    let session = Session::open(&state, Need::Objects).await.unwrap();
    crate::etcd::testing::make_cluster(session.client()).await;
    make_authority(session.client()).await;
    (held, state, session)
}

const WANTED: Wanted<'static> =
    Wanted { namespace: "default", cluster: "demo", reason: Reason::Hand, output: None };

#[tokio::test]
async fn a_snapshot_is_kept_with_what_is_known_of_it() {
    let (held, state, session) = world().await;
    let etcd = Etcd::default();
    let keeper = Keeper::of(&state).with(etcd.workloads(session.client()));
    let (path, record) = keeper.take(session.client(), WANTED).await.unwrap();
    assert_eq!(record.revision, Some(42));
    assert_eq!(record.kubernetes_version.as_deref(), Some("v1.37.2"));
    assert_eq!((record.size_bytes, std::fs::metadata(&path).unwrap().len()), (544, 544));
    assert_eq!(Record::read(&path).unwrap(), record);

    let file = Utf8PathBuf::from_path_buf(held.path().join("mine.db")).unwrap();
    let wanted = Wanted { output: Some(&file), ..WANTED };
    assert_eq!(keeper.take(session.client(), wanted).await.unwrap().0, file);
    let error = keeper.take(session.client(), wanted).await.unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(etcd.snapshots.load(Ordering::Relaxed), 2);
    let listed = keeper.folder("default", "demo").unwrap().list().unwrap();
    assert_eq!(listed.len(), 1, "the file elsewhere is not listed");
    session.close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_kept_of_a_snapshot_that_is_damaged() {
    let (_held, state, session) = world().await;
    let etcd = Etcd { is_broken: true, ..Etcd::default() };
    let keeper = Keeper::of(&state).with(etcd.workloads(session.client()));
    let error = keeper.take(session.client(), WANTED).await.unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    let folder = keeper.folder("default", "demo").unwrap();
    assert_eq!(folder.path().read_dir_utf8().unwrap().count(), 0);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_is_not_there_has_no_snapshots() {
    let held = tempfile::tempdir().unwrap();
    let state = StateDir::at(held.path().join("state").to_str().unwrap());
    let session = Session::open(&state, Need::Objects).await.unwrap();
    let error = Keeper::of(&state).take(session.client(), WANTED).await.unwrap_err();
    assert!(error.to_string().contains("cluster `demo` does not exist"), "{error}");
    let secrets: Api<Secret> = Api::namespaced(session.client().clone(), "default");
    assert!(secrets.create(&PostParams::default(), &Secret::default()).await.is_err());
    session.close().await.unwrap();
}
