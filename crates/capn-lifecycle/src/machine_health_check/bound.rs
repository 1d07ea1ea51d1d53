//! Limits the number of unhealthy machines up to which machines are remediated. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::machine_deployment::scaled;

/// Bound for remediation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    /// At most this many unhealthy machines: a number, or a percentage of all.
    AtMost(IntOrString),
    /// A range of unhealthy machines, both ends included.
    Within {
        /// The minimum.
        least: i32,
        /// The maximum.
        most: i32,
    },
}

/// Result of a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// This many more machines may become unhealthy.
    Allowed(i32),
    /// No machine is remediated, for this reason.
    Restricted(String),
}

impl Bound {
    /// Applies the bound to `broken` of `total` machines that are unhealthy or have not started.
    pub(super) fn of(&self, broken: i32, total: i32) -> Allowance {
        let (least, most, may_be) = match self {
            Self::AtMost(value) => {
                // A percentage is rounded down: half a machine does not count.
                let most = scaled(value, total, false).unwrap_or(0).max(0);
                (0, most, format!("at most {most} (unhealthyLessThanOrEqualTo: {})", shown(value)))
            }
            Self::Within { least, most } => {
                (*least, *most, format!("{least} to {most} (unhealthyInRange: [{least}-{most}])"))
            }
        };
        if broken >= least && broken <= most {
            return Allowance::Allowed(most - broken);
        }
        Allowance::Restricted(format!(
            "nothing is remediated: {broken} of {total} machines are unhealthy or not started, \
             allowed: {may_be}"
        ))
    }
}

fn shown(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// Parses `[a-b]`.
pub(super) fn range(text: &str) -> Result<Bound, String> {
    let ends = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.split_once('-'));
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse::<i32>().ok()).flatten()
    };
    let Some((Some(least), Some(most))) = ends.map(|(a, b)| (number(a), number(b))) else {
        return Err(format!("\"{text}\" is not a valid range (example: [3-5])"));
    };
    if most < least {
        return Err(format!("\"{text}\" is empty: {most} is less than {least}"));
    }
    Ok(Bound::Within { least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Bound {
        Bound::AtMost(IntOrString::String(text.to_owned()))
    }

    #[test]
    fn a_range_has_two_numbers_in_order() {
        for (text, expected) in [
            ("[3-5]", Some((3, 5))),
            ("[0-0]", Some((0, 0))),
            ("[5-3]", None),
            ("3-5", None),
            ("[3-]", None),
            ("[-5]", None),
            ("[+3-5]", None),
            ("[3--5]", None),
            ("[3-99999999999]", None),
        ] {
            let expected = expected.map(|(least, most)| Bound::Within { least, most });
            assert_eq!(range(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn machines_are_remediated_only_within_the_bound() {
        let within = Bound::Within { least: 2, most: 3 };
        for (bound, broken, total, expected) in [
            (percent("100%"), 0, 0, Some(0)),
            (percent("100%"), 3, 3, Some(0)),
            (percent("40%"), 2, 5, Some(0)),
            (percent("40%"), 3, 5, None),
            // 1.6 machines count as one.
            (percent("40%"), 1, 4, Some(0)),
            (percent("40%"), 2, 4, None),
            (percent("0%"), 0, 4, Some(0)),
            (percent("0%"), 1, 4, None),
            (Bound::AtMost(IntOrString::Int(2)), 0, 5, Some(2)),
            (Bound::AtMost(IntOrString::Int(2)), 2, 5, Some(0)),
            (Bound::AtMost(IntOrString::Int(2)), 3, 5, None),
            (Bound::AtMost(IntOrString::Int(0)), 1, 5, None),
            (Bound::AtMost(IntOrString::Int(-1)), 1, 5, None),
            (percent("many"), 1, 5, None),
            (within.clone(), 1, 5, None),
            (within.clone(), 2, 5, Some(1)),
            (within.clone(), 3, 5, Some(0)),
            (within, 4, 5, None),
        ] {
            let allowed = match bound.of(broken, total) {
                Allowance::Allowed(more) => Some(more),
                Allowance::Restricted(_) => None,
            };
            assert_eq!(allowed, expected, "{bound:?}: {broken} of {total}");
        }
    }

    #[test]
    fn a_restriction_says_how_many_and_the_bound() {
        let Allowance::Restricted(message) = percent("40%").of(3, 5) else { panic!("restricted") };
        assert_eq!(
            message,
            "nothing is remediated: 3 of 5 machines are unhealthy or not started, allowed: at most \
             2 (unhealthyLessThanOrEqualTo: 40%)"
        );
    }
}
