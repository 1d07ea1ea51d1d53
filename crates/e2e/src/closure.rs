//! Local programs with the shared libraries they need.

use std::process::Command;

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};
use capn_oci::{Content, LayerFile};

/// A layer file for a local program.
pub(crate) fn program(path: &str, source: impl Into<Utf8PathBuf>) -> LayerFile {
    LayerFile { path: path.to_owned(), mode: 0o755, content: Content::Path(source.into()) }
}

/// A program from `PATH`, at `/usr/bin/NAME` in the image, with its libraries.
///
/// # Errors
///
/// Returns an error if it is not installed on this machine.
pub(crate) fn installed(name: &str) -> anyhow::Result<Vec<LayerFile>> {
    let source = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|directory| Utf8Path::new(directory).join(name))
        .find(|path| path.exists())
        .with_context(|| format!("`{name}` is not installed; `./test --install` installs it"))?;
    let source = source.canonicalize_utf8()?;
    let mut files = vec![program(&format!("usr/bin/{name}"), source.clone())];
    files.extend(libraries(&source)?);
    Ok(files)
}

/// The shared libraries of a program, at the paths where its loader looks for them. Empty for a
/// static program.
pub(crate) fn libraries(source: &Utf8Path) -> anyhow::Result<Vec<LayerFile>> {
    let output = Command::new("ldd").arg(source).env("LC_ALL", "C").output();
    let output = output.context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // ldd fails for static programs.
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for path in needed(&said, source)? {
        files
            .push(program(path.trim_start_matches('/'), Utf8Path::new(&path).canonicalize_utf8()?));
    }
    Ok(files)
}

/// The paths in the output of `ldd`.
fn needed(said: &str, source: &Utf8Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in said.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("{source} needs a library that is missing: {line}");
        }
        let (named, _) = line.split_once(" (0x").unwrap_or((line, ""));
        let path = named.split_once("=> ").map_or(named, |(_, path)| path);
        if path.starts_with('/') {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_output_is_parsed() {
        let said = "\tlinux-vdso.so.1 (0x00007fff)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tstatically linked\n";
        let found = needed(said, "/bin/x".into()).unwrap();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(needed("\tlibm.so.6 => not found\n", "/bin/x".into()).is_err());
    }

    #[test]
    fn a_shell_includes_its_libraries() {
        let files = installed("sh").unwrap();
        assert!(files.iter().any(|file| file.path.contains("libc.so")), "{files:?}");
        assert!(installed("no-such-program").is_err());
    }
}
