use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::mutate::{Chance, mutate};

/// How many are tried for each target, beside the corpus. `CAPN_FUZZ_ROUNDS` for more.
const ROUNDS: usize = 150;
/// The longest that one may take, on a machine that does other things as well.
const LONGEST: Duration = Duration::from_secs(20);

fn corpus_of(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs each of `inputs` on a thread with the stack of a worker, and fails by naming what was given.
fn all_return(target: Target, inputs: impl Iterator<Item = Vec<u8>> + Send + 'static) {
    let (tell, told) = mpsc::channel();
    let run = move || {
        for input in inputs {
            // Before it is given, so that the one that ends the thread is known.
            let shown: String = String::from_utf8_lossy(&input).chars().take(300).collect();
            tell.send(Some(shown)).unwrap();
            (target.run)(&input);
        }
        tell.send(None).unwrap();
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    let mut last = String::new();
    loop {
        match told.recv_timeout(LONGEST) {
            Ok(Some(input)) => last = input,
            Ok(None) => return,
            Err(error) => panic!("{}: {error} with {last:?}", target.name),
        }
    }
}

fn try_all(names: &[&str]) {
    let rounds = std::env::var("CAPN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    for name in names {
        let target = target(name).unwrap();
        let corpus = corpus_of(&target);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        let mut chance = Chance::new(name.len() as u64);
        let entries = corpus.clone();
        let mutated = (0..rounds.unwrap_or(ROUNDS)).map(move |_| mutate(&corpus, &mut chance));
        all_return(target, entries.into_iter().chain(mutated));
    }
}

#[test]
fn bodies_and_patches_of_anybody_are_answered() {
    try_all(&["json_body", "yaml_body", "protobuf_body", "json_patch", "merge_patch"]);
}

#[test]
fn applied_and_managed_fields_of_anybody_are_answered() {
    try_all(&["strategic_patch", "apply", "managed_fields"]);
}

#[test]
fn addresses_and_definitions_of_anybody_are_answered() {
    try_all(&["selectors", "paths", "cel_rule", "definition"]);
}

#[test]
fn texts_of_tenants_are_read_or_refused() {
    try_all(&[
        "haproxy_template",
        "cluster_template",
        "cluster_class",
        "cloud_config",
        "words",
        "kubeconfig",
        "identity",
    ]);
}

#[test]
fn what_servers_send_is_read_or_refused() {
    try_all(&["simplestreams", "image_archive", "incus_answer"]);
}

#[test]
fn every_target_is_tried_and_has_a_program_for_libfuzzer() {
    let tests = include_str!("tests.rs");
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(tests.contains(&format!("\"{}\"", target.name)), "{} is not tried", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
}
