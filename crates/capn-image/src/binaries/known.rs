//! Digests that are part of capn.
//!
//! A digest from the source of a file shows that the file is complete, but not who wrote it. These
//! digests are independent of the source.

/// In the format of `sha256sum`, with URL suffixes as names.
const SUMS: &str = include_str!("SHA256SUMS");

/// Returns the known digest of the file at a URL.
pub(super) fn digest(url: &str) -> Option<&'static str> {
    entries().find(|(_, end)| is_at(url, end)).map(|(digest, _)| digest)
}

fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUMS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once("  "))
}

/// Compares whole path segments, so that no name is a suffix of another.
fn is_at(url: &str, end: &str) -> bool {
    url.strip_suffix(end).is_some_and(|base| base.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_a_digest_of_a_distinct_file() {
        let mut seen = BTreeSet::new();
        for (digest, end) in entries() {
            let is_digest = digest.len() == 64 && digest.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_digest, "{digest} {end}");
            assert!(seen.insert(end), "{end} is listed twice");
        }
        assert!(seen.len() > 100, "{}", seen.len());
    }

    #[test]
    fn known_digests_are_matched_by_url_suffix() {
        let base = "https://dl.k8s.io/release";
        assert!(digest(&format!("{base}/v1.36.3/bin/linux/amd64/kubeadm")).is_some());
        for other in ["xv1.36.3/bin/linux/amd64/kubeadm", "v0.0.0/bin/linux/amd64/kubeadm"] {
            assert_eq!(digest(&format!("{base}/{other}")), None);
        }
    }
}
