//! What was acknowledged is there after a kill.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use kube_plane::{Error, Plane, PlaneOptions};

/// The example that writes, beside the test binary: cargo builds both.
fn writer() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/writer")
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let writer = writer();
    if !writer.exists() {
        println!("SKIPPED: {} is not built; run `cargo test` without filters", writer.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    // Each round goes on with the file that the killed process before left.
    for round in 1..=5 {
        let mut child = Command::new(&writer).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..round * 7 {
            let line = lines.next().expect("the writer goes on").unwrap();
            let (name, revision) = line.split_once(' ').unwrap();
            acknowledged.push((name.to_owned(), revision.to_owned()));
        }
        let options = PlaneOptions { path: Some(path.clone()), ..PlaneOptions::default() };
        let error = Plane::open(options).await.unwrap_err();
        assert!(
            matches!(error, Error::Locked { pid, .. } if pid == Some(child.id())),
            "the holder is named: {error}"
        );
        child.kill().unwrap();
        // Lines that were already printed were acknowledged too.
        for line in lines.map_while(Result::ok) {
            if let Some((name, revision)) = line.split_once(' ') {
                acknowledged.push((name.to_owned(), revision.to_owned()));
            }
        }
        child.wait().unwrap();
        let options = PlaneOptions { path: Some(path.clone()), ..PlaneOptions::default() };
        let plane = Plane::open(options).await.unwrap();
        let api: Api<ConfigMap> = Api::default_namespaced(plane.client());
        for (name, revision) in &acknowledged {
            let map = api.get(name).await.unwrap();
            assert_eq!(map.resource_version().as_ref(), Some(revision), "{name}");
            assert!(map.data.is_some(), "{name}");
        }
        plane.close().await;
    }
}
