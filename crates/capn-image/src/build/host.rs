//! Properties of this machine: root, tools, cgroups, and its mirrors.

use std::path::Path;

use camino::Utf8Path;

use super::{Architecture, Base, BuildError};

/// Required programs, and their packages.
const TOOLS: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("mksquashfs", "squashfs-tools"),
    ("unshare", "util-linux"),
    ("chroot", "coreutils"),
];
const TOOL_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Checks the requirements before the build, and names the packages to install.
pub(super) fn check_tools(base: Base) -> Result<(), BuildError> {
    if !is_root() {
        return Err(BuildError::NotRoot);
    }
    let has = |name: &str| TOOL_DIRECTORIES.iter().any(|dir| Path::new(dir).join(name).exists());
    let mut missing: Vec<(String, String)> = TOOLS
        .iter()
        .filter(|(tool, _)| !has(tool))
        .map(|(tool, package)| ((*tool).to_owned(), (*package).to_owned()))
        .collect();
    // Verifies the signatures of the package lists; other distributions have it as a package.
    if !Path::new(base.keyring()).exists() {
        let what = format!("the archive keys {}", base.keyring());
        missing.push((what, base.keyring_package().to_owned()));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let (tools, packages) = missing.into_iter().unzip();
            Err(BuildError::MissingTools { tools, packages })
        }
    }
}

/// Rejects other architectures: the build runs programs of the image.
pub(super) fn check_architecture(wanted: Architecture) -> Result<(), BuildError> {
    let here = Architecture::of_this_machine()?;
    match wanted == here {
        true => Ok(()),
        false => {
            Err(BuildError::ForeignArchitecture { wanted: wanted.as_str(), here: here.as_str() })
        }
    }
}

fn is_root() -> bool {
    crate::ownership::user().is_ok_and(|user| user == 0)
}

/// Returns the base that boots under this machine's kernel: systemd 256 and later do not support
/// cgroup v1.
pub(super) fn fitting_base() -> Base {
    match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => Base::Debian13,
        false => Base::Debian12,
    }
}

/// Package mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirrors {
    /// Mirror of the archive.
    pub(super) main: String,
    /// Mirror of the security updates.
    pub(super) security: String,
}

impl Mirrors {
    /// Returns the mirrors of this machine if it runs the distribution of the base, else the public
    /// ones.
    pub(super) fn of_this_machine(base: Base, architecture: Architecture) -> Self {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let apt = Utf8Path::new("/etc/apt");
        let mut sources = Vec::new();
        let mut read = |path: &Utf8Path| {
            if let Ok(text) = std::fs::read_to_string(path) {
                sources.push((path.extension() == Some("sources"), text));
            }
        };
        read(&apt.join("sources.list"));
        if let Ok(entries) = apt.join("sources.list.d").read_dir_utf8() {
            let mut paths: Vec<_> =
                entries.flatten().map(|entry| entry.path().to_owned()).collect();
            paths.sort();
            paths.iter().for_each(|path| read(path));
        }
        Self::from_sources(base, architecture, &release, &sources)
    }

    /// Finds the mirrors in `os-release` and the source lists, each with a flag for the deb822
    /// format.
    fn from_sources(
        base: Base,
        architecture: Architecture,
        os_release: &str,
        sources: &[(bool, String)],
    ) -> Self {
        let [main, security] = base.public_mirrors(architecture).map(str::to_owned);
        let mut mirrors = Self { main, security };
        let field = |name: &str| {
            os_release.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_matches('"'))
        };
        if field("ID=") != Some(base.os()) {
            return mirrors;
        }
        let Some(codename) = field("VERSION_CODENAME=") else {
            return mirrors;
        };
        let entries: Vec<(String, String)> = sources
            .iter()
            .flat_map(
                |(deb822, text)| if *deb822 { deb822_entries(text) } else { list_entries(text) },
            )
            .filter(|(uri, _)| uri.starts_with("http://") || uri.starts_with("https://"))
            .collect();
        let of_suite = |wanted: &str| {
            let found = entries.iter().find(|(_, suite)| suite == wanted);
            found.map(|(uri, _)| uri.trim_end_matches('/').to_owned())
        };
        if let Some(uri) = of_suite(codename) {
            mirrors.main = uri;
        }
        if let Some(uri) = of_suite(&format!("{codename}-security")) {
            mirrors.security = uri;
        }
        mirrors
    }
}

