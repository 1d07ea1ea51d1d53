//! Directories of programs: their required files, and which directory is used.

use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

use super::BinariesError;

/// Purpose of the programs in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// Kubernetes and etcd.
    Kubernetes,
    /// containerd and runc.
    Runtime,
}

impl Programs {
    /// Returns the name for messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes binaries",
            Self::Runtime => "container runtime binaries",
        }
    }

    /// Returns the required files of a directory.
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Self::Kubernetes => &[
                "kubeadm",
                "kubelet",
                "kubectl",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kube-proxy",
                "etcd",
            ],
            // ctr imports the container images into the node image.
            Self::Runtime => &["containerd", "containerd-shim-runc-v2", "ctr", "runc"],
        }
    }

    /// Returns the optional files of a directory. Without `pause`, the node uses Debian's static
    /// init instead. As upstream, the etcd image contains `etcdctl` and `etcdutl`, which restores
    /// snapshots. `flanneld` becomes the image of `--cni flannel`, `kube-vip` that of
    /// `--load-balancer kube-vip`.
    pub fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Kubernetes => &["coredns", "etcdctl", "etcdutl", "flanneld", "kube-vip", "pause"],
            Self::Runtime => &["crictl"],
        }
    }

    /// Returns the flag for the directory.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Kubernetes => "--kubernetes-binaries",
            Self::Runtime => "--runtime-binaries",
        }
    }

    /// Returns the environment variable for the directory.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Kubernetes => "CAPN_KUBERNETES_BINARIES",
            Self::Runtime => "CAPN_RUNTIME_BINARIES",
        }
    }

    /// Returns the default directory.
    pub fn default_directory(self) -> &'static Utf8Path {
        Utf8Path::new(match self {
            Self::Kubernetes => "/var/lib/capn/kubernetes",
            Self::Runtime => "/var/lib/capn/runtime",
        })
    }

    /// Returns the sorted names of the files in `directory` that go into an image.
    pub(super) fn in_directory(self, directory: &Utf8Path) -> Vec<&'static str> {
        let optional = self.optional().iter().filter(|name| is_executable(&directory.join(name)));
        let mut names: Vec<_> = self.required().iter().chain(optional).copied().collect();
        names.sort_unstable();
        names
    }

    /// Checks that a directory has all required files.
    pub(super) fn check(self, directory: &Utf8Path) -> Result<(), BinariesError> {
        let required = self.required().iter().copied();
        let missing: Vec<_> =
            required.filter(|name| !is_executable(&directory.join(name))).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(BinariesError::Incomplete {
                path: directory.to_owned(),
                missing,
                programs: self,
            }),
        }
    }
}

/// Finds the directory to use: that of the flag, else of the variable, else `default` if it exists,
/// which is [`Programs::default_directory`] except in tests.
///
/// An explicitly given directory that does not exist is an error.
///
/// # Errors
///
/// [`BinariesError::NoDirectory`].
pub fn find_directory(
    programs: Programs,
    flag: Option<&Utf8Path>,
    variable: Option<&Utf8Path>,
    default: &Utf8Path,
) -> Result<Option<Utf8PathBuf>, BinariesError> {
    let variable = variable.filter(|path| !path.as_str().is_empty());
    for (path, origin) in [(flag, programs.flag()), (variable, programs.variable())] {
        if let Some(path) = path {
            return match path.is_dir() {
                true => Ok(Some(path.to_owned())),
                false => {
                    Err(BinariesError::NoDirectory { path: path.to_owned(), origin, programs })
                }
            };
        }
    }
    Ok(default.is_dir().then(|| default.to_owned()))
}

pub(super) fn is_executable(path: &Utf8Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    Path::new(path)
        .metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_directory_is_never_skipped() {
        let held = tempfile::tempdir().unwrap();
        let there = Utf8Path::from_path(held.path()).unwrap();
        let absent = Utf8Path::new("/nonexistent");
        let empty = Utf8Path::new("");
        for programs in [Programs::Kubernetes, Programs::Runtime] {
            let found = |flag, variable, default| find_directory(programs, flag, variable, default);
            assert_eq!(found(Some(there), Some(absent), absent).unwrap().as_deref(), Some(there));
            assert_eq!(found(None, Some(there), absent).unwrap().as_deref(), Some(there));
            assert_eq!(found(None, Some(empty), there).unwrap().as_deref(), Some(there));
            assert_eq!(found(None, None, absent).unwrap(), None);
            for (flag, variable, origin) in
                [(Some(absent), None, programs.flag()), (None, Some(absent), programs.variable())]
            {
                let error = found(flag, variable, there).unwrap_err();
                assert!(error.to_string().contains(origin), "{error}");
                assert!(error.hint().unwrap().contains(programs.required()[0]));
            }
        }
    }
}
