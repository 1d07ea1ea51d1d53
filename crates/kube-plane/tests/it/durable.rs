//! Acknowledged writes survive a kill.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kube_plane::{Error, Plane, PlaneOptions};
use serde_json::json;

use crate::support::{api, call, failure, get, widget, widgets};

/// The example that writes, next to the test binary: cargo builds both.
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
    // Each round continues with the file of the killed process before.
    for round in 1..=5 {
        let mut child = Command::new(&writer).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..round * 7 {
            let line = lines.next().expect("the writer continues").unwrap();
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

#[tokio::test]
async fn a_stored_object_that_cannot_be_read_is_named_and_the_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    let options = || PlaneOptions {
        path: Some(path.clone()),
        crds: vec![widgets()],
        ..PlaneOptions::default()
    };
    let plane = Plane::open(options()).await.unwrap();
    for name in ["broken", "deep", "good"] {
        let mut object = widget(name, json!({"free": {}}));
        object.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
        api(&plane.client()).create(&PostParams::default(), &object).await.unwrap();
    }
    plane.close().await;
    // As an older release could have stored them.
    let database = rusqlite::Connection::open(&path).unwrap();
    let value = |name: &str| -> Vec<u8> {
        let sql = "SELECT value FROM log WHERE name = ?1";
        database.query_row(sql, [name], |row| row.get(0)).unwrap()
    };
    let deep = String::from_utf8(value("deep")).unwrap();
    let nested = format!("{}{{}}{}", "{\"a\":".repeat(130), "}".repeat(130));
    let deep = deep.replace("\"free\":{}", &format!("\"free\":{nested}"));
    for (name, value) in [("deep", deep.as_bytes()), ("broken", &value("broken")[..40])] {
        let sql = "UPDATE log SET value = ?1 WHERE name = ?2";
        assert_eq!(database.execute(sql, rusqlite::params![value, name]).unwrap(), 1);
    }
    drop(database);

    let plane = Plane::open(options()).await.unwrap();
    let client = plane.client();
    let names: Vec<String> = api(&client)
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["good"]);
    for name in ["deep", "broken"] {
        let named = format!("cannot parse the stored object widgets.example.org/default/{name}");
        let path = format!("/apis/example.org/v1/namespaces/default/widgets/{name}");
        let mut put = widget(name, json!({}));
        put.metadata.resource_version = Some("1".to_owned());
        let put = serde_json::to_string(&put).unwrap();
        let json = "application/json";
        for (method, kind, body) in [
            ("PUT", json, put.as_str()),
            ("DELETE", json, ""),
            ("PATCH", "application/merge-patch+json", r#"{"metadata":{"finalizers":null}}"#),
            ("PATCH", "application/json-patch+json", "[]"),
        ] {
            let (code, _, message) = failure(call(&client, method, &path, kind, body).await);
            assert_eq!(code, 500, "{method} {name}: {message}");
            assert!(message.contains(&named), "{method}: {message}");
        }
        assert_eq!(failure(get(&client, &path).await).0, 500);
        let applied = widget(name, json!({}));
        let apply = Patch::Apply(&applied);
        let applied = api(&client).patch(name, &PatchParams::apply("m"), &apply).await;
        assert_eq!(failure(applied).0, 500);
    }
    let everything = (DeleteParams::default(), ListParams::default());
    api(&client).delete_collection(&everything.0, &everything.1).await.unwrap();
    assert!(api(&client).get("good").await.unwrap().metadata.deletion_timestamp.is_some());
    plane.close().await;
}
