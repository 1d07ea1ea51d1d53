//! Checks of source files: maximum length and forbidden code.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Maximum number of lines of a source file.
const MOST_LINES: usize = 650;

/// Forbidden text by path, with the reason. Not applied to tests (from `#[cfg(test)]` on).
const MUST_NOT_SAY: &[(&str, &str, &str)] = &[
    ("crates/capn-plan/src", "async fn", "a plan is a pure function"),
    ("crates/capn-plan/src", "Timestamp::now", "a plan has no clock; take `now` as an argument"),
    ("crates/capn-plan/src", "SystemTime::now", "a plan has no clock; take `now` as an argument"),
    ("crates", "#[allow(", "use #[expect(.., reason = \"..\")]"),
    ("crates", "todo!(", "unfinished code is not committed"),
];

/// Libraries that must not read the environment. Only the binary reads it, in one place.
const READS_NO_ENVIRONMENT: &[&str] = &[
    "crates/incus-api/src",
    "crates/incus-client/src",
    "crates/capi-api/src",
    "crates/capn-api/src",
    "crates/capn-plan/src",
    "crates/capn-oci/src",
    "crates/capn-template/src",
    "crates/capn-image/src",
    "crates/capn-provider/src",
    "crates/kube-plane/src",
    "crates/capn-lifecycle/src",
];

/// Lists source files that are too long or contain forbidden text.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    let sources = sources(root)?;
    for path in &sources {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let is_test = shown.contains("/tests/");
        problems.extend(of_file(&shown, &text, is_test));
    }
    problems.extend(crate::words::check(root, &sources)?);
    Ok(problems)
}

fn of_file(path: &str, text: &str, is_test: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES {
        problems.push(format!("{path}: {lines} lines, at most {MOST_LINES}"));
    }
    if is_test {
        return problems;
    }
    for (number, line) in text.lines().enumerate() {
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let line_number = number + 1;
        for (under, word, why) in MUST_NOT_SAY {
            if path.starts_with(under) && line.contains(word) {
                problems.push(format!("{path}:{line_number}: `{word}`: {why}"));
            }
        }
        if READS_NO_ENVIRONMENT.iter().any(|under| path.starts_with(under))
            && ["env::var(", "env::var_os(", "env::vars("].iter().any(|word| line.contains(word))
        {
            problems.push(format!("{path}:{line_number}: a library does not read the environment"));
        }
    }
    problems
}

fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![root.join("crates"), root.join("bench"), root.join("xtask")];
    while let Some(dir) = dirs.pop() {
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
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
    fn a_file_over_the_limit_is_reported_with_its_length() {
        let long = "x\n".repeat(MOST_LINES + 1);
        assert_eq!(
            of_file("crates/a/src/b.rs", &long, false),
            ["crates/a/src/b.rs: 651 lines, at most 650"]
        );
    }

    #[test]
    fn a_clock_in_the_plan_is_reported_with_its_line() {
        let found = of_file("crates/capn-plan/src/a.rs", "\nlet t = Timestamp::now();\n", false);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/capn-plan/src/a.rs:2:"), "{found:?}");
    }

    #[test]
    fn a_library_that_reads_the_environment_is_reported() {
        let found = of_file("crates/kube-plane/src/a.rs", "std::env::var(\"HOME\")", false);
        assert_eq!(found.len(), 1);
        assert!(of_file("crates/capn/src/a.rs", "std::env::var(\"HOME\")", false).is_empty());
    }
}
