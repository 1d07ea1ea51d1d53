//! Official release downloads, which are used if the programs of a node have no other source.
//!
//! Files are downloaded with `curl`, which uses the machine's proxies and certificates, and
//! verified before they get their final name: the container runtime with the digests of
//! [`RELEASES`], Kubernetes with the digests that are part of capn ([`known`]), or else with those
//! published next to each file.

use std::{fs::File, io, os::unix::fs::PermissionsExt, process::Output};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::read::GzDecoder;
use tokio::{fs, process::Command, task::spawn_blocking};

use super::{
    BinariesError, KubernetesDirectory, Programs, RELEASES, RuntimeDirectory, digest::file_digest,
    directory, known, releases::Release,
};
use crate::{build::Architecture, containers::ImageNames};

/// Base URLs of the releases; the defaults are those of the projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Contains `VERSION/bin/linux/ARCH/NAME` and `NAME.sha256`.
    pub kubernetes: String,
    /// Contains `vVERSION/etcd-vVERSION-linux-ARCH.tar.gz` and `vVERSION/SHA256SUMS`.
    pub etcd: String,
    /// Contains `vVERSION/coredns_VERSION_linux_ARCH.tgz` and the same with `.sha256`.
    pub coredns: String,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            kubernetes: "https://dl.k8s.io/release".to_owned(),
            etcd: "https://github.com/etcd-io/etcd/releases/download".to_owned(),
            coredns: "https://github.com/coredns/coredns/releases/download".to_owned(),
        }
    }
}

/// Result of a download.
#[derive(Debug)]
pub struct Downloaded {
    /// The directory of the binaries.
    pub directory: KubernetesDirectory,
    /// Names of downloaded files without a digest in capn, which were verified only with the
    /// published digests.
    pub unknown: Vec<String>,
}

/// Downloads the binaries of one Kubernetes version for this machine's architecture.
///
/// The result is `parent/VERSION-ARCH`, about 700 MB; an existing directory is used as it is. The
/// versions of etcd and CoreDNS are those of this version's kubeadm. Calls `file` with each file
/// name before its download.
///
/// # Cancellation
///
/// Verified files stay in `parent/VERSION-ARCH.part` and are not downloaded again.
///
/// # Errors
///
/// [`BinariesError::NoRelease`] when the version does not exist, [`BinariesError::Download`] when
/// the source cannot be reached, [`BinariesError::Checksum`] when the digest of a file is wrong.
pub async fn download(
    version: &str,
    parent: &Utf8Path,
    sources: &Sources,
    file: &mut (dyn FnMut(&str) + Send),
) -> Result<Downloaded, BinariesError> {
    if !is_version(version) {
        return Err(BinariesError::NoRelease {
            name: "Kubernetes",
            version: version.to_owned(),
            url: String::new(),
        });
    }
    let architecture = architecture();
    let path = parent.join(format!("{version}-{architecture}"));
    if path.exists() {
        let directory = KubernetesDirectory::open(path).await?;
        return Ok(Downloaded { directory, unknown: Vec::new() });
    }
    let mut unknown = Vec::new();
    let part = parent.join(format!("{version}-{architecture}.part"));
    fs::create_dir_all(&part).await.map_err(failed("make", &part))?;
    let fetch = Fetch { name: "Kubernetes", version, part: &part, limits: &LONG_TIMEOUT };

    let base = format!("{}/{version}/bin/linux/{architecture}", sources.kubernetes);
    // kubeadm is the first, because it determines what else is needed.
    for name in Programs::Kubernetes.required().iter().filter(|name| **name != "etcd") {
        let url = format!("{base}/{name}");
        if !part.join(name).exists() {
            file(name);
            let fetched = fetch.checked(&url, &format!("{url}.sha256"), None, &mut unknown).await?;
            keep(&fetched, &part.join(name)).await?;
        }
    }
    let names = image_names(&part.join("kubeadm"), version).await?;

    if let Some(etcd) = tag_version(names.of("etcd")) {
        let base = format!("{}/v{etcd}", sources.etcd);
        let archive = format!("etcd-v{etcd}-linux-{architecture}.tar.gz");
        if !part.join("etcd").exists() {
            file("etcd");
            let (url, sums) = (format!("{base}/{archive}"), format!("{base}/SHA256SUMS"));
            let fetched = fetch.checked(&url, &sums, Some(&archive), &mut unknown).await?;
            unpack(&fetched, &part, &["etcdctl", "etcdutl", "etcd"]).await?;
        }
    }
    if let Some(coredns) = tag_version(names.of("coredns")) {
        let archive = format!("coredns_{coredns}_linux_{architecture}.tgz");
        let url = format!("{}/v{coredns}/{archive}", sources.coredns);
        if !part.join("coredns").exists() {
            file("coredns");
            let fetched = fetch.checked(&url, &format!("{url}.sha256"), None, &mut unknown).await?;
            unpack(&fetched, &part, &["coredns"]).await?;
        }
    }
    KubernetesDirectory::open(part.clone()).await?;
    fs::rename(&part, &path).await.map_err(failed("move", &part))?;
    Ok(Downloaded { directory: KubernetesDirectory::open(path).await?, unknown })
}

