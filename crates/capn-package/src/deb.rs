//! Debian package of the command: binary, completions, manual pages, and a systemd unit that is not
//! enabled by default.

mod texts;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use crate::{PackageError, Release};

/// Input of the package.
#[derive(Clone, Debug)]
pub struct DebRequest<'a> {
    /// The release.
    pub release: &'a Release,
    /// The `capn` binary.
    pub binary: &'a Utf8Path,
    /// Completion scripts.
    pub completions: &'a Completions,
    /// Manual pages by file name, as written by `capn generate man`.
    pub manuals: &'a BTreeMap<String, Vec<u8>>,
    /// Content of `CHANGELOG.md`.
    pub changelog: &'a str,
    /// Debian architecture: `amd64`, `arm64`.
    pub architecture: &'a str,
    /// Timestamp of all files in seconds since 1970: `SOURCE_DATE_EPOCH`.
    pub epoch: u64,
    /// Dependencies of the binary, for example `libc6 (>= 2.36)`; empty for a static one.
    pub depends: &'a str,
}

/// Output of `capn completion SHELL`.
#[derive(Clone, Debug, Default)]
pub struct Completions {
    /// For bash.
    pub bash: String,
    /// For fish.
    pub fish: String,
    /// For zsh.
    pub zsh: String,
}

/// Returns the file name of the package: `capn_0.1.0_amd64.deb`.
#[must_use]
pub fn file_name(request: &DebRequest<'_>) -> String {
    format!("capn_{}_{}.deb", version(request.release), request.architecture)
}

/// Debian sorts `1.0~rc` before `1.0`.
fn version(release: &Release) -> String {
    release.version().replacen('-', "~", 1)
}

/// A file in the package.
struct Entry {
    /// Path without a leading slash.
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

/// Writes the package. The output is reproducible.
///
/// # Errors
/// Returns [`PackageError::Read`] if the binary cannot be read, [`PackageError::Archive`] if the
/// output cannot be written.
pub fn write(request: &DebRequest<'_>, output: impl Write) -> Result<(), PackageError> {
    let binary = std::fs::read(request.binary)
        .map_err(|source| PackageError::Read { path: Utf8PathBuf::from(request.binary), source })?;
    archive(request, binary, output).map_err(PackageError::archive("the Debian package"))
}

fn archive(request: &DebRequest<'_>, binary: Vec<u8>, output: impl Write) -> io::Result<()> {
    let files = files(request, binary)?;
    let size: usize = files.iter().map(|file| file.bytes.len()).sum();
    let mut sums = String::new();
    for file in &files {
        sums.push_str(&format!("{}  {}\n", hex::encode(Sha256::digest(&file.bytes)), file.path));
    }
    let script = |path: &str, text: &str| Entry {
        path: path.to_owned(),
        mode: 0o755,
        bytes: text.as_bytes().to_vec(),
    };
    let control = [
        Entry {
            path: "control".to_owned(),
            mode: 0o644,
            bytes: control(request, size).into_bytes(),
        },
        Entry { path: "sha256sums".to_owned(), mode: 0o644, bytes: sums.into_bytes() },
        script("postinst", texts::POSTINST),
        script("prerm", texts::PRERM),
        script("postrm", texts::POSTRM),
    ];
    let mut archive = ar::Builder::new(output);
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(request.epoch);
        archive.append(&header, bytes)
    };
    add("debian-binary", b"2.0\n")?;
    add("control.tar.gz", &tar_gz(&control, request.epoch)?)?;
    add("data.tar.gz", &tar_gz(&files, request.epoch)?)
}

fn files(request: &DebRequest<'_>, binary: Vec<u8>) -> io::Result<Vec<Entry>> {
    let text = |path: &str, text: &str| Entry {
        path: path.to_owned(),
        mode: 0o644,
        bytes: text.as_bytes().to_vec(),
    };
    let completions = request.completions;
    let compressed = |bytes: &[u8]| {
        let mut gzip = gzip(Vec::new(), request.epoch);
        gzip.write_all(bytes)?;
        gzip.finish()
    };
    let mut files = vec![
        Entry { path: "usr/bin/capn".to_owned(), mode: 0o755, bytes: binary },
        text("usr/lib/systemd/system/capn.service", texts::UNIT),
        text("usr/share/bash-completion/completions/capn", &completions.bash),
        text("usr/share/fish/vendor_completions.d/capn.fish", &completions.fish),
        text("usr/share/zsh/vendor-completions/_capn", &completions.zsh),
        text("usr/share/doc/capn/copyright", texts::COPYRIGHT),
        Entry {
            path: "usr/share/doc/capn/changelog.gz".to_owned(),
            mode: 0o644,
            bytes: compressed(request.changelog.as_bytes())?,
        },
    ];
    for (name, page) in request.manuals {
        let path = format!("usr/share/man/man1/{name}.gz");
        files.push(Entry { path, mode: 0o644, bytes: compressed(page)? });
    }
    Ok(files)
}

fn control(request: &DebRequest<'_>, size: usize) -> String {
    let depends = match request.depends {
        "" => String::new(),
        depends => format!("Depends: {depends}\n"),
    };
    format!(
        "Package: capn\n\
         Version: {version}\n\
         Section: admin\n\
         Priority: optional\n\
         Architecture: {architecture}\n\
         Maintainer: {maintainer}\n\
         Installed-Size: {size}\n\
         {depends}\
         Suggests: incus | lxd, kubernetes-client\n\
         Homepage: {homepage}\n\
         Description: Kubernetes clusters on Incus and LXD\n \
         capn makes Kubernetes clusters whose nodes are instances of Incus or LXD,\n \
         above all unprivileged system containers. It needs no management cluster;\n \
         capn serve keeps clusters as they should be, capn manager is the\n \
         infrastructure provider for a management cluster of Cluster API.\n",
        version = version(request.release),
        architecture = request.architecture,
        maintainer = texts::MAINTAINER,
        size = size.div_ceil(1024),
        homepage = env!("CARGO_PKG_REPOSITORY"),
    )
}

fn gzip<W: Write>(output: W, epoch: u64) -> GzEncoder<W> {
    let time = u32::try_from(epoch).unwrap_or(0);
    GzBuilder::new().mtime(time).write(output, Compression::default())
}

fn tar_gz(files: &[Entry], epoch: u64) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(gzip(Vec::new(), epoch));
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    let mut dirs = BTreeSet::new();
    for file in files {
        let parents = Utf8Path::new(&file.path).ancestors().skip(1);
        dirs.extend(parents.map(ToString::to_string).filter(|path| !path.is_empty()));
    }
    for dir in dirs {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, format!("{dir}/"), io::empty())?;
    }
    for file in files {
        let mut header = header(tar::EntryType::Regular, file.mode, file.bytes.len() as u64);
        tar.append_data(&mut header, &file.path, file.bytes.as_slice())?;
    }
    tar.into_inner()?.finish()
}

#[cfg(test)]
mod tests;
