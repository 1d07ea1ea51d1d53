//! Builds a complete release: binaries, packages, images, charts, checksums and a signature.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

const USAGE: &str = "usage: cargo xtask release --version vX.Y.Z [OPTIONS]

  --version vX.Y.Z       the version, which has to be that of Cargo.toml
  --out DIR              the folder, which must not be there yet (default: dist/vX.Y.Z)
  --architecture A       amd64 or arm64; may be given several times (default: that of this machine)
  --binary A=FILE        a binary that is there already, instead of building it
  --key FILE             secret key of minisign, by which SHA256SUMS is signed
  --twice                builds each binary a second time, elsewhere, and compares
  --image NAME           the manager's image without its tag

Example: cargo xtask release --version v0.1.0 --architecture amd64 --architecture arm64 --key ~/.minisign/capn.key";

/// File with the checksums of all other files.
const SUMS: &str = "SHA256SUMS";

/// Command line options.
#[derive(Debug, Default)]
struct ReleaseOptions {
    version: String,
    out: Option<PathBuf>,
    architectures: Vec<Architecture>,
    binaries: Vec<(Architecture, PathBuf)>,
    key: Option<PathBuf>,
    twice: bool,
    image: Option<String>,
}

/// An architecture, as named by OCI and Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    fn of(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.with_context(|| format!("`{text}` is not a supported architecture (amd64 or arm64)"))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn is_this_machine(self) -> bool {
        match self {
            Self::Amd64 => cfg!(target_arch = "x86_64"),
            Self::Arm64 => cfg!(target_arch = "aarch64"),
        }
    }

    /// Native builds link glibc statically; cross builds with zig use musl, the only libc it can
    /// link statically.
    fn target(self) -> &'static str {
        match (self, self.is_this_machine()) {
            (Self::Amd64, true) => "x86_64-unknown-linux-gnu",
            (Self::Amd64, false) => "x86_64-unknown-linux-musl",
            (Self::Arm64, true) => "aarch64-unknown-linux-gnu",
            (Self::Arm64, false) => "aarch64-unknown-linux-musl",
        }
    }
}

/// Builds a release.
///
/// # Errors
///
/// Returns an error for wrong usage, a missing tool, or a failed build or package. The output
/// directory is kept for inspection.
pub(crate) fn release(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let asked = parse(arguments)?;
    let package = format!("v{}", env!("CARGO_PKG_VERSION"));
    ensure!(
        asked.version == package,
        "the version in Cargo.toml is {package}, not {}: change one of them",
        asked.version
    );
    let out = asked.out.clone().unwrap_or_else(|| root.join("dist").join(&asked.version));
    ensure!(!out.exists(), "{} already exists; choose another directory with --out", out.display());
    if asked.key.is_some() {
        run(
            Command::new("minisign").arg("-v"),
            "signing requires minisign: `apt install minisign`",
        )?;
    }
    let epoch = epoch(root)?;
    let mut binaries = Vec::new();
    for architecture in &asked.architectures {
        binaries.push((*architecture, binary(root, &asked, *architecture, &epoch)?));
    }
    // Completions come from a binary that runs on this machine.
    let runs = binaries.iter().find(|(architecture, _)| architecture.is_this_machine());
    let runs = runs.map(|(_, path)| path.clone());
    for (architecture, path) in &binaries {
        let packed = pack(root, &asked, &out, *architecture, path, runs.as_deref(), &epoch);
        packed.with_context(|| format!("cannot pack for {}", architecture.as_str()))?;
        let name = format!("capn-{}-linux-{}", asked.version, architecture.as_str());
        std::fs::copy(path, out.join(&name)).with_context(|| format!("cannot write {name}"))?;
    }
    let sums = sums(&out)?;
    std::fs::write(out.join(SUMS), &sums).with_context(|| format!("cannot write {SUMS}"))?;
    match &asked.key {
        Some(key) => {
            let mut sign = Command::new("minisign");
            sign.arg("-S").arg("-s").arg(key).arg("-m").arg(out.join(SUMS));
            run(&mut sign, &format!("cannot sign {SUMS}"))?;
        }
        None => println!("not signed: use --key FILE to sign with a minisign key"),
    }
    print!("{sums}");
    println!("{}: {} files", out.display(), sums.lines().count());
    Ok(())
}

