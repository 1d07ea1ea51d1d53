//! Round trip of databases, and damaged databases.

use super::*;

const EPOCH: i64 = 1_700_000_000;

fn bucket(entries: impl IntoIterator<Item = (&'static str, Entry)>) -> Bucket {
    let entries = entries.into_iter().map(|(key, entry)| (key.as_bytes().to_vec(), entry));
    Bucket { sequence: 0, entries: entries.collect() }
}

fn value(text: impl AsRef<[u8]>) -> Entry {
    Entry::Value(text.as_ref().to_vec())
}

/// As in containerd: nested, with timestamps; small, large and empty buckets.
fn sample(when: i64) -> Bucket {
    let image = |when| {
        Entry::Bucket(bucket([
            ("createdat", value(time(when))),
            ("updatedat", value(time(when + 3))),
            ("labels", Entry::Bucket(bucket([("io.cri-containerd.image", value("managed"))]))),
        ]))
    };
    let mut many = Bucket { sequence: 7, ..Bucket::default() };
    for number in 0..2_000_u32 {
        many.entries.insert(format!("sha256:{number:064}").into_bytes(), value([1; 100]));
    }
    many.entries.insert(b"large".to_vec(), value(vec![2; 30_000]));
    bucket([
        ("version", value([8])),
        ("empty", Entry::Bucket(Bucket::default())),
        ("images", Entry::Bucket(bucket([("a", image(when)), ("b", image(when + 9))]))),
        ("many", Entry::Bucket(many)),
    ])
}

#[test]
fn databases_round_trip() {
    for root in [Bucket::default(), bucket([("a", value("b"))]), sample(EPOCH)] {
        let bytes = write::database(&root, 4096);
        assert_eq!(bytes.len() % 4096, 0);
        assert_eq!(read::database(&bytes), Ok((root, 4096)));
    }
}

#[test]
fn output_is_reproducible() {
    let one = write::database(&sample(EPOCH), 4096);
    let other = write::database(&sample(EPOCH + 1_000), 4096);
    assert_ne!(one, other);
    let normalized = normalize(&one, EPOCH).unwrap();
    assert_eq!(normalized, normalize(&other, EPOCH).unwrap());
    assert_eq!(normalized, normalize(&normalized, EPOCH).unwrap());
}

#[test]
fn a_time_is_written_as_go_writes_it() {
    // time.Unix(1700000000, 0).UTC().MarshalBinary()
    let want = [1, 0, 0, 0, 0x0e, 0xdc, 0xe5, 0xe8, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(time(EPOCH), want);
}

#[test]
fn damaged_databases_are_refused() {
    assert_eq!(normalize(b"", EPOCH), Err(BoltError::NoMeta));
    assert_eq!(normalize(&[0; 20_000], EPOCH), Err(BoltError::NoMeta));
    let whole = write::database(&sample(EPOCH), 4096);
    let cut = whole.get(..5 * 4096).unwrap();
    assert!(matches!(normalize(cut, EPOCH), Err(BoltError::Damaged { .. })));
}
