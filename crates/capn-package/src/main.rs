//! `cargo xtask package`: writes a release to a directory.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

use std::{collections::BTreeMap, fs, io::BufWriter, process::ExitCode};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use capn_package::{
    File, Release, clusterctl,
    deb::{self, Completions, DebRequest},
    helm,
    image::{self, ImageRequest},
};
use clap::Parser;

/// Writes the artifacts of a capn release.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask package")]
struct Arguments {
    /// Output directory; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Utf8PathBuf,
    /// Version, for example v1.2.3
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// Image of the manager without a tag; the version's tag is added
    #[arg(long, default_value = "ghcr.io/capn-rs/capn")]
    image: String,
    /// Statically linked capn binary; builds the image and the Debian package
    #[arg(long, value_name = "PATH")]
    binary: Option<Utf8PathBuf>,
    /// capn binary that runs on this machine, for completions and manual pages [default: that of
    /// --binary]
    #[arg(long, value_name = "PATH", requires = "binary")]
    runs: Option<Utf8PathBuf>,
    /// CA certificates for the image (PEM)
    #[arg(long, value_name = "FILE")]
    certificates: Option<Utf8PathBuf>,
    /// Directory with cluster-template*.yaml and clusterclass-*.yaml
    #[arg(long, value_name = "DIR")]
    templates: Option<Utf8PathBuf>,
    /// Architecture of the binary, as named by OCI and Debian
    #[arg(long, default_value = "amd64")]
    architecture: String,
    /// Dependencies of the binary in Debian's syntax; empty for a static one
    #[arg(long, default_value = "")]
    depends: String,
    /// Changelog for the Debian package
    #[arg(long, default_value = "CHANGELOG.md", value_name = "FILE")]
    changelog: Utf8PathBuf,
    /// Timestamp of all files in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0)]
    epoch: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let version = arguments.version.trim_start_matches('v');
    let release = Release::new(version, &format!("{}:v{version}", arguments.image))?;
    let templates = arguments.templates.as_deref().map(templates).transpose()?;
    let mut files = clusterctl::repository(&release, &templates.unwrap_or_default())?;
    let chart = helm::chart(&release)?;
    files
        .extend(chart.into_iter().map(|file| File { path: format!("helm/{}", file.path), ..file }));
    for file in files {
        write(&arguments.out.join(&file.path), file.text.as_bytes())?;
    }
    if let Some(binary) = &arguments.binary {
        write_image(arguments, &release, binary)?;
        write_deb(arguments, &release, binary)?;
    }
    Ok(())
}

fn write(path: &Utf8Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {dir}"))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {path}"))?;
    println!("{path}");
    Ok(())
}

/// Templates in a directory, sorted by name.
fn templates(dir: &Utf8Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let entries = dir.read_dir_utf8().with_context(|| format!("cannot read {dir}"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {dir}"))?;
        let name = entry.file_name();
        let wanted = name.starts_with("cluster-template") || name.starts_with("clusterclass-");
        if wanted && name.ends_with(".yaml") {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("cannot read {}", entry.path()))?;
            files.push(File::new(name, text));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn write_image(arguments: &Arguments, release: &Release, binary: &Utf8Path) -> anyhow::Result<()> {
    let name = format!("capn-manager-{}-{}.tar", release.tag(), arguments.architecture);
    let path = arguments.out.join(name);
    let request = ImageRequest {
        release,
        binary,
        certificates: arguments.certificates.as_deref(),
        architecture: &arguments.architecture,
    };
    let file = fs::File::create(&path).with_context(|| format!("cannot write {path}"))?;
    let digest = image::write(&request, BufWriter::new(file))?;
    println!("{path} {digest}");
    Ok(())
}

fn write_deb(arguments: &Arguments, release: &Release, binary: &Utf8Path) -> anyhow::Result<()> {
    let runs = arguments.runs.as_deref().unwrap_or(binary);
    let completions = Completions {
        bash: completion(runs, "bash")?,
        fish: completion(runs, "fish")?,
        zsh: completion(runs, "zsh")?,
    };
    let manuals = manuals(runs)?;
    let changelog = fs::read_to_string(&arguments.changelog)
        .with_context(|| format!("cannot read {}", arguments.changelog))?;
    let request = DebRequest {
        release,
        binary,
        completions: &completions,
        manuals: &manuals,
        changelog: &changelog,
        architecture: &arguments.architecture,
        epoch: arguments.epoch,
        depends: &arguments.depends,
    };
    let path = arguments.out.join(deb::file_name(&request));
    let file = fs::File::create(&path).with_context(|| format!("cannot write {path}"))?;
    deb::write(&request, BufWriter::new(file))?;
    println!("{path}");
    Ok(())
}

/// The binary prints its completions, so it must run on this machine.
fn completion(binary: &Utf8Path, shell: &str) -> anyhow::Result<String> {
    let script = ask(binary, &["completion", shell])?;
    String::from_utf8(script).context("a completion script is not UTF-8")
}

/// Manual pages written by the binary, by file name.
fn manuals(binary: &Utf8Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let dir = tempfile::tempdir().context("cannot create a directory for manual pages")?;
    let dir = Utf8Path::from_path(dir.path())
        .context("the path of the temporary directory is not UTF-8")?;
    ask(binary, &["generate", "man", dir.as_str()])?;
    let mut pages = BTreeMap::new();
    for page in dir.read_dir_utf8().context("cannot read the manual pages")? {
        let page = page.context("cannot read the manual pages")?;
        let bytes =
            fs::read(page.path()).with_context(|| format!("cannot read {}", page.path()))?;
        pages.insert(page.file_name().to_owned(), bytes);
    }
    Ok(pages)
}

fn ask(binary: &Utf8Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let program = binary.canonicalize_utf8().with_context(|| format!("cannot find {binary}"))?;
    let output =
        std::process::Command::new(program).args(arguments).output().with_context(|| {
            format!("cannot run {binary}, which must be able to run on this machine")
        })?;
    anyhow::ensure!(output.status.success(), "{binary} {} failed", arguments.join(" "));
    Ok(output.stdout)
}