/// Downloads the container runtime for this machine's architecture, in the versions of this
/// release.
///
/// The result is a directory in `parent` named after the versions, about 150 MB; an existing
/// directory is used as it is. Calls `file` with each name before its download.
///
/// # Cancellation
///
/// As for [`download`].
///
/// # Errors
///
/// [`BinariesError::Download`] when the source cannot be reached, after at most a few seconds;
/// [`BinariesError::Checksum`] when the digest of a file is wrong.
pub async fn download_runtime(
    architecture: Architecture,
    parent: &Utf8Path,
    file: &mut (dyn FnMut(&str) + Send),
) -> Result<RuntimeDirectory, BinariesError> {
    let fetched = |release: &Release| (release.url(architecture), release.digest(architecture));
    runtime(architecture, parent, &fetched, file).await
}

/// As [`download_runtime`], with other sources: `fetched` returns the URL and the digest of a
/// release.
async fn runtime(
    architecture: Architecture,
    parent: &Utf8Path,
    fetched: &(dyn Fn(&Release) -> (String, &'static str) + Sync),
    file: &mut (dyn FnMut(&str) + Send),
) -> Result<RuntimeDirectory, BinariesError> {
    let versions = RELEASES.map(|release| format!("{}-{}", release.name, release.version));
    let path = parent.join(format!("{}-{}", versions.join("-"), architecture.as_str()));
    if path.exists() {
        return RuntimeDirectory::open(path).await;
    }
    let part = path.with_added_extension("part");
    fs::create_dir_all(&part).await.map_err(failed("make", &part))?;
    for release in &RELEASES {
        // The last program of an archive marks it as unpacked.
        let Some(last) = release.programs.last().filter(|name| !part.join(name).exists()) else {
            continue;
        };
        file(release.name);
        let (name, version) = (release.name, release.version);
        let fetch = Fetch { name, version, part: &part, limits: &SHORT_TIMEOUT };
        let (url, digest) = fetched(release);
        let fetched = fetch.file(&url, digest).await?;
        match release.is_archive() {
            true => unpack(&fetched, &part, release.programs).await?,
            false => keep(&fetched, &part.join(last)).await?,
        }
    }
    RuntimeDirectory::open(part.clone()).await?;
    fs::rename(&part, &path).await.map_err(failed("move", &part))?;
    RuntimeDirectory::open(path).await
}

/// Returns whether the text is like `v1.36.0`, with an optional suffix such as `-rc.1`. It becomes
/// part of URLs and paths.
fn is_version(version: &str) -> bool {
    let Some(rest) = version.strip_prefix('v') else { return false };
    let (numbers, suffix) = rest.split_once('-').unwrap_or((rest, "x"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && !suffix.is_empty()
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

/// Returns the version in an image name: 3.6.8 for `registry.k8s.io/etcd:3.6.8-0`.
fn tag_version(reference: &str) -> Option<&str> {
    let (_, tag) = reference.rsplit_once(':')?;
    let tag = tag.trim_start_matches('v');
    let version = tag.split_once('-').map_or(tag, |(version, _)| version);
    is_version(&format!("v{version}")).then_some(version)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}

async fn image_names(kubeadm: &Utf8Path, version: &str) -> Result<ImageNames, BinariesError> {
    let arguments = ["config", "images", "list", "--kubernetes-version", version];
    let list = directory::output(kubeadm, &arguments).await?;
    ImageNames::parse(&list).ok_or_else(|| BinariesError::Version {
        path: kubeadm.to_owned(),
        source: io::Error::other(format!("it printed {list:?}")),
    })
}

/// curl's limits if there is no other source.
const LONG_TIMEOUT: [&str; 4] = ["--retry", "3", "--connect-timeout", "15"];
/// curl's limits if there is another source: do not wait long for an unreachable network.
const SHORT_TIMEOUT: [&str; 4] = ["--retry", "1", "--connect-timeout", "5"];

struct Fetch<'a> {
    name: &'static str,
    limits: &'static [&'static str],
    version: &'a str,
    part: &'a Utf8Path,
}

impl Fetch<'_> {
    /// Returns the digest in a published file: alone, in front of a name, or in the line of `name`.
    async fn digest(&self, url: &str, name: Option<&str>) -> Result<String, BinariesError> {
        let path = self.curl(url).await?;
        let text = fs::read_to_string(&path).await.map_err(failed("read", &path))?;
        find_digest(&text, name).ok_or_else(|| BinariesError::Checksum {
            url: url.to_owned(),
            found: "no digest".to_owned(),
            wanted: "a SHA-256 digest".to_owned(),
        })
    }

    /// Downloads a file and verifies it with the digest in capn, or else with the published one at
    /// `sums`, in the line of `name`; its name is then added to `unknown`.
    async fn checked(
        &self,
        url: &str,
        sums: &str,
        name: Option<&str>,
        unknown: &mut Vec<String>,
    ) -> Result<Utf8PathBuf, BinariesError> {
        if let Some(digest) = known::digest(url) {
            return self.file(url, digest).await;
        }
        unknown.extend(url.rsplit('/').next().map(str::to_owned));
        let digest = self.digest(sums, name).await?;
        self.file(url, &digest).await
    }

    /// Downloads a file and verifies its digest.
    async fn file(&self, url: &str, digest: &str) -> Result<Utf8PathBuf, BinariesError> {
        let path = self.curl(url).await?;
        let read = path.clone();
        let found = spawn_blocking(move || file_digest(&read))
            .await
            .map_err(|join| failed("read", &path)(io::Error::other(join)))?
            .map_err(failed("read", &path))?;
        match found == digest {
            true => Ok(path),
            false => Err(BinariesError::Checksum {
                url: url.to_owned(),
                found,
                wanted: digest.to_owned(),
            }),
        }
    }

    async fn curl(&self, url: &str) -> Result<Utf8PathBuf, BinariesError> {
        let path = self.part.join("fetched");
        let run = |source| BinariesError::Curl { source };
        let Output { status, stderr, .. } = Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--location"])
            .args(schemes(url))
            .args(self.limits)
            .args(["--speed-limit", "1000", "--speed-time", "60"])
            .args(["--output", path.as_str(), url])
            .kill_on_drop(true)
            .output()
            .await
            .map_err(run)?;
        match status.code() {
            Some(0) => Ok(path),
            // An HTTP status of 400 or more, or no such file.
            Some(22 | 37) => Err(BinariesError::NoRelease {
                name: self.name,
                version: self.version.to_owned(),
                url: url.to_owned(),
            }),
            // curl cannot write.
            Some(23) => Err(failed("write", &path)(io::Error::other(message(&stderr)))),
            _ => Err(BinariesError::Download {
                url: url.to_owned(),
                message: message(&stderr),
                programs: match self.name {
                    "Kubernetes" => Programs::Kubernetes,
                    _ => Programs::Runtime,
                },
            }),
        }
    }
}

/// Returns the allowed schemes of redirects: an `https` URL cannot redirect to another scheme.
fn schemes(url: &str) -> &'static [&'static str] {
    match url.starts_with("https://") {
        true => &["--proto", "=https"],
        false => &[],
    }
}

fn message(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().last().unwrap_or_default().trim_start_matches("curl: ").to_owned()
}

fn find_digest(text: &str, name: Option<&str>) -> Option<String> {
    let line = match name {
        Some(name) => text.lines().find(|line| {
            line.split_whitespace().nth(1).is_some_and(|file| file.trim_start_matches('*') == name)
        })?,
        None => text.lines().next()?,
    };
    let digest = line.split_whitespace().next()?.to_ascii_lowercase();
    (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digest)
}

async fn keep(fetched: &Utf8Path, path: &Utf8Path) -> Result<(), BinariesError> {
    let mode = std::fs::Permissions::from_mode(0o755);
    fs::set_permissions(fetched, mode).await.map_err(failed("set the mode of", fetched))?;
    fs::rename(fetched, path).await.map_err(failed("move", fetched))
}

/// Extracts the named files from an archive; the last name marks it as complete.
async fn unpack(
    archive: &Utf8Path,
    directory: &Utf8Path,
    names: &'static [&'static str],
) -> Result<(), BinariesError> {
    let (from, to) = (archive.to_owned(), directory.to_owned());
    let unpacked = spawn_blocking(move || -> io::Result<()> {
        let mut tar = crate::archive::open(GzDecoder::new(File::open(from)?));
        for entry in tar.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let name =
                names.iter().find(|name| path.file_name().is_some_and(|file| file == **name));
            if let Some(name) = name.filter(|_| entry.header().entry_type().is_file()) {
                let target = to.join(format!("{name}.new"));
                io::copy(&mut entry, &mut File::create(&target)?)?;
                std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))?;
            }
        }
        for name in names {
            std::fs::rename(to.join(format!("{name}.new")), to.join(name))?;
        }
        Ok(())
    });
    unpacked
        .await
        .map_err(|join| failed("unpack", archive)(io::Error::other(join)))?
        .map_err(failed("unpack", archive))?;
    fs::remove_file(archive).await.map_err(failed("remove", archive))
}

fn failed<'a>(
    act: &'static str,
    path: &'a Utf8Path,
) -> impl Fn(io::Error) -> BinariesError + Copy + 'a {
    move |source| BinariesError::File { act, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
