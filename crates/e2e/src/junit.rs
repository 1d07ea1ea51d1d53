//! JUnit files of Kubernetes' end-to-end tests.

use anyhow::Context as _;
use camino::Utf8Path;

/// Of a failure's text, what is kept: what was expected and what there was.
const LINES: usize = 6;

/// What became of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Passed,
    Failed,
}

/// One test that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// As Kubernetes names it, without the kind of node: `[sig-apps] Job should …`.
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// The first lines of what it said, if it failed; at most [`LINES`].
    pub(crate) message: String,
}

impl Case {
    /// The special interest group that owns the test: `sig-apps`.
    pub(crate) fn area(&self) -> &str {
        let area = self.name.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        area.map_or("other", |(area, _)| area)
    }
}

/// The tests of a file that ran; those that a focus left out are not listed.
///
/// # Errors
///
/// When the file cannot be read, or is not JUnit's XML.
pub(crate) fn read(path: &Utf8Path) -> anyhow::Result<Vec<Case>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse(&text).with_context(|| format!("{path} is not a JUnit file"))
}

fn parse(text: &str) -> anyhow::Result<Vec<Case>> {
    let document = roxmltree::Document::parse(text)?;
    let mut cases = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        let name = node.attribute("name").unwrap_or_default();
        // Setting up and taking down are cases too; a failure there is one of the whole run.
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
    fn tests_that_ran_are_read_and_others_are_left_out() {
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
