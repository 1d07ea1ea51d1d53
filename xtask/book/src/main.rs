//! Builds the book: `book DOCS OUT REPOSITORY`.
//!
//! Links that leave `docs` (to a source file, to ARCHITECTURE.md) work in the repository, and would
//! lead nowhere in the book. They become links to REPOSITORY. Links to README.md lead to `index`, which is what
//! mdBook makes of it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use mdbook_driver::MDBook;
use mdbook_preprocessor::book::{Book, BookItem};
use mdbook_preprocessor::errors::Result;
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};

#[path = "../../src/paths.rs"]
mod paths;

use paths::normal;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [docs, out, repository] = arguments.as_slice() else {
        eprintln!("usage: book DOCS OUT REPOSITORY");
        return ExitCode::from(2);
    };
    match build(Path::new(docs), Path::new(out), repository) {
        Ok(index) => {
            println!("{}", index.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Renders the book and returns its first page.
fn build(docs: &Path, out: &Path, repository: &str) -> anyhow::Result<PathBuf> {
    let mut book = MDBook::load(docs)
        .with_context(|| format!("cannot read the book in {}", docs.display()))?;
    // A relative one would begin at the book.
    let out = std::path::absolute(out).context("there is no working directory")?;
    book.config.build.build_dir.clone_from(&out);
    book.with_preprocessor(RepositoryLinks {
        repository: repository.trim_end_matches('/').to_owned(),
    });
    book.build().context("cannot render the book")?;
    let index = out.join("index.html");
    anyhow::ensure!(index.is_file(), "the book has no {}", index.display());
    Ok(index)
}

/// Makes links of the repository links of the book.
struct RepositoryLinks {
    repository: String,
}

impl Preprocessor for RepositoryLinks {
    fn name(&self) -> &str {
        "repository-links"
    }

    fn run(&self, _: &PreprocessorContext, mut book: Book) -> Result<Book> {
        book.for_each_mut(|item| {
            if let BookItem::Chapter(chapter) = item
                && let Some(path) = &chapter.source_path
            {
                let directory = Path::new("docs").join(path.parent().unwrap_or(Path::new("")));
                chapter.content = rewritten(&chapter.content, &directory, &self.repository);
            }
        });
        Ok(book)
    }
}

/// `text` of a page in `directory` (which begins at the repository's root) with links out of `docs` replaced.
fn rewritten(text: &str, directory: &Path, repository: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            lines.push(line.to_owned());
            continue;
        }
        let mut parts = line.split("](");
        let mut changed = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            changed.push_str("](");
            let target = part.split([')', ' ']).next().unwrap_or_default();
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = normal(&directory.join(file));
            if !file.is_empty() && !target.contains("://") && !leads_to.starts_with("docs") {
                changed.push_str(&format!("{repository}/blob/main/{}", leads_to.display()));
                if !anchor.is_empty() {
                    changed.push_str(&format!("#{anchor}"));
                }
                changed.push_str(part.strip_prefix(target).unwrap_or_default());
            } else if let Some(directory) = file.strip_suffix("README.md") {
                // mdBook calls that page `index`.
                changed.push_str(directory);
                changed.push_str("index.md");
                changed.push_str(part.strip_prefix(file).unwrap_or_default());
            } else {
                changed.push_str(part);
            }
        }
        lines.push(changed);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_readme_leads_to_the_index() {
        let text = "[a](../cli/README.md#reading) [b](README.md)";
        assert_eq!(
            rewritten(text, Path::new("docs/start"), "https://example.org/capn"),
            "[a](../cli/index.md#reading) [b](index.md)"
        );
    }

    #[test]
    fn links_out_of_the_book_lead_to_the_repository_and_others_stay() {
        let text = "[a](../../ARCHITECTURE.md#crates) [b](b.md) [c](https://example.org) [d](#d)";
        assert_eq!(
            rewritten(text, Path::new("docs/start"), "https://example.org/capn"),
            "[a](https://example.org/capn/blob/main/ARCHITECTURE.md#crates) [b](b.md) \
             [c](https://example.org) [d](#d)"
        );
    }
}