fn parse(arguments: &[String]) -> anyhow::Result<ReleaseOptions> {
    let mut asked = ReleaseOptions::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value\n\n{USAGE}"));
        match word.as_str() {
            "--version" => asked.version = value()?.clone(),
            "--out" => asked.out = Some(value()?.into()),
            "--architecture" => asked.architectures.push(Architecture::of(value()?)?),
            "--binary" => {
                let text = value()?;
                let (architecture, path) = text
                    .split_once('=')
                    .with_context(|| format!("--binary expects ARCHITECTURE=FILE, not `{text}`"))?;
                asked.binaries.push((Architecture::of(architecture)?, path.into()));
            }
            "--key" => asked.key = Some(value()?.into()),
            "--image" => asked.image = Some(value()?.clone()),
            "--twice" => asked.twice = true,
            _ => bail!("{USAGE}"),
        }
    }
    ensure!(!asked.version.is_empty(), "{USAGE}");
    for (architecture, _) in &asked.binaries {
        if !asked.architectures.contains(architecture) {
            asked.architectures.push(*architecture);
        }
    }
    if asked.architectures.is_empty() {
        asked.architectures =
            Architecture::ALL.into_iter().filter(|it| it.is_this_machine()).collect();
    }
    Ok(asked)
}

/// Time of the last commit, so that builds of the same commit are reproducible.
fn epoch(root: &Path) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "git did not print the time of the last commit");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The binary of an architecture: given or built.
fn binary(
    root: &Path,
    asked: &ReleaseOptions,
    of: Architecture,
    epoch: &str,
) -> anyhow::Result<PathBuf> {
    if let Some((_, path)) = asked.binaries.iter().find(|(architecture, _)| *architecture == of) {
        ensure!(path.is_file(), "{} is not a file", path.display());
        return path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    }
    let first = build(root, of, &root.join("target"), epoch)?;
    if asked.twice {
        let second = build(root, of, &root.join("target/again"), epoch)?;
        let [a, b] = [digest(&first)?, digest(&second)?];
        ensure!(a == b, "two builds for {} differ: {a} and {b}", of.as_str());
        println!("two builds for {} are identical: {a}", of.as_str());
    }
    Ok(first)
}

fn build(root: &Path, of: Architecture, dir: &Path, epoch: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let missing = match of.is_this_machine() {
        true => {
            command.arg("build");
            String::new()
        }
        false => {
            command.arg("zigbuild");
            format!(
                "; cross builds need `pip install cargo-zigbuild ziglang` and `rustup target add {}`",
                of.target()
            )
        }
    };
    // Local paths must not be part of a release.
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let mut flags =
        format!("-C target-feature=+crt-static --remap-path-prefix={}=/capn", root.display());
    if let Ok(home) = home {
        flags.push_str(&format!(" --remap-path-prefix={home}=/cargo"));
    }
    command
        .args(["--release", "--locked", "--package", "capn", "--target", of.target()])
        .env("CARGO_TARGET_DIR", dir)
        .env("RUSTFLAGS", flags)
        .env("SOURCE_DATE_EPOCH", epoch)
        .current_dir(root);
    run(&mut command, &format!("cannot build for {}{missing}", of.as_str()))?;
    Ok(dir.join(of.target()).join("release/capn"))
}

fn pack(
    root: &Path,
    asked: &ReleaseOptions,
    out: &Path,
    of: Architecture,
    binary: &Path,
    runs: Option<&Path>,
    epoch: &str,
) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--locked", "--package", "capn-package", "--"]);
    command.args(["--version", &asked.version, "--architecture", of.as_str(), "--epoch", epoch]);
    command.arg("--out").arg(out).arg("--templates").arg(root.join("templates"));
    command.arg("--binary").arg(binary);
    if let Some(runs) = runs {
        command.arg("--runs").arg(runs);
    }
    if let Some(image) = &asked.image {
        command.args(["--image", image]);
    }
    run(command.current_dir(root), "capn-package failed")
}

/// Checksums of all files in a directory, sorted by path.
fn sums(dir: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    let mut text = String::new();
    for file in files {
        let path = file.strip_prefix(dir).context("a file is outside its directory")?;
        text.push_str(&format!("{}  {}\n", digest(&file)?, path.display()));
    }
    Ok(text)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(dir);
    for entry in entries.with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg("--").arg(path).output();
    let output = output.context("cannot run sha256sum")?;
    ensure!(output.status.success(), "cannot read {}", path.display());
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

fn run(command: &mut Command, otherwise: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| otherwise.to_owned())?;
    ensure!(status.success(), "{otherwise}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_binary_names_its_architecture() {
        let asked = parse(&words("--version v0.1.0 --binary arm64=a --key k")).unwrap();
        assert_eq!(asked.architectures, [Architecture::Arm64]);
        assert_eq!(asked.key, Some("k".into()));
        for wrong in [
            "",
            "--version",
            "--version v1 --binary a",
            "--version v1 --architecture riscv64",
            "--what",
        ] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn digests_cover_all_files_by_path() {
        let dir = std::env::temp_dir().join(format!("capn-sums-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("b")).unwrap();
        std::fs::write(dir.join("b/a"), "").unwrap();
        std::fs::write(dir.join("a"), "").unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sums(&dir).unwrap(), format!("{empty}  a\n{empty}  b/a\n"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