/// URI and suite of each `deb` line with the component `main`.
fn list_entries(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut words = rest.split_whitespace();
            let (uri, suite) = (words.next()?, words.next()?);
            words.any(|word| word == "main").then(|| (uri.to_owned(), suite.to_owned()))
        })
        .collect()
}

/// The same for paragraphs in deb822 format.
fn deb822_entries(text: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| -> Vec<&str> {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.split_whitespace().collect())
                .unwrap_or_default()
        };
        if !field("Types").contains(&"deb")
            || !field("Components").contains(&"main")
            || field("Enabled") == ["no"]
        {
            continue;
        }
        for uri in field("URIs") {
            entries
                .extend(field("Suites").iter().map(|suite| (uri.to_owned(), (*suite).to_owned())));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    fn from_sources(base: Base, release: &str, source: (bool, String)) -> Mirrors {
        Mirrors::from_sources(base, Architecture::Amd64, release, &[source])
    }

    #[test]
    fn the_machines_own_mirrors_are_used_on_debian() {
        let list = "# deb http://old.example/debian bookworm main\n\
                    deb http://third.example/tools bookworm-tools main\n\
                    deb [arch=amd64 signed-by=/k] https://mirror.example/debian/ bookworm main contrib\n\
                    deb http://sec.example/debian-security bookworm-security main\n";
        let deb822 = "Types: deb\nURIs: https://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                      Components: main\n\n\
                      Types: deb\nURIs: http://sec.example/debian-security\nSuites: bookworm-security\n\
                      Components: main\n";
        for source in [(false, list.to_owned()), (true, deb822.to_owned())] {
            let mirrors = from_sources(Base::Debian13, DEBIAN, source);
            assert_eq!(mirrors.main, "https://mirror.example/debian");
            assert_eq!(mirrors.security, "http://sec.example/debian-security");
        }
    }

    #[test]
    fn elsewhere_the_public_mirrors_are_used() {
        let foreign = "deb http://archive.example/ubuntu noble main\n".to_owned();
        let unusable =
            "deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/debian bookworm main\n".to_owned();
        for (release, text) in [
            ("ID=ubuntu\nVERSION_CODENAME=noble\n", foreign),
            (DEBIAN, unusable),
            (DEBIAN, String::new()),
        ] {
            let found = from_sources(Base::Debian12, release, (false, text));
            assert_eq!(found.main, "http://deb.debian.org/debian", "{release}");
            assert_eq!(found.security, "http://deb.debian.org/debian-security", "{release}");
        }
    }
    #[test]
    fn ubuntu_uses_an_ubuntu_machines_mirrors_and_not_a_debian_ones() {
        let noble = "ID=ubuntu\nVERSION_CODENAME=noble\n";
        let text = "Types: deb\nURIs: http://mirror.example/ubuntu/\n\
                    Suites: noble noble-updates noble-security\nComponents: main universe\n";
        let own = from_sources(Base::Ubuntu2404, noble, (true, text.to_owned()));
        assert_eq!(own.main, "http://mirror.example/ubuntu");
        assert_eq!(own.security, own.main);
        let list = "deb http://mirror.example/debian bookworm main\n".to_owned();
        let public = from_sources(Base::Ubuntu2404, DEBIAN, (false, list));
        assert_eq!(public.main, "http://archive.ubuntu.com/ubuntu");
        assert_eq!(public.security, "http://security.ubuntu.com/ubuntu");
    }
}
