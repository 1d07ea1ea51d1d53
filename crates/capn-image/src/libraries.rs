//! Shared libraries of the files in a container image, and how each file is tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
};

use camino::Utf8Path;
use capn_oci::{ContainerImage, Content, LayerFile};

/// Output of `ldd` for some files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Libraries {
    by_file: BTreeMap<String, Vec<String>>,
    missing: BTreeMap<String, String>,
}

impl Libraries {
    /// Parses the output of `ldd FILES`, which has no headings for a single file.
    pub(crate) fn parse(said: &str, files: &[String]) -> Self {
        let mut libraries = Self::default();
        let mut current = match files {
            [one] => Some(one.clone()),
            _ => None,
        };
        for line in said.lines() {
            if !line.starts_with(char::is_whitespace) {
                current = line.strip_suffix(':').map(str::to_owned);
                continue;
            }
            let Some(file) = &current else { continue };
            let line = line.trim();
            if let Some(name) = line.strip_suffix(" => not found") {
                libraries.missing.entry(file.clone()).or_insert_with(|| name.to_owned());
                continue;
            }
            let Some((found, _)) = line.split_once(" (0x") else { continue };
            let path = found.rsplit(" => ").next().unwrap_or(found);
            // The library of the kernel itself has no path.
            if path.starts_with('/') {
                libraries.by_file.entry(file.clone()).or_default().push(path.to_owned());
            }
        }
        libraries
    }

    /// Paths of the loader and the libraries of a file; empty for a static one.
    pub(crate) fn of(&self, file: &str) -> &[String] {
        self.by_file.get(file).map_or(&[], Vec::as_slice)
    }

    /// Returns the first missing library of a file.
    pub(crate) fn missing(&self, file: &str) -> Option<&str> {
        self.missing.get(file).map(String::as_str)
    }
}

/// A file of an image that must load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Path in the image, without a leading slash.
    pub(crate) file: String,
    /// Argument that makes a program exit at once; other files are bound by the loader.
    pub(crate) argument: Option<&'static str>,
}

/// Returns all programs and plugins of an image.
///
/// # Errors
///
/// Returns an error when a file cannot be read.
pub(crate) fn trials(image: &ContainerImage) -> io::Result<Vec<Trial>> {
    let mut trials = Vec::new();
    let dynamic = image.files.iter().any(|file| is_loader(&file.path));
    for file in &image.files {
        let argument = argument(&file.path);
        let tried = match &file.content {
            Content::Link(_) => argument.is_some(),
            // Without a loader, everything is static.
            _ if argument.is_none() && (!dynamic || is_loader(&file.path)) => false,
            _ => is_elf(file)?,
        };
        if tried {
            trials.push(Trial { file: file.path.clone(), argument });
        }
    }
    Ok(trials)
}

/// Files that may need libraries.
///
/// # Errors
///
/// Returns an error when a file cannot be read.
pub(crate) fn elf_files(image: &ContainerImage) -> io::Result<Vec<&Utf8Path>> {
    let mut found = BTreeSet::new();
    for file in &image.files {
        if let Content::Path(path) = &file.content
            && is_elf(file)?
        {
            found.insert(path.as_path());
        }
    }
    Ok(found.into_iter().collect())
}

fn is_loader(path: &str) -> bool {
    Utf8Path::new(path).file_name().is_some_and(|name| name.starts_with("ld-linux"))
}

/// Returns the argument that makes a program print its version and exit.
fn argument(path: &str) -> Option<&'static str> {
    match Utf8Path::new(path).file_name()? {
        "etcd"
        | "iptables"
        | "iptables-restore"
        | "iptables-save"
        | "ip6tables"
        | "ip6tables-restore"
        | "ip6tables-save"
        | "kmod"
        | "kube-apiserver"
        | "kube-controller-manager"
        | "kube-proxy"
        | "kube-scheduler"
        | "modprobe"
        | "nft" => Some("--version"),
        "etcdctl" | "etcdutl" => Some("version"),
        "coredns" => Some("-version"),
        // catatonit treats it as an unknown argument and exits too.
        "pause" => Some("-v"),
        _ => None,
    }
}

fn is_elf(file: &LayerFile) -> io::Result<bool> {
    const MAGIC: &[u8] = b"\x7fELF";
    let Content::Path(path) = &file.content else { return Ok(false) };
    let mut start = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "/usr/sbin/kmod:
\tlinux-vdso.so.1 (0x00007f75130d7000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f7512eda000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f75130d9000)
/mnt/etcd:
/usr/lib/xtables/libxt_statistic.so:
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f9f93d09000)
\tlibnone.so.1 => not found
";

    #[test]
    fn libraries_are_listed_and_missing_ones_named() {
        let files = ["/usr/sbin/kmod", "/mnt/etcd", "/usr/lib/xtables/libxt_statistic.so"];
        let libraries = Libraries::parse(SAID, &files.map(str::to_owned));
        let kmod = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries.of(files[0]), kmod);
        assert!(libraries.of(files[1]).is_empty());
        assert_eq!(libraries.of(files[2]), ["/lib/x86_64-linux-gnu/libm.so.6"]);
        assert_eq!(libraries.missing(files[0]), None);
        assert_eq!(libraries.missing(files[2]), Some("libnone.so.1"));
        // Of one file, ldd does not say the name.
        let alone = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f75130d9000)\n";
        assert_eq!(Libraries::parse(alone, &["/mnt/pause".to_owned()]).of("/mnt/pause").len(), 1);
        assert_eq!(Libraries::parse("", &["/mnt/pause".to_owned()]), Libraries::default());
    }

    #[test]
    fn programs_are_run_and_plugins_are_bound() {
        let held = tempfile::tempdir().unwrap();
        let at = Utf8Path::from_path(held.path()).unwrap();
        let file = |path: &str, text: &str| {
            let source = at.join(path.replace('/', "-"));
            std::fs::write(&source, text).unwrap();
            LayerFile { path: path.to_owned(), mode: 0o755, content: Content::Path(source) }
        };
        let link = |path: &str, target: &str| LayerFile {
            path: path.to_owned(),
            mode: 0o777,
            content: Content::Link(target.to_owned()),
        };
        let files = vec![
            file("usr/sbin/xtables-nft-multi", "\x7fELF"),
            link("usr/sbin/iptables", "/usr/sbin/xtables-nft-multi"),
            file("usr/lib/xtables/libxt_tcp.so", "\x7fELF"),
            link("usr/lib/xtables/libxt_NOTRACK.so", "libxt_CT.so"),
            file("lib64/ld-linux-x86-64.so.2", "\x7fELF"),
            file("etc/protocols", "tcp"),
        ];
        let mut image = ContainerImage { files, ..ContainerImage::default() };
        let tried = trials(&image).unwrap();
        let tried: Vec<_> = tried.iter().map(|t| (t.file.as_str(), t.argument)).collect();
        assert_eq!(
            tried,
            [
                ("usr/sbin/xtables-nft-multi", None),
                ("usr/sbin/iptables", Some("--version")),
                ("usr/lib/xtables/libxt_tcp.so", None),
            ]
        );
        assert_eq!(elf_files(&image).unwrap().len(), 3);
        image.files = vec![file("pause", "\x7fELF")];
        assert_eq!(trials(&image).unwrap().len(), 1);
    }
}
