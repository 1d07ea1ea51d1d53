//! Conditions derived from other conditions: mirrored from another object, summarized over one
//! object, or aggregated over many.

use std::collections::BTreeMap;

use capi_api::conditions::{self, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// State of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConditionState {
    pub(crate) status: Status,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl ConditionState {
    pub(crate) fn new(status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into() }
    }

    pub(crate) fn yes(reason: &str) -> Self {
        Self::new(Status::True, reason, "")
    }

    pub(crate) fn no(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Status::False, reason, message)
    }

    pub(crate) fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Status::Unknown, reason, message)
    }

    /// Mirrors a condition of another object. A missing reason becomes `fallback`.
    pub(crate) fn mirror(condition: &Condition, fallback: &str) -> Self {
        let reason = if condition.reason.is_empty() { fallback } else { condition.reason.as_str() };
        Self::new(Status::parse(&condition.status), reason, condition.message.clone())
    }

    /// Sets the condition in a list.
    pub(crate) fn set(self, list: &mut conditions::Conditions, kind: &str) {
        list.set(kind, self.status, &self.reason, self.message);
    }
}

/// Reasons of a derived condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reasons {
    /// There is an issue.
    pub(crate) issue: &'static str,
    /// No issue is known, but something is unknown.
    pub(crate) unknown: &'static str,
    /// There is no issue.
    pub(crate) good: &'static str,
}

/// An input of a summary.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    /// Type, as shown in the message.
    pub(crate) kind: &'a str,
    /// The condition. A missing one counts as unknown.
    pub(crate) condition: Option<&'a Condition>,
    /// Whether true is an issue, as for `Deleting`.
    pub(crate) negative: bool,
}

impl<'a> Part<'a> {
    pub(crate) fn positive(kind: &'a str, condition: Option<&'a Condition>) -> Self {
        Self { kind, condition, negative: false }
    }

    pub(crate) fn negative(kind: &'a str, condition: Option<&'a Condition>) -> Self {
        Self { kind, condition, negative: true }
    }

    /// Returns `Some(true)` if it is good, `Some(false)` for an issue, and `None` if it is unknown.
    fn verdict(&self) -> Option<bool> {
        let status = Status::parse(&self.condition?.status);
        match (status, self.negative) {
            (Status::True, false) | (Status::False, true) => Some(true),
            (Status::False, false) | (Status::True, true) => Some(false),
            (Status::Unknown, _) => None,
        }
    }

    fn line(&self) -> String {
        let message = match self.condition {
            None => "not reported yet",
            Some(condition) if condition.message.is_empty() => condition.reason.as_str(),
            Some(condition) => condition.message.as_str(),
        };
        bullet(self.kind, message)
    }
}

/// Summarizes conditions of one object: False if any is an issue, Unknown if any is unknown, else
/// True. The message has a line for each that is not good, issues first.
pub(crate) fn summarize(parts: &[Part<'_>], reasons: Reasons) -> ConditionState {
    let issues: Vec<_> = parts.iter().filter(|part| part.verdict() == Some(false)).collect();
    let unknown: Vec<_> = parts.iter().filter(|part| part.verdict().is_none()).collect();
    let lines: Vec<_> = issues.iter().chain(&unknown).map(|part| part.line()).collect();
    let message = lines.join("\n");
    if !issues.is_empty() {
        ConditionState::no(reasons.issue, message)
    } else if !unknown.is_empty() {
        ConditionState::unknown(reasons.unknown, message)
    } else {
        ConditionState::yes(reasons.good)
    }
}

/// Maximum number of names per line of an aggregate.
const NAMES_SHOWN: usize = 3;

/// Aggregates one condition over objects of a kind: False if it is false on any object, Unknown if
/// it is unknown on any, else True. Objects with the same message share a line.
pub(crate) fn aggregate<'a>(
    kind: &str,
    objects: impl IntoIterator<Item = (&'a str, Option<&'a Condition>)>,
    reasons: Reasons,
) -> ConditionState {
    let mut bad: BTreeMap<(bool, String), Vec<&str>> = BTreeMap::new();
    for (name, condition) in objects {
        let part = Part::positive("", condition);
        let is_unknown = match part.verdict() {
            Some(true) => continue,
            Some(false) => false,
            None => true,
        };
        let message = match condition {
            None => "not reported yet".to_owned(),
            Some(c) if c.message.is_empty() => c.reason.clone(),
            Some(c) => c.message.clone(),
        };
        bad.entry((is_unknown, message)).or_default().push(name);
    }
    if bad.is_empty() {
        return ConditionState::yes(reasons.good);
    }
    let has_issue = bad.keys().any(|(is_unknown, _)| !is_unknown);
    let lines: Vec<_> = bad
        .into_iter()
        .map(|((_, message), names)| bullet(&named(kind, &names), &message))
        .collect();
    if has_issue {
        ConditionState::no(reasons.issue, lines.join("\n"))
    } else {
        ConditionState::unknown(reasons.unknown, lines.join("\n"))
    }
}

/// `Machine a`, `Machines a, b` or `Machines a, b, c and 4 more`.
pub(crate) fn named(kind: &str, names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    let plural = if names.len() == 1 { "" } else { "s" };
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES_SHOWN);
    if more == 0 {
        format!("{kind}{plural} {shown}")
    } else {
        format!("{kind}{plural} {shown} and {more} more")
    }
}

/// Formats a line of a message. A nested list is indented below it.
fn bullet(what: &str, message: &str) -> String {
    if message.starts_with("* ") {
        let nested = message.replace('\n', "\n  ");
        format!("* {what}:\n  {nested}")
    } else {
        format!("* {what}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    const REASONS: Reasons = Reasons { issue: "Issue", unknown: "Unknown", good: "Good" };

    fn condition(status: &str, message: &str) -> Condition {
        Condition {
            type_: "T".into(),
            status: status.into(),
            reason: "R".into(),
            message: message.into(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    #[test]
    fn a_summary_shows_issues_before_what_is_not_known() {
        let good = condition("True", "");
        let bad = condition("False", "broken");
        let list = condition("False", "* a: x\n* b: y");
        for (parts, status, message) in [
            (vec![Part::positive("A", Some(&good))], Status::True, ""),
            (
                vec![Part::positive("A", None), Part::positive("B", Some(&bad))],
                Status::False,
                "* B: broken\n* A: not reported yet",
            ),
            (vec![Part::positive("A", None)], Status::Unknown, "* A: not reported yet"),
            (vec![Part::negative("Deleting", Some(&good))], Status::False, "* Deleting: R"),
            (vec![Part::positive("A", Some(&list))], Status::False, "* A:\n  * a: x\n  * b: y"),
        ] {
            let verdict = summarize(&parts, REASONS);
            assert_eq!((verdict.status, verdict.message.as_str()), (status, message));
        }
    }

    #[test]
    fn an_aggregate_groups_objects_with_the_same_message() {
        let good = condition("True", "");
        let bad = condition("False", "no node");
        let objects = [
            ("d", Some(&bad)),
            ("a", Some(&bad)),
            ("ok", Some(&good)),
            ("b", Some(&bad)),
            ("c", Some(&bad)),
            ("z", None),
        ];
        let verdict = aggregate("Machine", objects, REASONS);
        assert_eq!(verdict.status, Status::False);
        assert_eq!(
            verdict.message,
            "* Machines a, b, c and 1 more: no node\n* Machine z: not reported yet"
        );
        assert_eq!(
            aggregate("Machine", [("ok", Some(&good))], REASONS),
            ConditionState::yes("Good")
        );
    }
}
