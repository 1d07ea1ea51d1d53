//! Runs the scripts on this machine in temporary directories.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// Stand-in for etcdutl.
const ETCDUTL: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --data-dir) mkdir -p "$2/member" && echo restored >"$2/member/db" ;; esac
  shift
done
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(place.path("work")).unwrap();
        let program = place.path("work/etcdutl");
        std::fs::write(&program, ETCDUTL).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn get(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path(path)).ok()
    }

    fn run(&self, script: &str) -> bool {
        let vars =
            [("WORK", "work"), ("DATA", "etcd"), ("ASIDE", "aside"), ("MANIFESTS", "manifests")];
        let mut command = Command::new("sh");
        command.args(["-c", script]).envs(vars.map(|(name, path)| (name, self.path(path))));
        command.envs([
            ("ID", "1"),
            ("NAME", "a"),
            ("PEER", "https://10.0.0.3:2380"),
            ("BUMP", BUMP),
        ]);
        command.envs([("SHA256", "6bd2a9b4e8b3c2f1")]);
        command.status().unwrap().success()
    }
}

#[test]
fn the_data_takes_the_place_of_the_old_wherever_an_earlier_run_ended() {
    let old = |place: &Place| place.put("etcd/member/db", "old");
    type Begin = Box<dyn Fn(&Place)>;
    let table: [(&str, Begin, Option<&str>); 5] = [
        ("from the beginning", Box::new(old), Some("old")),
        (
            "while etcdutl worked",
            Box::new(move |place| {
                old(place);
                place.put("etcd.restored-1/member/half", "half");
            }),
            Some("old"),
        ),
        (
            "between the two renames",
            Box::new(|place| {
                place.put("etcd.before-1/member/db", "old");
                place.put("etcd.restored-1/member/db", "restored");
            }),
            Some("old"),
        ),
        (
            "at the end",
            Box::new(|place| {
                place.put("etcd.before-1/member/db", "old");
                place.put("etcd/member/db", "restored");
            }),
            Some("old"),
        ),
        ("the data was lost", Box::new(|_| ()), None),
    ];
    for (what, begin, kept) in table {
        let place = Place::new();
        begin(&place);
        assert!(place.run(RESTORE), "{what}");
        assert!(place.run(IS_RESTORED), "{what}");
        assert_eq!(place.get("etcd/member/db").unwrap().trim(), "restored", "{what}");
        assert_eq!(place.get("etcd.before-1/member/db").as_deref(), kept, "{what}");
        assert!(!place.path("etcd.restored-1").exists(), "{what}");
        assert!(place.path("etcd.before-1").exists(), "{what}");
    }
}

#[test]
fn data_that_is_there_is_never_written_over() {
    let place = Place::new();
    place.put("etcd.before-1/member/db", "old");
    place.put("etcd.restored-1/member/db", "restored");
    place.put("etcd/member/db", "somebody's");
    assert!(!place.run(RESTORE));
    assert_eq!(place.get("etcd/member/db").as_deref(), Some("somebody's"));
}

#[test]
fn manifests_go_aside_and_come_back() {
    let place = Place::new();
    for name in ["etcd", "kube-apiserver", "kube-scheduler", "kube-vip"] {
        place.put(&format!("manifests/{name}.yaml"), name);
    }
    for _ in 0..2 {
        assert!(place.run(MOVE_ASIDE));
        assert_eq!(names(&place.path("manifests")), ["kube-vip.yaml"]);
        assert_eq!(
            names(&place.path("aside")),
            ["etcd.yaml", "kube-apiserver.yaml", "kube-scheduler.yaml"]
        );
    }
    // There is no kubelet here.
    let script = MOVE_BACK.replace("systemctl start kubelet", "true");
    assert!(script != MOVE_BACK && place.run(&script));
    assert_eq!(names(&place.path("manifests")).len(), 4);
    assert!(!place.path("aside").exists());
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_that_is_not_there_or_another_is_sent() {
    let place = Place::new();
    assert!(!place.run(HAS_SNAPSHOT));
    place.put("work/snapshot.db", "another");
    assert!(!place.run(HAS_SNAPSHOT));
    let sum = sha256_of("another");
    assert!(place.run(&format!("SHA256={sum}\n{HAS_SNAPSHOT}")));
}

fn sha256_of(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text))
}
