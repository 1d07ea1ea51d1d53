//! Evaluates JUnit files of the Kubernetes tests: a result for CI, and a page for readers.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};

use crate::junit::{self, Case, Outcome};

#[derive(clap::Args)]
pub(crate) struct VerdictArguments {
    /// JUnit files of one run
    #[arg(required = true)]
    junit: Vec<Utf8PathBuf>,
    /// Known failures; each line has the reason, two colons, and a part of the name
    #[arg(long)]
    known: Option<Utf8PathBuf>,
    /// Fail if fewer tests ran
    #[arg(long, default_value_t = 1)]
    at_least: usize,
}

#[derive(clap::Args)]
pub(crate) struct ReportArguments {
    /// A column: `NAME=DIRECTORY` with the JUnit files of a run, for example `shared=out/shared`
    #[arg(required = true, value_parser = column)]
    columns: Vec<(String, Utf8PathBuf)>,
    #[command(flatten)]
    lists: crate::Lists,
    /// Known failures
    #[arg(long)]
    known: Utf8PathBuf,
    /// Title of the page
    #[arg(long, default_value = "Conformance")]
    title: String,
    /// A sentence about the runs: date, versions, host
    #[arg(long)]
    about: String,
    /// Output page
    #[arg(long)]
    out: Utf8PathBuf,
}

fn column(text: &str) -> Result<(String, Utf8PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("is not NAME=DIRECTORY")?;
    Ok((name.to_owned(), path.into()))
}

/// A line of a list: reason and part of a test name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    reason: String,
    name: String,
}

fn list(path: &Utf8Path) -> anyhow::Result<Vec<Listed>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (reason, name) = line
                .split_once(" :: ")
                .with_context(|| format!("{path}: `{line}` is not `REASON :: NAME`"))?;
            Ok(Listed { reason: reason.to_owned(), name: name.to_owned() })
        })
        .collect()
}

/// Prints the counts and all failures. Returns an error for failures that are not known.
pub(crate) fn verdict(arguments: &VerdictArguments) -> anyhow::Result<()> {
    let known = arguments.known.as_deref().map(list).transpose()?.unwrap_or_default();
    let mut cases = Vec::new();
    for path in &arguments.junit {
        cases.extend(junit::read(path)?);
    }
    let mut unknown = 0;
    for case in cases.iter().filter(|case| case.outcome == Outcome::Failed) {
        match known.iter().find(|listed| case.name.contains(&listed.name)) {
            Some(listed) => println!("known to fail: {} ({})", case.name, listed.reason),
            None => {
                unknown += 1;
                println!("FAILED: {}\n  {}", case.name, case.message);
            }
        }
    }
    println!("{} tests ran, {} passed, {unknown} failed", cases.len(), passed(&cases));
    if unknown > 0 {
        bail!("{unknown} tests failed");
    }
    if cases.len() < arguments.at_least {
        bail!("{} tests ran, fewer than {}", cases.len(), arguments.at_least);
    }
    Ok(())
}

fn passed<'a>(cases: impl IntoIterator<Item = &'a Case>) -> usize {
    cases.into_iter().filter(|case| case.outcome == Outcome::Passed).count()
}

/// Writes the page.
pub(crate) fn write(arguments: &ReportArguments) -> anyhow::Result<()> {
    let mut columns = Vec::new();
    for (name, directory) in &arguments.columns {
        columns.push((name.clone(), read_directory(directory)?));
    }
    let excluded = list(&arguments.lists.excluded)?;
    let known = list(&arguments.known)?;
    let page = page(&columns, &excluded, &known, &arguments.title, &arguments.about);
    std::fs::write(&arguments.out, page).with_context(|| format!("cannot write {}", arguments.out))
}

