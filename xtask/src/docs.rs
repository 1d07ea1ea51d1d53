//! Documentation: links and anchors lead somewhere, every page is in the book once, and short files stay short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::paths::normal;

/// Files with a line limit that is a promise to their reader.
const MOST_LINES: &[(&str, usize)] = &[("CONTRIBUTING.md", 150), ("README.md", 80)];

/// Files a stranger looks for.
const MUST_EXIST: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "deny.toml",
    "docs/book.toml",
    SUMMARY,
];

/// The table of contents of the book.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Lists missing files, files that are too long, links that lead nowhere, and pages that the book lacks.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in MUST_EXIST {
        if !root.join(name).is_file() {
            problems.push(format!("{name} is missing"));
        }
    }
    let pages = read_pages(root)?;
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        pages.iter().map(|(path, text)| (path.as_path(), anchors(text))).collect();
    for (path, text) in &pages {
        let shown = path.display().to_string();
        if let Some((_, most)) = MOST_LINES.iter().find(|(name, _)| *name == shown) {
            let lines = text.lines().count();
            if lines > *most {
                problems.push(format!("{shown}: {lines} lines, at most {most}"));
            }
        }
        for target in links(text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = if file.is_empty() {
                path.clone()
            } else {
                normal(&path.parent().unwrap_or(Path::new("")).join(file))
            };
            if !root.join(&leads_to).exists() {
                problems.push(format!("{shown}: the link to {target} leads nowhere"));
            } else if !anchor.is_empty()
                && anchors.get(leads_to.as_path()).is_some_and(|known| !known.contains(anchor))
            {
                problems
                    .push(format!("{shown}: {} has no heading `#{anchor}`", leads_to.display()));
            }
        }
    }
    if let Some((_, summary)) = pages.iter().find(|(path, _)| path == Path::new(SUMMARY)) {
        problems.extend(summary_problems(summary, pages.iter().map(|(path, _)| path.as_path())));
    }
    Ok(problems)
}

/// Every page below `docs` has to be in the table of contents, exactly once.
fn summary_problems<'a>(summary: &str, pages: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut listed: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for target in links(summary) {
        *listed.entry(normal(&Path::new("docs").join(target))).or_default() += 1;
    }
    for (page, times) in &listed {
        if *times > 1 {
            problems.push(format!("{SUMMARY} lists {} {times} times", page.display()));
        }
    }
    for page in pages.filter(|page| page.starts_with("docs") && *page != Path::new(SUMMARY)) {
        if !listed.contains_key(page) {
            problems.push(format!("{} is not in {SUMMARY}", page.display()));
        }
    }
    problems
}

/// Lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of links and images, of Markdown and of HTML, that point into the repository.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(text) {
        let markdown = line.split("](").skip(1).map(|part| part.split([')', ' ']).next());
        let html = ["src=\"", "srcset=\"", "href=\""]
            .into_iter()
            .flat_map(|attribute| line.split(attribute).skip(1))
            .map(|part| part.split(['"', ' ']).next());
        found.extend(
            markdown
                .chain(html)
                .flatten()
                .filter(|target| !target.contains("://") && !target.starts_with("mailto:")),
        );
    }
    found
}

/// The anchors of a page's headings, as mdBook and GitHub make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = without_link_targets(line.trim_start_matches('#').trim());
        let anchor: String = heading
            .chars()
            .filter_map(|character| match character {
                ' ' => Some('-'),
                '-' | '_' => Some(character),
                _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        let mut unique = anchor.clone();
        let mut number = 0;
        while !found.insert(unique.clone()) {
            number += 1;
            unique = format!("{anchor}-{number}");
        }
    }
    found
}

/// `[text](target)` becomes `text`.
fn without_link_targets(heading: &str) -> String {
    let mut parts = heading.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    text
}

/// The Markdown files of the repository's root and of `docs`, with their texts. Paths begin at the root.
fn read_pages(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut directories = vec![(PathBuf::new(), false), (PathBuf::from("docs"), true)];
    while let Some((directory, recursive)) = directories.pop() {
        let entries = std::fs::read_dir(root.join(&directory))
            .with_context(|| format!("cannot list {}", root.join(&directory).display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
            let path = directory.join(entry.file_name());
            if root.join(&path).is_dir() {
                if recursive {
                    directories.push((path, true));
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(root.join(&path))
                    .with_context(|| format!("cannot read {}", path.display()))?;
                found.push((path, text));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_repository_are_found_and_others_left_alone() {
        let text = "[a](docs/a.md#part) [b](https://example.org) [c](#here)\n```\n[d](x.md)\n```\n\
                    <img src=\"docs/images/a.svg\">\n";
        assert_eq!(links(text), ["docs/a.md#part", "#here", "docs/images/a.svg"]);
    }

    #[test]
    fn anchors_are_those_of_mdbook_and_github() {
        let text = "# Who it is (`identity`)\n## [A link](x.md) of `capn up`\n## Same\n## Same\n";
        let expected = ["a-link-of-capn-up", "same", "same-1", "who-it-is-identity"];
        assert!(anchors(text).iter().eq(expected), "{:?}", anchors(text));
    }

    #[test]
    fn a_page_outside_the_summary_and_one_that_is_in_it_twice_are_reported() {
        let summary = "- [A](a.md)\n- [A](./a.md)\n";
        let pages = [Path::new("README.md"), Path::new("docs/a.md"), Path::new("docs/b.md")];
        assert_eq!(
            summary_problems(summary, pages.into_iter()),
            ["docs/SUMMARY.md lists docs/a.md 2 times", "docs/b.md is not in docs/SUMMARY.md"]
        );
    }
}
