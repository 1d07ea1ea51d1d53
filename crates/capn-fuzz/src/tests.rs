use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::mutate::{Rng, mutate};

/// Number of mutations per target in addition to the corpus; set by `CAPN_FUZZ_ROUNDS`.
const ROUNDS: usize = 150;
/// Time limit of one input on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

fn corpus_of(target: &Target) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs each input on a thread with a worker's stack size. Panics with the input on failure.
fn all_return(target: Target, inputs: impl Iterator<Item = Vec<u8>> + Send + 'static) {
    let (tell, told) = mpsc::channel();
    let run = move || {
        for input in inputs {
            // Remembered before the call, so that an input that kills the thread is known.
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
        let mut chance = Rng::new(name.len() as u64);
        let entries = corpus.clone();
        let mutated = (0..rounds.unwrap_or(ROUNDS)).map(move |_| mutate(&corpus, &mut chance));
        all_return(target, entries.into_iter().chain(mutated));
    }
}

#[test]
fn arbitrary_bodies_and_patches_get_a_response() {
    try_all(&["json_body", "yaml_body", "protobuf_body", "json_patch", "merge_patch"]);
}

#[test]
fn arbitrary_applies_and_managed_fields_get_a_response() {
    try_all(&["strategic_patch", "apply", "managed_fields"]);
}

#[test]
fn arbitrary_urls_and_crds_get_a_response() {
    try_all(&["selectors", "paths", "cel_rule", "definition"]);
}

#[test]
fn tenant_text_is_parsed_or_refused() {
    try_all(&[
        "haproxy_template",
        "cluster_template",
        "cluster_class",
        "cloud_config",
        "file_template",
        "container_linux_config",
        "words",
        "kubeconfig",
        "identity",
    ]);
}

#[test]
fn server_data_is_parsed_or_refused() {
    try_all(&["simplestreams", "image_archive", "incus_answer"]);
}

#[test]
fn every_target_is_tested_and_has_a_libfuzzer_program() {
    let tests = include_str!("tests.rs");
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(tests.contains(&format!("\"{}\"", target.name)), "{} is not tested", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
}
