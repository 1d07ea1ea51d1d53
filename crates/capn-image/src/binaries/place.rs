//! Folders of programs: what each kind has to hold, and which one is taken.

use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

use super::BinariesError;

/// What the programs of a folder are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// Kubernetes and etcd.
    Kubernetes,
    /// containerd and runc.
    Runtime,
}

impl Programs {
    /// For messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes binaries",
            Self::Runtime => "container runtime binaries",
        }
    }

    /// Files that a folder must have.
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
            // ctr puts the container images into the node image.
            Self::Runtime => &["containerd", "containerd-shim-runc-v2", "ctr", "runc"],
        }
    }

    /// Files that a folder may have. Without `pause` the node gets Debian's static init in its
    /// place; `etcdctl` and `etcdutl`, which restores snapshots, go into etcd's image, as upstream has it;
    /// `flanneld` becomes the image of `--cni flannel`, `kube-vip` that of `--load-balancer kube-vip`.
    pub fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Kubernetes => &["coredns", "etcdctl", "etcdutl", "flanneld", "kube-vip", "pause"],
            Self::Runtime => &["crictl"],
        }
    }

    /// The option that names a folder.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Kubernetes => "--kubernetes-binaries",
            Self::Runtime => "--runtime-binaries",
        }
    }

    /// The environment variable that names a folder.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Kubernetes => "CAPN_KUBERNETES_BINARIES",
            Self::Runtime => "CAPN_RUNTIME_BINARIES",
        }
    }

    /// The folder that is looked at when nothing else is given.
    pub fn default_folder(self) -> &'static Utf8Path {
        Utf8Path::new(match self {
            Self::Kubernetes => "/var/lib/capn/kubernetes",
            Self::Runtime => "/var/lib/capn/runtime",
        })
    }

    /// Names of the files of `folder` that go into an image, sorted.
    pub(super) fn in_folder(self, folder: &Utf8Path) -> Vec<&'static str> {
        let optional = self.optional().iter().filter(|name| is_executable(&folder.join(name)));
        let mut names: Vec<_> = self.required().iter().chain(optional).copied().collect();
        names.sort_unstable();
        names
    }

    /// Refuses a folder that lacks files.
    pub(super) fn check(self, folder: &Utf8Path) -> Result<(), BinariesError> {
        let required = self.required().iter().copied();
        let missing: Vec<_> = required.filter(|name| !is_executable(&folder.join(name))).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => {
                Err(BinariesError::Incomplete { path: folder.to_owned(), missing, programs: self })
            }
        }
    }
}

/// Which folder to take: the flag's, else the variable's, else `default` if it exists, which is
/// [`Programs::default_folder`] for everybody but tests.
///
/// A folder that was named but is absent is an error; it is not silently passed over.
///
/// # Errors
///
/// [`BinariesError::NoFolder`].
pub fn find_folder(
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
                false => Err(BinariesError::NoFolder { path: path.to_owned(), origin, programs }),
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
    fn a_named_folder_wins_and_is_never_passed_over() {
        let held = tempfile::tempdir().unwrap();
        let there = Utf8Path::from_path(held.path()).unwrap();
        let absent = Utf8Path::new("/nonexistent");
        let empty = Utf8Path::new("");
        for programs in [Programs::Kubernetes, Programs::Runtime] {
            let found = |flag, variable, default| find_folder(programs, flag, variable, default);
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
