//! The book: `cargo xtask book` renders `docs` with mdBook.

use std::path::Path;

use anyhow::bail;

/// Where links that leave the book lead.
const REPOSITORY: &str = "https://github.com/capn-rs/capn";

/// Runs the program in `xtask/book`, which has mdBook in a workspace of its own.
///
/// # Errors
///
/// Unknown arguments, or a book that cannot be rendered.
pub(crate) fn build(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let out = match arguments {
        [] => root.join("target/book").display().to_string(),
        [option, out] if option == "--out" => std::path::absolute(out)?.display().to_string(),
        _ => bail!("usage: cargo xtask book [--out DIR]"),
    };
    let manifest = root.join("xtask/book/Cargo.toml").display().to_string();
    let target = root.join("target/book-program").display().to_string();
    let docs = root.join("docs").display().to_string();
    super::cargo(
        root,
        &[
            "run",
            "--quiet",
            "--locked",
            "--manifest-path",
            &manifest,
            "--target-dir",
            &target,
            "--",
            &docs,
            &out,
            REPOSITORY,
        ],
    )
}
