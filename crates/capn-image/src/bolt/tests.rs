//! What is written is read again; what is damaged is refused.

use super::*;

const EPOCH: i64 = 1_700_000_000;

fn bucket(entries: impl IntoIterator<Item = (&'static str, Entry)>) -> Bucket {
    let entries = entries.into_iter().map(|(key, entry)| (key.as_bytes().to_vec(), entry));
    Bucket { sequence: 0, entries: entries.collect() }
}

fn value(text: impl AsRef<[u8]>) -> Entry {
    Entry::Value(text.as_ref().to_vec())
}

/// As containerd's: nested, with times; small, large and empty buckets.
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
fn what_is_written_is_read_again() {
    for root in [Bucket::default(), bucket([("a", value("b"))]), sample(EPOCH)] {
        let bytes = write::database(&root, 4096);
        assert_eq!(bytes.len() % 4096, 0);
        assert_eq!(read::database(&bytes), Ok((root, 4096)));
    }
}

#[test]
fn the_same_contents_of_another_time_become_the_same_bytes() {
    let one = write::database(&sample(EPOCH), 4096);
    let other = write::database(&sample(EPOCH + 1_000), 4096);
    assert_ne!(one, other);
    let settled = settle(&one, EPOCH).unwrap();
    assert_eq!(settled, settle(&other, EPOCH).unwrap());
    assert_eq!(settled, settle(&settled, EPOCH).unwrap());
}

#[test]
fn a_time_is_written_as_go_writes_it() {
    // time.Unix(1700000000, 0).UTC().MarshalBinary()
    let want = [1, 0, 0, 0, 0x0e, 0xdc, 0xe5, 0xe8, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(time(EPOCH), want);
}

#[test]
fn what_is_no_database_or_damaged_is_refused() {
    assert_eq!(settle(b"", EPOCH), Err(BoltError::NoMeta));
    assert_eq!(settle(&[0; 20_000], EPOCH), Err(BoltError::NoMeta));
    let whole = write::database(&sample(EPOCH), 4096);
    let cut = whole.get(..5 * 4096).unwrap();
    assert!(matches!(settle(cut, EPOCH), Err(BoltError::Damaged { .. })));
}
