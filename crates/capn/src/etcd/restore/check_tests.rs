use super::*;
use crate::etcd::Reason;

const SUBJECT: Subject<'static> =
    Subject { namespace: "default", name: "demo", uid: "u-1", version: "v1.36.3" };

fn record() -> Record {
    Record {
        cluster: "demo".into(),
        namespace: "default".into(),
        uid: "u-1".into(),
        taken: "2026-12-01T08:00:00Z".parse().unwrap(),
        reason: Reason::Hand,
        size_bytes: 544,
        sha256: "ab".into(),
        revision: None,
        etcd_version: None,
        kubernetes_version: Some("v1.36.1".into()),
        node: String::new(),
    }
}

fn content() -> Content {
    Content { size_bytes: 544, sha256: "ab".into(), is_whole: true }
}

#[test]
fn only_a_whole_snapshot_of_this_cluster_is_taken_and_force_passes_over_doubts_alone() {
    let of = |change: fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        Some(record)
    };
    // What, the file, its record, whether it is taken, whether it is with force, and what is said.
    type Case = (&'static str, Content, Option<Record>, bool, bool, &'static str);
    let table: [Case; 8] = [
        ("fine", content(), of(|_| ()), true, true, ""),
        ("cut", Content { is_whole: false, ..content() }, of(|_| ()), false, false, "is damaged"),
        (
            "changed",
            Content { sha256: "cd".into(), ..content() },
            of(|_| ()),
            false,
            false,
            "is damaged",
        ),
        (
            "shorter",
            Content { size_bytes: 32, ..content() },
            of(|_| ()),
            false,
            false,
            "is damaged",
        ),
        ("no record", content(), None, false, true, "the cluster of the snapshot is unknown"),
        (
            "another",
            content(),
            of(|r| (r.uid, r.cluster) = ("x".into(), "b".into())),
            false,
            true,
            "`default/b`",
        ),
        (
            "an earlier cluster",
            content(),
            of(|r| r.uid = "x".into()),
            false,
            true,
            "an earlier cluster with that name",
        ),
        (
            "newer",
            content(),
            of(|r| r.kubernetes_version = Some("v1.37.0".into())),
            false,
            true,
            "was taken with Kubernetes v1.37.0",
        ),
    ];
    for (what, content, record, is_taken, is_forced, said) in table {
        let found = verdict(&content, record.as_ref(), SUBJECT, false);
        assert_eq!(found.is_ok(), is_taken, "{what}");
        if let Err(error) = found {
            assert!(error.to_string().contains(said), "{what}: {error}");
        }
        assert_eq!(verdict(&content, record.as_ref(), SUBJECT, true).is_ok(), is_forced, "{what}");
    }
}

#[test]
fn a_file_is_whole_when_it_ends_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("a.db")).unwrap();
    let database = vec![7_u8; 3 * 512];
    let mut bytes = database.clone();
    bytes.extend(Sha256::digest(&database));
    let mut table = vec![(bytes.clone(), true), (Vec::new(), false), (database, false)];
    let mut flipped = bytes.clone();
    flipped[5] ^= 1;
    table.push((flipped, false));
    table.push((bytes[..bytes.len() - 1].to_vec(), false));
    for (bytes, is_whole) in table {
        std::fs::write(&path, &bytes).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found.is_whole, found.size_bytes), (is_whole, bytes.len() as u64));
        assert_eq!(found.sha256, hex::encode(Sha256::digest(&bytes)));
    }
}
