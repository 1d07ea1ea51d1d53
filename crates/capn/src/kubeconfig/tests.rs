//! What is merged into a user's kubeconfig, and what is removed again.

use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::{forget, merge};
use crate::state::StateDir;
use crate::ui::testing::captured;

const NEW: &str = "apiVersion: v1\nkind: Config\nclusters: [{name: demo, cluster: {server: b}}]\n\
    users: [{name: demo-admin, user: {token: t}}]\n\
    contexts: [{name: demo-admin@demo, context: {cluster: demo, user: demo-admin}}]\n\
    current-context: demo-admin@demo\n";
const BEFORE: &str = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\nclusters:\n\
    - {name: other, cluster: {server: x}}\n- {name: demo, cluster: {server: a}}\n\
    contexts: [{name: other, context: {cluster: other}}]\ncurrent-context: other\n";

struct TestHome {
    state: StateDir,
    path: Utf8PathBuf,
    _dir: tempfile::TempDir,
}

impl TestHome {
    fn new(before: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let path = root.join(".kube/config");
        if let Some(before) = before {
            std::fs::create_dir(root.join(".kube")).unwrap();
            std::fs::write(&path, before).unwrap();
        }
        Self { state: StateDir::at(root.join("state")), path, _dir: dir }
    }

    fn merge(&self) -> String {
        merge(&self.state, ("default", "demo"), &self.path, NEW).unwrap()
    }

    fn forget(&self) -> String {
        let (_, err, ui) = captured();
        forget(&ui, &self.state, "default", "demo").unwrap();
        err.text()
    }

    fn content(&self) -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(&self.path).unwrap()).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut content = self.content();
        change(&mut content);
        std::fs::write(&self.path, content.to_string()).unwrap();
    }
}

#[test]
fn merging_keeps_other_clusters_and_replaces_the_same_cluster() {
    let home = TestHome::new(Some(BEFORE));
    assert_eq!(home.merge(), "demo-admin@demo");
    let merged = home.content();
    assert_eq!(merged["preferences"]["colors"], true);
    let servers: Vec<&Value> =
        merged["clusters"].as_array().unwrap().iter().map(|it| &it["cluster"]["server"]).collect();
    assert_eq!(servers, ["x", "b"]);
}

#[test]
fn the_first_original_is_backed_up_privately() {
    let home = TestHome::new(Some(BEFORE));
    home.merge();
    home.merge();
    let kept = format!("{}.before-capn", home.path);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), BEFORE);
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn deleting_removes_merged_entries_and_restores_the_previous_context() {
    let home = TestHome::new(Some(BEFORE));
    home.merge();
    home.merge();
    // The namespace is the user's choice and does not change the entry's identity.
    home.change(|content| content["contexts"][1]["context"]["namespace"] = "apps".into());
    assert!(home.forget().contains("is removed from"), "it is told");
    let left = home.content();
    assert_eq!(left["clusters"], json!([{ "name": "other", "cluster": { "server": "x" } }]));
    assert_eq!(left["contexts"], json!([{ "name": "other", "context": { "cluster": "other" } }]));
    assert_eq!(left["users"], json!([]));
    assert_eq!(left["current-context"], "other");
    assert_eq!(home.forget(), "", "there is nothing more to do");
}

#[test]
fn foreign_entries_with_the_same_name_are_kept() {
    let home = TestHome::new(None);
    home.merge();
    home.change(|content| {
        content["clusters"][0]["cluster"]["server"] = "another".into();
        content["current-context"] = "mine".into();
    });
    home.forget();
    let left = home.content();
    assert_eq!(left["clusters"], json!([{ "name": "demo", "cluster": { "server": "another" } }]));
    assert_eq!(left["users"], json!([]));
    assert_eq!(left["current-context"], "mine");
}

#[test]
fn a_missing_or_invalid_kubeconfig_is_not_changed() {
    let home = TestHome::new(None);
    home.merge();
    std::fs::remove_file(&home.path).unwrap();
    assert_eq!(home.forget(), "");
    assert!(!home.path.exists());
    for text in ["a: [", "- a\n"] {
        let home = TestHome::new(Some(text));
        assert!(merge(&home.state, ("default", "demo"), &home.path, NEW).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&home.path).unwrap(), text);
    }
}
