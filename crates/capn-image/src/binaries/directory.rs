//! A directory with the binaries of one Kubernetes version.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::process::Command;

use super::{BinariesError, Programs, lookup::is_executable};
use crate::containers::{EtcdNames, ImageNames};

/// A directory with all files of [`Programs::Kubernetes`], and their versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesDirectory {
    path: Utf8PathBuf,
    version: String,
    etcd_version: String,
}

impl KubernetesDirectory {
    /// Checks that all files are in the directory, executable, and of one version.
    ///
    /// Runs its `kubeadm`, `kubelet` and `etcd` to get their versions.
    ///
    /// # Errors
    ///
    /// [`BinariesError::Incomplete`], [`BinariesError::Version`], [`BinariesError::WrongVersion`].
    pub async fn open(path: impl Into<Utf8PathBuf>) -> Result<Self, BinariesError> {
        let path = path.into();
        Programs::Kubernetes.check(&path)?;
        let (kubeadm_path, kubelet_path, etcd_path) =
            (path.join("kubeadm"), path.join("kubelet"), path.join("etcd"));
        let (version, kubelet, etcd) = tokio::try_join!(
            output(&kubeadm_path, &["version", "-o", "short"]),
            output(&kubelet_path, &["--version"]),
            output(&etcd_path, &["--version"]),
        )?;
        let kubelet = kubelet.trim_start_matches("Kubernetes ").trim();
        if kubelet != version.trim() {
            return Err(BinariesError::WrongVersion {
                path: kubelet_path,
                found: kubelet.to_owned(),
                wanted: version.trim().to_owned(),
            });
        }
        let etcd_version = parse_etcd_version(&etcd).ok_or_else(|| BinariesError::Version {
            path: etcd_path,
            source: std::io::Error::other(format!("it printed {etcd:?}")),
        })?;
        Ok(Self { version: version.trim().to_owned(), etcd_version, path })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Kubernetes version with `v`, e.g. `v1.36.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// etcd version without `v`, e.g. `3.6.5`.
    pub fn etcd_version(&self) -> &str {
        &self.etcd_version
    }

    /// Returns the tag of the etcd image in a node, if it differs from the default of kubeadm. The
    /// cluster configuration must then set it (`etcd.local.imageTag`).
    ///
    /// # Errors
    ///
    /// [`BinariesError::Version`] when kubeadm cannot be run.
    pub async fn etcd_image_tag(&self) -> Result<Option<String>, BinariesError> {
        let names = self.image_names().await?;
        Ok(EtcdNames::new(names.of("etcd"), &self.etcd_version).tag_to_configure)
    }

    /// Returns the image names of this kubeadm.
    ///
    /// # Errors
    ///
    /// [`BinariesError::Version`] when it cannot be run or prints something unexpected.
    pub(crate) async fn image_names(&self) -> Result<ImageNames, BinariesError> {
        let kubeadm = self.path.join("kubeadm");
        let arguments = ["config", "images", "list", "--kubernetes-version", &self.version];
        let list = output(&kubeadm, &arguments).await?;
        ImageNames::parse(&list).ok_or_else(|| BinariesError::Version {
            path: kubeadm,
            source: std::io::Error::other(format!("it printed {list:?}")),
        })
    }

    /// Names of all files for an image, sorted.
    pub(crate) fn programs(&self) -> Vec<&'static str> {
        Programs::Kubernetes.in_directory(&self.path)
    }

    /// Returns the file with this name, if it is in the directory.
    pub fn optional(&self, name: &str) -> Option<Utf8PathBuf> {
        let path = self.path.join(name);
        is_executable(&path).then_some(path)
    }
}

pub(super) async fn output(
    program: &Utf8Path,
    arguments: &[&str],
) -> Result<String, BinariesError> {
    let failed = |source| BinariesError::Version { path: program.to_owned(), source };
    let out =
        Command::new(program).args(arguments).kill_on_drop(true).output().await.map_err(failed)?;
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(failed(std::io::Error::other(out.status.to_string()))),
    }
}

fn parse_etcd_version(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("etcd Version:"))?;
    Some(line.trim().to_owned()).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory(programs: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap().to_owned();
        for (name, prints) in programs {
            let file = path.join(name);
            std::fs::write(&file, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        (directory, path)
    }

    fn complete(kubelet: &'static str) -> Vec<(&'static str, &'static str)> {
        let answer = |name: &'static str| match name {
            "kubeadm" => "v1.36.0",
            "kubelet" => kubelet,
            "etcd" => "etcd Version: 3.6.8",
            _ => "",
        };
        Programs::Kubernetes.required().iter().map(|name| (*name, answer(name))).collect()
    }

    #[tokio::test]
    async fn a_directory_must_be_complete_and_of_one_version() {
        let (_held, path) = directory(&complete("Kubernetes v1.36.0"));
        let opened = KubernetesDirectory::open(path).await.unwrap();
        assert_eq!((opened.version(), opened.etcd_version()), ("v1.36.0", "3.6.8"));
        assert_eq!(opened.programs(), Programs::Kubernetes.in_directory(opened.path()));

        let (_held, path) = directory(&complete("Kubernetes v1.35.1"));
        let mixed = KubernetesDirectory::open(path).await;
        assert!(matches!(mixed, Err(BinariesError::WrongVersion { .. })), "{mixed:?}");

        let (_held, path) = directory(&complete("Kubernetes v1.36.0")[1..]);
        std::fs::write(path.join("kubeadm"), "not executable").unwrap();
        let Err(BinariesError::Incomplete { missing, .. }) = KubernetesDirectory::open(path).await
        else {
            panic!("an incomplete directory");
        };
        assert_eq!(missing, ["kubeadm"]);
    }
}
