//! JUnit files of the Kubernetes end-to-end tests.

use anyhow::Context as _;
use camino::Utf8Path;

/// Number of lines kept from a failure message.
const LINES: usize = 6;

/// Result of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Passed,
    Failed,
}

/// A test that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// Name in Kubernetes, without the node type: `[sig-apps] Job should …`.
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// The first [`LINES`] lines of its failure message, if it failed.
    pub(crate) message: String,
}

impl Case {
    /// Special interest group that owns the test: `sig-apps`.
    pub(crate) fn area(&self) -> &str {
        let area = self.name.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        area.map_or("other", |(area, _)| area)
    }
}

/// The tests of a file that ran. Skipped tests are not listed.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is not JUnit XML.
pub(crate) fn read(path: &Utf8Path) -> anyhow::Result<Vec<Case>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse(&text).with_context(|| format!("{path} is not a JUnit file"))
}

fn parse(text: &str) -> anyhow::Result<Vec<Case>> {
    let document = roxmltree::Document::parse(text)?;
    let mut cases = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        let name = node.attribute("name").unwrap_or_default();
        // Setup and teardown are cases too; their failure fails the whole run.
        let (kind, name) = match name.strip_prefix("[It] ") {
            Some(name) => ("It", name),
            None => ("", name),
        };
        let failure = node
            .children()
            .find(|child| child.has_tag_name("failure") || child.has_tag_name("error"));
        let skipped = node.children().any(|child| child.has_tag_name("skipped"));
        let outcome = match (failure, skipped, kind) {
            (Some(_), ..) => Outcome::Failed,
            (None, false, "It") => Outcome::Passed,
            _ => continue,
        };
        let message = failure.and_then(|node| node.attribute("message").or(node.text()));
        let lines =
            message.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.take(LINES).collect::<Vec<_>>().join("\n  ");
        cases.push(Case { name: name.to_owned(), outcome, message });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executed_tests_are_parsed_and_skipped_ones_ignored() {
        let cases = parse(
            r#"<?xml version="1.0"?><testsuites><testsuite name="Kubernetes e2e suite">
            <testcase name="[It] [sig-apps] Job runs [Conformance]" status="passed"></testcase>
            <testcase name="[It] [sig-node] Pods live [Conformance]" status="failed">
              <failure message="timed out&#xA;second line" type="failed">text</failure></testcase>
            <testcase name="[It] other" status="skipped"><skipped message="skipped"/></testcase>
            <testcase name="[SynchronizedBeforeSuite]" status="passed"></testcase>
            <testcase name="[SynchronizedAfterSuite]" status="failed"><failure>no</failure></testcase>
            </testsuite></testsuites>"#,
        )
        .unwrap();
        let rows: Vec<_> = cases.iter().map(|case| (case.area(), case.outcome)).collect();
        assert_eq!(
            rows,
            [
                ("sig-apps", Outcome::Passed),
                ("sig-node", Outcome::Failed),
                ("SynchronizedAfterSuite", Outcome::Failed)
            ]
        );
        assert_eq!(cases[1].message, "timed out\n  second line");
        assert!(parse("no xml").is_err());
    }
}
