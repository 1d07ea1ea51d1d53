//! Installed packages of a root file system, according to dpkg.

use std::io;

use serde::Serialize;

use crate::tree::Tree;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Package {
    /// `containerd`
    pub(crate) name: String,
    /// Version as formatted by dpkg: `2.2.1-0ubuntu1~24.04.4`.
    pub(crate) version: String,
    /// `amd64`, `arm64` or `all`.
    pub(crate) architecture: String,
}

/// Returns the installed packages of a root file system, by name.
///
/// # Errors
///
/// Returns an error when dpkg's status file is missing or cannot be read.
pub(crate) fn installed(root: &Tree) -> io::Result<Vec<Package>> {
    let path = root.find("var/lib/dpkg/status").ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "the root file system has no dpkg status file")
    })?;
    Ok(parse(&std::fs::read_to_string(path)?))
}

/// Parses `/var/lib/dpkg/status`. Removed packages with remaining configuration files are not
/// installed.
fn parse(status: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            (field("Status:")? == "install ok installed").then_some(())?;
            Some(Package {
                name: field("Package:")?,
                version: field("Version:")?,
                architecture: field("Architecture:")?,
            })
        })
        .collect();
    packages.sort();
    packages
}

/// Returns the version of a package, if it is installed.
pub(crate) fn version_of<'a>(packages: &'a [Package], name: &str) -> Option<&'a str> {
    packages.iter().find(|package| package.name == name).map(|package| package.version.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed_by_name_and_removed_ones_are_not() {
        let status = "Package: runc\nStatus: install ok installed\nArchitecture: amd64\n\
                      Version: 1.3.4-0ubuntu1\nDescription: runtime\n Version: of nothing\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\n\
                      Version: 1\n\n\
                      Package: containerd\nStatus: install ok installed\nArchitecture: amd64\n\
                      Version: 2.2.1-0ubuntu1\n";
        let packages = parse(status);
        let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["containerd", "runc"]);
        assert_eq!(version_of(&packages, "runc"), Some("1.3.4-0ubuntu1"));
        assert_eq!(version_of(&packages, "gone"), None);
    }
}
