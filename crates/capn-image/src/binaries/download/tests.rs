use sha2::{Digest, Sha256};

use super::*;

/// The releases of one version as files. Every program is a script that answers the version
/// queries.
struct TestSource {
    directory: tempfile::TempDir,
}

/// A version without known digests.
const VERSION: &str = "v1.99.0";

impl TestSource {
    fn new() -> Self {
        Self::of(VERSION)
    }

    fn of(version: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        let base = format!("release/{version}/bin/linux/{}", architecture());
        let images: String = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
            .iter()
            .chain(&["kube-proxy"])
            .map(|name| format!("registry.k8s.io/{name}:{version}\n"))
            .chain(
                ["coredns/coredns:v1.14.2", "pause:3.10.1", "etcd:3.99.8-0"]
                    .map(|image| format!("registry.k8s.io/{image}\n")),
            )
            .collect();
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\n\
             version) echo {version} ;;\n--version) echo Kubernetes {version} ;;\n\
             config) cat <<END\n{images}END\n;;\nesac\n"
        );
        for name in Programs::Kubernetes.required().iter().filter(|name| **name != "etcd") {
            place.publish(&format!("{base}/{name}"), script.as_bytes());
        }
        let etcd = "#!/bin/sh\necho 'etcd Version: 3.99.8'\n";
        let top = format!("etcd-v3.99.8-linux-{}", architecture());
        let archive = archive(&[
            (&format!("{top}/README.md"), "read me"),
            (&format!("{top}/etcd"), etcd),
            (&format!("{top}/etcdctl"), etcd),
            (&format!("{top}/etcdutl"), etcd),
        ]);
        let name = format!("{top}.tar.gz");
        place.write(&format!("etcd/v3.99.8/{name}"), &archive);
        let sums = format!("{}  other.tar.gz\n{}  {name}\n", "0".repeat(64), digest(&archive));
        place.write("etcd/v3.99.8/SHA256SUMS", sums.as_bytes());
        let coredns = archive_of_coredns();
        let name = format!("coredns_1.14.2_linux_{}.tgz", architecture());
        place.publish(&format!("coredns/v1.14.2/{name}"), &coredns);
        place
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.directory.path()).unwrap().join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn publish(&self, path: &str, bytes: &[u8]) {
        self.write(path, bytes);
        self.write(&format!("{path}.sha256"), digest(bytes).as_bytes());
    }

    fn sources(&self) -> Sources {
        let url = |path: &str| format!("file://{}", self.path(path));
        Sources { kubernetes: url("release"), etcd: url("etcd"), coredns: url("coredns") }
    }

    async fn download(&self, version: &str) -> (Result<Downloaded, BinariesError>, Vec<String>) {
        let mut fetched = Vec::new();
        let result = download(version, &self.path("into"), &self.sources(), &mut |name| {
            fetched.push(name.to_owned());
        })
        .await;
        (result, fetched)
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn archive_of_coredns() -> Vec<u8> {
    archive(&[("coredns", "#!/bin/sh\n")])
}

fn without_curl() -> bool {
    let absent = std::process::Command::new("curl").arg("--version").output().is_err();
    if absent {
        println!("SKIPPED: curl is not installed");
    }
    absent
}

#[tokio::test]
async fn a_release_is_downloaded_and_verified_once() {
    if without_curl() {
        return;
    }
    let place = TestSource::new();
    let (directory, fetched) = place.download(VERSION).await;
    let Downloaded { directory, unknown } = directory.unwrap();
    assert_eq!(unknown.len(), 9, "{unknown:?}");
    assert_eq!((directory.version(), directory.etcd_version()), (VERSION, "3.99.8"));
    for name in ["coredns", "etcdctl", "etcdutl"] {
        assert!(directory.optional(name).is_some(), "{name}");
    }
    assert_eq!(fetched.len(), 9, "{fetched:?}");
    assert!(!directory.path().join("fetched").exists());

    let (again, fetched) = place.download(VERSION).await;
    let again = again.unwrap();
    assert_eq!((again.directory, fetched.len(), again.unknown.len()), (directory, 0, 0));
}

#[tokio::test]
async fn a_file_with_a_wrong_digest_is_refused_and_others_are_kept() {
    if without_curl() {
        return;
    }
    let place = TestSource::new();
    let kubelet = format!("release/{VERSION}/bin/linux/{}/kubelet", architecture());
    let honest = std::fs::read(place.path(&kubelet)).unwrap();
    place.write(&kubelet, b"something else");
    let (refused, _) = place.download(VERSION).await;
    assert!(matches!(refused, Err(BinariesError::Checksum { .. })), "{refused:?}");

    place.write(&kubelet, &honest);
    let (directory, fetched) = place.download(VERSION).await;
    assert!(directory.is_ok());
    assert_eq!(fetched.first().map(String::as_str), Some("kubelet"));
}

#[tokio::test]
async fn known_digests_win_over_those_of_the_source() {
    if without_curl() {
        return;
    }
    // Both the file and its digest come from the source.
    let (refused, _) = TestSource::of("v1.36.3").download("v1.36.3").await;
    let Err(BinariesError::Checksum { url, wanted, .. }) = refused else { panic!("{refused:?}") };
    assert!(url.ends_with("/kubeadm"), "{url}");
    assert_eq!(known::digest(&url), Some(wanted.as_str()));
}

#[test]
fn https_redirects_stay_on_https() {
    assert_eq!(schemes("https://dl.k8s.io/x"), ["--proto", "=https"]);
    assert!(schemes("file:///x").is_empty());
}

#[tokio::test]
async fn a_missing_version_and_an_unreachable_source_differ() {
    if without_curl() {
        return;
    }
    let place = TestSource::new();
    let (result, _) = place.download("v1.99.9").await;
    assert!(matches!(result, Err(BinariesError::NoRelease { .. })), "{result:?}");
    let nowhere =
        Sources { kubernetes: "http://127.0.0.1:9/release".to_owned(), ..place.sources() };
    let result = download(VERSION, &place.path("other"), &nowhere, &mut |_| {}).await;
    assert!(matches!(result, Err(BinariesError::Download { .. })), "{result:?}");
}

#[tokio::test]
async fn a_version_is_never_a_path() {
    let place = TestSource::new();
    for version in ["../v1.36.0", "v1.36", "v1.36.0/..", "1.36.0", "v1.36.0-", "v1.a.0"] {
        let (result, _) = place.download(version).await;
        assert!(matches!(result, Err(BinariesError::NoRelease { .. })), "{version}");
    }
    assert!(is_version("v1.37.0-rc.1"));
}

#[tokio::test]
async fn a_runtime_is_downloaded_and_verified_once() {
    if without_curl() {
        return;
    }
    let place = TestSource::new();
    let containerd = archive(&[
        ("bin/containerd", "#!/bin/sh\necho containerd v2 v2.3.4 5a8e\n"),
        ("bin/containerd-shim-runc-v2", "#!/bin/sh\n"),
        ("bin/ctr", "#!/bin/sh\n"),
        ("bin/containerd-stress", "#!/bin/sh\n"),
    ]);
    let runc = b"#!/bin/sh\necho runc version 1.4.3\n".to_vec();
    let crictl = archive(&[("crictl", "#!/bin/sh\n")]);
    let mut known = Vec::new();
    for (name, bytes) in [("containerd", containerd), ("runc", runc), ("crictl", crictl)] {
        place.write(name, &bytes);
        let digest: &'static str = Box::leak(digest(&bytes).into_boxed_str());
        known.push((name, format!("file://{}", place.path(name)), digest));
    }
    let fetched = |release: &Release| {
        let (_, url, digest) = known.iter().find(|(name, ..)| *name == release.name).unwrap();
        (url.clone(), *digest)
    };
    let into = place.path("into");
    let refused = |release: &Release| (fetched(release).0, release.digest(Architecture::Amd64));
    let error = runtime(Architecture::Amd64, &into, &refused, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, BinariesError::Checksum { .. }), "{error}");

    let mut files = Vec::new();
    let mut get = async || {
        runtime(Architecture::Amd64, &into, &fetched, &mut |file| files.push(file.to_owned())).await
    };
    let directory = get().await.unwrap();
    assert_eq!((directory.containerd_version(), directory.runc_version()), ("2.3.4", "1.4.3"));
    assert_eq!(directory.programs().len(), 5);
    assert!(!directory.path().join("containerd-stress").exists());
    assert_eq!(get().await.unwrap(), directory);
    assert_eq!(files, ["containerd", "runc", "crictl"]);
}
