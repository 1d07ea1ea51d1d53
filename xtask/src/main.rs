//! Automated checks of the coding rules: `cargo xtask check`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod book;
mod charts;
mod deps;
mod digests;
mod docs;
mod files;
mod paths;
mod record;
mod release;
mod words;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

const USAGE: &str = "usage: cargo xtask COMMAND

  check        everything below, after fmt and clippy
  check-deps   which crate may use which, from `cargo metadata`
  check-files  file sizes and what sources must not contain
  check-docs   links, anchors, the table of contents of the book, its pictures
  book         builds the book in docs with mdBook: [--out DIR]
  charts       draws the pictures that are made from tables of the documentation
  escape-table puts reports of `capn doctor --escape-test NODE -o json` into docs/tested/escape.md
  record       runs a command and writes what a terminal shows as an animated SVG; --help says how
  digests      adds the published digests of Kubernetes' releases to those that are part of capn
  package      writes what a release holds into a folder; --help says how
  release      makes a whole release: binaries, packages, digests, a signature";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let result = workspace_root().and_then(|root| match command.as_deref() {
        Some("check") => check(&root),
        Some("check-deps") => report("check-deps", deps::check(&root)?),
        Some("check-files") => report("check-files", files::check(&root)?),
        Some("check-docs") => check_docs(&root),
        Some("book") => book::build(&root, &arguments.collect::<Vec<_>>()),
        Some("charts") => charts::write(&root),
        Some("escape-table") => charts::record_escape(&root, &arguments.collect::<Vec<_>>()),
        Some("record") => record::record(&arguments.collect::<Vec<_>>()),
        Some("digests") => digests::add(&root, &arguments.collect::<Vec<_>>()),
        Some("release") => release::release(&root, &arguments.collect::<Vec<_>>()),
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
        .context("xtask has no parent directory")
}

fn check(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["fmt", "--all", "--check"])?;
    cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    report("check-deps", deps::check(root)?)?;
    report("check-files", files::check(root)?)?;
    check_docs(root)
}

fn check_docs(root: &Path) -> anyhow::Result<()> {
    let mut problems = docs::check(root)?;
    problems.extend(charts::check(root)?);
    report("check-docs", problems)
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

/// A separate program, so that the checks need not build its dependencies.
fn package(root: &Path, arguments: Vec<String>) -> anyhow::Result<()> {
    let mut all: Vec<&str> = vec!["run", "--quiet", "--package", "capn-package", "--"];
    all.extend(arguments.iter().map(String::as_str));
    cargo(root, &all)
}

/// Prints each violation on a line. Returns an error if there are any.
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
