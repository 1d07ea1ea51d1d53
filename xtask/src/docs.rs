//! Documentation: links inside the repository lead somewhere, and short files stay short.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Files with a line limit that is a promise to their reader.
const MOST_LINES: &[(&str, usize)] = &[("CONTRIBUTING.md", 150)];

/// Files a stranger looks for.
const MUST_EXIST: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "deny.toml"];

/// Lists missing files, files that are too long and links that lead nowhere.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in MUST_EXIST {
        if !root.join(name).is_file() {
            problems.push(format!("{name} is missing"));
        }
    }
    for path in pages(root)? {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if let Some((_, most)) = MOST_LINES.iter().find(|(name, _)| *name == shown) {
            let lines = text.lines().count();
            if lines > *most {
                problems.push(format!("{shown}: {lines} lines, at most {most}"));
            }
        }
        let folder = path.parent().unwrap_or(root);
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !folder.join(file).exists() {
                problems.push(format!("{shown}: link to {target} leads nowhere"));
            }
        }
    }
    Ok(problems)
}

/// Targets of Markdown links that point into the repository.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:")
            {
                found.push(target);
            }
        }
    }
    found
}

fn pages(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).context("cannot list the repository")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
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
        let text = "[a](docs/a.md#part) [b](https://example.org) [c](#here)\n```\n[d](x.md)\n```\n";
        assert_eq!(links(text), ["docs/a.md#part"]);
    }
}
