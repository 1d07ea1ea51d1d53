//! Digests that are part of capn.
//!
//! A digest from the place that a file comes from tells that the file is whole, and nothing of who wrote
//! it. These were there before.

/// In the format of `sha256sum`, with ends of URLs for names.
const SUMS: &str = include_str!("SHA256SUMS");

/// The digest of the file at a URL.
pub(super) fn digest(url: &str) -> Option<&'static str> {
    entries().find(|(_, end)| is_at(url, end)).map(|(digest, _)| digest)
}

fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUMS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once("  "))
}

/// Whole parts of the path, so that no name is the end of another.
fn is_at(url: &str, end: &str) -> bool {
    url.strip_suffix(end).is_some_and(|base| base.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_line_is_a_digest_of_a_file_of_its_own() {
        let mut seen = BTreeSet::new();
        for (digest, end) in entries() {
            let is_digest = digest.len() == 64 && digest.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_digest, "{digest} {end}");
            assert!(seen.insert(end), "{end} is there twice");
        }
        assert!(seen.len() > 100, "{}", seen.len());
    }

    #[test]
    fn a_file_is_known_by_the_whole_end_of_its_url() {
        let base = "https://dl.k8s.io/release";
        assert!(digest(&format!("{base}/v1.36.3/bin/linux/amd64/kubeadm")).is_some());
        for other in ["xv1.36.3/bin/linux/amd64/kubeadm", "v0.0.0/bin/linux/amd64/kubeadm"] {
            assert_eq!(digest(&format!("{base}/{other}")), None);
        }
    }
}