/// The tests in a directory's JUnit files. Of repeated tests, the later result counts.
fn read_directory(directory: &Utf8Path) -> anyhow::Result<Vec<Case>> {
    let entries = directory.read_dir_utf8().with_context(|| format!("cannot read {directory}"))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.into_path();
        if path.extension() == Some("xml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut cases = BTreeMap::new();
    for path in paths {
        for case in junit::read(&path)? {
            cases.insert(case.name.clone(), case);
        }
    }
    Ok(cases.into_values().collect())
}

fn page(
    columns: &[(String, Vec<Case>)],
    excluded: &[Listed],
    known: &[Listed],
    title: &str,
    about: &str,
) -> String {
    let mut areas = BTreeMap::<&str, Vec<(usize, usize)>>::new();
    for (index, (_, cases)) in columns.iter().enumerate() {
        for case in cases {
            let row = areas.entry(case.area()).or_insert_with(|| vec![(0, 0); columns.len()]);
            row[index].1 += 1;
            row[index].0 += usize::from(case.outcome == Outcome::Passed);
        }
    }
    let mut text = format!(
        "# {title}\n\n<!-- Written by `e2e report` from the JUnit files of ./test conformance; edit tests/conformance instead. -->\n\n\
         {about}\n\nPassed of those that ran, by area:\n\n| area |"
    );
    for (name, _) in columns {
        text.push_str(&format!(" {name} |"));
    }
    text.push_str(&format!("\n|---|{}\n", "---|".repeat(columns.len())));
    for (area, row) in &areas {
        text.push_str(&format!("| {area} |"));
        for (passed, all) in row {
            text.push_str(&format!(" {passed} of {all} |"));
        }
        text.push('\n');
    }
    text.push_str("| **all** |");
    for (_, cases) in columns {
        text.push_str(&format!(" **{} of {}** |", passed(cases), cases.len()));
    }
    text.push_str("\n\n## Failed\n\n");
    let mut failed = BTreeMap::<&str, Vec<&str>>::new();
    for (name, cases) in columns {
        for case in cases.iter().filter(|case| case.outcome == Outcome::Failed) {
            failed.entry(&case.name).or_default().push(name);
        }
    }
    if failed.is_empty() {
        text.push_str("None.\n");
    } else {
        text.push_str("| test | in | why |\n|---|---|---|\n");
        for (name, modes) in failed {
            let reason = known.iter().find(|listed| name.contains(&listed.name));
            let reason = reason.map_or("not known", |listed| listed.reason.as_str());
            text.push_str(&format!("| {name} | {} | {reason} |\n", modes.join(", ")));
        }
    }
    text.push_str("\n## Not run\n\n| tests | why |\n|---|---|\n");
    for listed in excluded {
        text.push_str(&format!("| {} | {} |\n", listed.name, listed.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, outcome: Outcome) -> Case {
        Case { name: name.to_owned(), outcome, message: String::new() }
    }

    fn listed(reason: &str, name: &str) -> Listed {
        Listed { reason: reason.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_page_counts_by_area_and_explains_each_failure() {
        let columns = [
            (
                "shared".to_owned(),
                vec![case("[sig-apps] a", Outcome::Passed), case("[sig-node] b", Outcome::Failed)],
            ),
            ("privileged".to_owned(), vec![case("[sig-node] b", Outcome::Passed)]),
        ];
        let page =
            page(&columns, &[listed("needs X", "c")], &[listed("because", "b")], "Title", "About.");
        for line in [
            "| area | shared | privileged |",
            "| sig-apps | 1 of 1 | 0 of 0 |",
            "| sig-node | 0 of 1 | 1 of 1 |",
            "| **all** | **1 of 2** | **1 of 1** |",
            "| [sig-node] b | shared | because |",
            "| c | needs X |",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }

    #[test]
    fn only_known_failures_are_excused_and_too_few_tests_are_an_error() {
        let held = tempfile::tempdir().unwrap();
        let at = Utf8Path::from_path(held.path()).unwrap();
        let (junit, known) = (at.join("junit.xml"), at.join("known.txt"));
        let xml = "<testsuites><testcase name='[It] [sig-a] x'><failure>no</failure></testcase>\
                   </testsuites>";
        std::fs::write(&junit, xml).unwrap();
        std::fs::write(&known, "# none\n").unwrap();
        let mut arguments =
            VerdictArguments { junit: vec![junit], known: Some(known.clone()), at_least: 1 };
        assert!(verdict(&arguments).is_err());
        std::fs::write(&known, "the kernel :: [sig-a] x\n").unwrap();
        assert!(verdict(&arguments).is_ok());
        arguments.at_least = 2;
        assert!(verdict(&arguments).is_err());
        std::fs::write(&known, "no name\n").unwrap();
        assert!(verdict(&arguments).is_err());
    }
}
