use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

pub(crate) fn record(reason: Reason, taken: &str) -> Record {
    Record {
        cluster: "demo".into(),
        namespace: "default".into(),
        uid: "u-1".into(),
        taken: taken.parse().unwrap(),
        reason,
        size_bytes: 2080,
        sha256: "ab".into(),
        revision: Some(7),
        etcd_version: Some("3.6.8".into()),
        kubernetes_version: Some("v1.37.2".into()),
        node: "demo-control-plane-0".into(),
    }
}

fn folder() -> (tempfile::TempDir, Folder) {
    let held = tempfile::tempdir().unwrap();
    let state = StateDir::at(held.path().join("state").to_str().unwrap());
    (held, Folder::of(&state, "default", "demo").unwrap())
}

fn mode(path: &Utf8Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn write(folder: &Folder, record: &Record) -> Utf8PathBuf {
    let draft = Draft::within(folder).unwrap();
    draft.file.as_file().write_all(b"data").unwrap();
    draft.keep(record).unwrap()
}

#[test]
fn a_snapshot_is_for_its_user_alone_and_named_by_its_time() {
    let (_held, folder) = folder();
    let first = write(&folder, &record(Reason::Hand, "2026-12-01T08:00:00Z"));
    let second = write(&folder, &record(Reason::Upgrade, "2026-12-01T08:00:00Z"));
    write(&folder, &record(Reason::Schedule, "2026-12-02T08:00:00Z"));
    assert_eq!(first.file_name(), Some("20261201T080000Z.db"));
    assert_eq!(second.file_name(), Some("20261201T080000Z_1.db"));
    assert_eq!((mode(&first), mode(&Record::path(&first))), (0o600, 0o600));
    assert_eq!(mode(folder.path()), 0o700);
    let listed = folder.list().unwrap();
    let seen: Vec<_> = listed.iter().map(|kept| kept.record.as_ref().unwrap().reason).collect();
    assert_eq!(seen, [Reason::Schedule, Reason::Upgrade, Reason::Hand]);
    folder.remove(&listed[0].name).unwrap();
    assert_eq!(names(folder.path()).unwrap().len(), 4);
}

#[test]
fn what_a_killed_run_left_goes_with_the_next_and_what_another_writes_stays() {
    let (_held, folder) = folder();
    let writing = Draft::within(&folder).unwrap();
    let left = folder.path().join(".capn-etcd-x.partial");
    std::fs::write(&left, "half").unwrap();
    let other = folder.path().join(".else.partial");
    std::fs::write(&other, "somebody's").unwrap();
    drop(Draft::within(&folder).unwrap());
    assert!(!left.exists() && other.exists() && writing.file.path().exists());
    assert_eq!(folder.list().unwrap().len(), 0);
    let path = writing.file.path().to_owned();
    drop(writing);
    assert!(!path.exists());
}

#[test]
fn no_file_is_written_over() {
    let (held, _) = folder();
    let path = Utf8PathBuf::from_path_buf(held.path().join("mine.db")).unwrap();
    let first = Draft::at(&path).unwrap();
    let second = Draft::at(&path).unwrap();
    assert_eq!(first.keep(&record(Reason::Hand, "2026-12-01T08:00:00Z")).unwrap(), path);
    let error = second.keep(&record(Reason::Hand, "2026-12-01T08:00:00Z")).unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert!(Draft::at(&path).unwrap_err().to_string().contains("already exists"));
    assert_eq!(names(path.parent().unwrap()).unwrap().len(), 2);
}

#[test]
fn names_that_lead_elsewhere_are_no_clusters() {
    let state = StateDir::at("/state");
    for name in ["", "..", ".", "a/b", "../x", "a\0"] {
        assert!(Folder::of(&state, "default", name).is_err(), "{name:?}");
        assert!(Folder::of(&state, name, "demo").is_err(), "{name:?}");
    }
}
