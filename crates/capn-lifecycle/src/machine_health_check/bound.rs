//! How many machines may be broken for any of them to be handed over. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::machine_deployment::scaled;

/// When broken machines are handed over at all.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    /// While not more than this many are broken: a number, or a percentage of all.
    AtMost(IntOrString),
    /// While so many are broken, both ends included.
    Within {
        /// The least.
        least: i32,
        /// The most.
        most: i32,
    },
}

/// What a bound says of a number of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// So many more may break.
    Allowed(i32),
    /// None is handed over, for this reason.
    Restricted(String),
}

impl Bound {
    /// Whether machines are handed over when `broken` of `total` are broken or have not started.
    pub(super) fn of(&self, broken: i32, total: i32) -> Allowance {
        let (least, most, may_be) = match self {
            Self::AtMost(value) => {
                // A percentage is rounded down: half a machine is not yet one.
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
             allowed is {may_be}"
        ))
    }
}

fn shown(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// Reads `[a-b]`.
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
        return Err(format!("\"{text}\" is no range: write it as in \"[3-5]\""));
    };
    if most < least {
        return Err(format!("\"{text}\" has nothing in it: {most} is less than {least}"));
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
    fn machines_are_handed_over_within_the_bound_alone() {
        let within = Bound::Within { least: 2, most: 3 };
        for (bound, broken, total, expected) in [
            (percent("100%"), 0, 0, Some(0)),
            (percent("100%"), 3, 3, Some(0)),
            (percent("40%"), 2, 5, Some(0)),
            (percent("40%"), 3, 5, None),
            // 1.6 machines are one.
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
            "nothing is remediated: 3 of 5 machines are unhealthy or not started, allowed is at most \
             2 (unhealthyLessThanOrEqualTo: 40%)"
        );
    }
}
