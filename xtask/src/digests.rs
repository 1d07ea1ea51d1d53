//! Built-in checksums of official Kubernetes releases.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, bail};

/// Path of the checksums, relative to the root.
const SUMS: &str = "crates/capn-image/src/binaries/SHA256SUMS";
const BASE: &str = "https://dl.k8s.io/release";
const PROGRAMS: [&str; 7] = [
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
];

/// Downloads the published checksums of these versions and adds them. Returns an error if a
/// checksum has changed, since releases are immutable.
pub(crate) fn add(root: &Path, versions: &[String]) -> anyhow::Result<()> {
    if versions.is_empty() {
        bail!("usage: cargo xtask digests VERSION...    for example: cargo xtask digests v1.37.2");
    }
    let path = root.join(SUMS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {SUMS}"))?;
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    let mut known: BTreeMap<String, String> = lines
        .filter(|(digest, _)| !digest.starts_with('#'))
        .map(|(digest, end)| (end.to_owned(), digest.to_owned()))
        .collect();
    for version in versions {
        for architecture in ["amd64", "arm64"] {
            for program in PROGRAMS {
                let end = format!("{version}/bin/linux/{architecture}/{program}");
                let digest = fetch(&format!("{BASE}/{end}.sha256"))?;
                match known.insert(end.clone(), digest.clone()) {
                    Some(before) if before != digest => {
                        bail!("the checksum of {end} was {before} but is now published as {digest}")
                    }
                    _ => {}
                }
            }
        }
    }
    let mut written = comments.join("\n");
    written.push('\n');
    for (end, digest) in &known {
        written.push_str(&format!("{digest}  {end}\n"));
    }
    std::fs::write(&path, written).with_context(|| format!("cannot write {SUMS}"))
}

fn fetch(url: &str) -> anyhow::Result<String> {
    let output = Command::new("curl")
        .args(["--fail", "--silent", "--show-error", "--location", "--proto", "=https", url])
        .output()
        .context("cannot run curl")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let digest = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{url} does not contain a SHA-256 checksum");
    }
    Ok(digest)
}
