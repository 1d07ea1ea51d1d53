//! Checks of the house rules that a machine can make: `cargo xtask check`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod deps;
mod digests;
mod docs;
mod files;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

const USAGE: &str = "usage: cargo xtask COMMAND

  check        everything below, after fmt and clippy
  check-deps   which crate may use which, from `cargo metadata`
  check-files  file sizes and what sources must not contain
  check-docs   links, and the size of CONTRIBUTING.md
  digests      adds the published digests of Kubernetes' releases to those that are part of capn
  package      writes a release into a folder; --help says how";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let result = workspace_root().and_then(|root| match command.as_deref() {
        Some("check") => check(&root),
        Some("check-deps") => report("check-deps", deps::check(&root)?),
        Some("check-files") => report("check-files", files::check(&root)?),
        Some("check-docs") => report("check-docs", docs::check(&root)?),
        Some("digests") => digests::add(&root, &arguments.collect::<Vec<_>>()),
        Some("package") => package(&root, arguments.collect()),
        _ => bail!("{USAGE}"),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn workspace_root() -> anyhow::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .context("xtask has no parent folder")
}

fn check(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["fmt", "--all", "--check"])?;
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    report("check-deps", deps::check(root)?)?;
    report("check-files", files::check(root)?)?;
    report("check-docs", docs::check(root)?)
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot run cargo {}", arguments.join(" ")))?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// A program of its own, so that the checks do not wait for what it needs.
fn package(root: &Path, arguments: Vec<String>) -> anyhow::Result<()> {
    let mut all: Vec<&str> = vec!["run", "--quiet", "--package", "capn-package", "--"];
    all.extend(arguments.iter().map(String::as_str));
    cargo(root, &all)
}

/// Prints what broke a rule, one line each, and fails if there was anything.
fn report(name: &str, problems: Vec<String>) -> anyhow::Result<()> {
    if problems.is_empty() {
        println!("{name}: ok");
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{name}: {problem}");
    }
    bail!("{name}: {} found", problems.len());
}
