//! `cargo xtask package`: writes a release into a folder.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

use std::{fs, io::BufWriter, process::ExitCode};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use capn_package::{
    File, Release, clusterctl,
    deb::{self, Completions, DebRequest},
    helm,
    image::{self, ImageRequest},
};
use clap::Parser;

/// Writes what a release of capn holds.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask package")]
struct Arguments {
    /// The folder; made if it is absent
    #[arg(long, value_name = "DIR")]
    out: Utf8PathBuf,
    /// The version, as v1.2.3
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// The manager's image, without a tag: that of the version is added
    #[arg(long, default_value = "ghcr.io/capn-rs/capn")]
    image: String,
    /// The capn binary, statically linked: makes the image and the Debian package
    #[arg(long, value_name = "PATH")]
    binary: Option<Utf8PathBuf>,
    /// Certificates of authorities that go into the image (PEM)
    #[arg(long, value_name = "FILE")]
    certificates: Option<Utf8PathBuf>,
    /// A folder with cluster-template*.yaml and clusterclass-*.yaml
    #[arg(long, value_name = "DIR")]
    templates: Option<Utf8PathBuf>,
    /// The binary's architecture, in the words of OCI and Debian
    #[arg(long, default_value = "amd64")]
    architecture: String,
    /// What the binary needs, in Debian's words; nothing for a static one
    #[arg(long, default_value = "")]
    depends: String,
    /// The changes that go into the Debian package
    #[arg(long, default_value = "CHANGELOG.md", value_name = "FILE")]
    changelog: Utf8PathBuf,
    /// Time of all files, seconds since 1970
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
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {path}"))?;
    println!("{path}");
    Ok(())
}

/// The templates in a folder, sorted by name.
fn templates(folder: &Utf8Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let entries = folder.read_dir_utf8().with_context(|| format!("cannot read {folder}"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {folder}"))?;
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
    let completions = Completions {
        bash: completion(binary, "bash")?,
        fish: completion(binary, "fish")?,
        zsh: completion(binary, "zsh")?,
    };
    let changelog = fs::read_to_string(&arguments.changelog)
        .with_context(|| format!("cannot read {}", arguments.changelog))?;
    let request = DebRequest {
        release,
        binary,
        completions: &completions,
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

/// The binary is asked for its completions, so it has to run here.
fn completion(binary: &Utf8Path, shell: &str) -> anyhow::Result<String> {
    let program = binary.canonicalize_utf8().with_context(|| format!("cannot find {binary}"))?;
    let output = std::process::Command::new(program)
        .args(["completion", shell])
        .output()
        .with_context(|| format!("cannot run {binary}: it has to run on this machine"))?;
    anyhow::ensure!(output.status.success(), "{binary} completion {shell} failed");
    String::from_utf8(output.stdout).context("a completion script is not UTF-8")
}
