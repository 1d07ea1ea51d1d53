//! Evaluation of segments to text.

use super::{Anchor, End, Expression, Operation, Segment};

/// Returns the text. `value` is called for each variable; an unset variable is empty.
pub(crate) fn evaluate<'v>(
    segments: &[Segment],
    value: &impl Fn(&str) -> Option<&'v str>,
) -> String {
    segments
        .iter()
        .map(|segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Variable(expression) => expression.evaluate(value),
        })
        .collect()
}

impl Expression {
    fn evaluate<'v>(&self, value: &impl Fn(&str) -> Option<&'v str>) -> String {
        let text = value(&self.name).unwrap_or_default();
        match &self.operation {
            Operation::Value => text.to_owned(),
            Operation::Length => text.chars().count().to_string(),
            Operation::Default(default) if text.is_empty() => evaluate(default, value),
            Operation::Default(_) => text.to_owned(),
            Operation::Case { upper, all: true } => cased(text, *upper),
            Operation::Case { upper, all: false } => {
                let mut rest = text.chars();
                let first: String = rest.next().into_iter().collect();
                cased(&first, *upper) + rest.as_str()
            }
            Operation::Part { from, length } => {
                let length = length.as_ref().map(|length| evaluate(length, value));
                part(text, &evaluate(from, value), length.as_deref())
            }
            Operation::Replace { place, old, new } => {
                replaced(text, *place, &evaluate(old, value), &evaluate(new, value))
            }
            Operation::Cut { end, longest, pattern } => {
                cut(text, *end, *longest, &evaluate(pattern, value)).to_owned()
            }
        }
    }
}

fn cased(text: &str, upper: bool) -> String {
    if upper { text.to_uppercase() } else { text.to_lowercase() }
}

/// Returns a substring in characters. As in a shell, an invalid number returns the whole text.
fn part(text: &str, from: &str, length: Option<&str>) -> String {
    let count = text.chars().count();
    let from_end = |n: i64| {
        usize::try_from(n).unwrap_or_else(|_| {
            count.saturating_sub(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX))
        })
    };
    let Ok(from) = from.trim().parse::<i64>().map(from_end) else { return text.to_owned() };
    let until = match length.map(|length| length.trim().parse::<i64>()) {
        None => count,
        Some(Err(_)) => return text.to_owned(),
        // A negative length is a position counted from the end.
        Some(Ok(length)) if length < 0 => from_end(length),
        Some(Ok(length)) => from.saturating_add(from_end(length)),
    };
    text.chars().take(until).skip(from).collect()
}

fn replaced(text: &str, place: Anchor, old: &str, new: &str) -> String {
    if old.is_empty() {
        return text.to_owned();
    }
    match place {
        Anchor::First => text.replacen(old, new, 1),
        Anchor::Every => text.replace(old, new),
        Anchor::Leading => match text.strip_prefix(old) {
            Some(rest) => format!("{new}{rest}"),
            None => text.to_owned(),
        },
        Anchor::Trailing => match text.strip_suffix(old) {
            Some(rest) => format!("{rest}{new}"),
            None => text.to_owned(),
        },
    }
}

/// Returns the text without the shortest or longest match of the pattern at one end.
fn cut<'t>(text: &'t str, end: End, longest: bool, pattern: &str) -> &'t str {
    let pattern: Vec<char> = pattern.chars().collect();
    let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let mut splits: Vec<(&str, &str)> = places.map(|at| text.split_at(at)).collect();
    // In the order of growing matches.
    if end == End::Back {
        splits.reverse();
    }
    if longest {
        splits.reverse();
    }
    let found = splits.into_iter().find_map(|(front, back)| {
        let (off, kept) = if end == End::Front { (front, back) } else { (back, front) };
        let off: Vec<char> = off.chars().collect();
        matches(&pattern, &off).then_some(kept)
    });
    found.unwrap_or(text)
}

/// Returns whether a whole text matches a pattern, in which `*` is any text and `?` any character.
fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|tail| matches(rest, tail)))
        }
        Some((wanted, rest)) => text
            .split_first()
            .is_some_and(|(is, tail)| (*wanted == '?' || wanted == is) && matches(rest, tail)),
    }
}
