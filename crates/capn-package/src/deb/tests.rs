use std::{collections::BTreeMap, io::Read};

use super::*;

fn package(version: &str, epoch: u64) -> (String, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let binary = Utf8Path::from_path(dir.path()).unwrap().join("capn");
    std::fs::write(&binary, "#!/bin/sh\necho capn 0.1.0\n").unwrap();
    let release = Release::new(version, "example.org/capn:v0.1.0").unwrap();
    let completions =
        Completions { bash: "b".to_owned(), fish: "f".to_owned(), zsh: "z".to_owned() };
    let request = DebRequest {
        release: &release,
        binary: &binary,
        completions: &completions,
        manuals: &BTreeMap::from([("capn-up.1".to_owned(), b"page".to_vec())]),
        changelog: "# Changes\n",
        architecture: "amd64",
        epoch,
        depends: "",
    };
    let mut bytes = Vec::new();
    write(&request, &mut bytes).unwrap();
    (file_name(&request), bytes)
}

/// Mode and content of each file, by path.
fn unpack(tar_gz: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(tar_gz));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mode = entry.header().mode().unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, (mode, content))
    });
    entries.collect()
}

fn members(deb: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ar::Archive::new(deb);
    let mut members = Vec::new();
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.header().identifier().to_vec()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        members.push((name, content));
    }
    members
}

#[test]
fn the_package_contains_binary_completions_manual_pages_and_unit() {
    let (name, deb) = package("v0.1.0", 1_700_000_000);
    assert_eq!(name, "capn_0.1.0_amd64.deb");
    let members = members(&deb);
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
    assert_eq!(members[0].1, b"2.0\n");
    let control = unpack(&members[1].1);
    let text = String::from_utf8(control["control"].1.clone()).unwrap();
    assert!(text.contains("Package: capn\nVersion: 0.1.0\n"), "{text}");
    assert!(!text.contains("Depends:"), "{text}");
    assert_eq!(control["postinst"].0, 0o755);
    let data = unpack(&members[2].1);
    assert_eq!(data["usr/bin/capn"].0, 0o755);
    let page = &data["usr/share/man/man1/capn-up.1.gz"].1;
    let mut text = String::new();
    flate2::read::GzDecoder::new(page.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "page");
    assert_eq!(data["usr/share/zsh/vendor-completions/_capn"].1, b"z");
    assert_eq!(data["usr/share/bash-completion/completions/capn"].1, b"b");
    assert!(data.contains_key("usr/share/doc/capn/changelog.gz"));
    let unit = String::from_utf8(data["usr/lib/systemd/system/capn.service"].1.clone()).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/capn"), "{unit}");
}

#[test]
fn the_package_is_reproducible() {
    assert_eq!(package("0.1.0", 5), package("0.1.0", 5));
    assert_ne!(package("0.1.0", 5).1, package("0.1.0", 6).1);
}

#[test]
fn a_release_candidate_sorts_before_its_release() {
    let (name, _) = package("v0.1.0-rc.1", 5);
    assert_eq!(name, "capn_0.1.0~rc.1_amd64.deb");
}
