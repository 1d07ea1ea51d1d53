//! The subset of JSONPath that printer columns use.

use serde_json::Value;

/// Maximum size of a path, in bytes.
const MAX_LENGTH: usize = 1000;

/// A parsed path: `.spec.list[0].name`, `.status.conditions[?(@.type=="Ready")].status`,
/// `.metadata.labels['a\.b/c']`, `.a\.b`, `[*]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Path of fields to a value, and the comparison with a text; `None` only tests that it exists.
    Filter(Vec<String>, Option<(bool, Value)>),
}

impl JsonPath {
    /// Parses a path; `None` if it does not have one of the supported forms.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let (inside, after) = brackets(after)?;
                steps.push(bracket_step(inside)?);
                rest = after;
            } else {
                let after = rest.strip_prefix('.')?;
                if after.starts_with('[') || after.is_empty() {
                    rest = after;
                    continue;
                }
                let (name, after) = field(after);
                if name.is_empty() {
                    return None;
                }
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
                rest = after;
            }
        }
        Some(Self(steps))
    }

    /// Returns the first value at the path.
    pub(crate) fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        first(&self.0, value)
    }
}

fn first<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => first(rest, value.get(name)?),
        Step::Index(index) => {
            let items = value.as_array()?;
            let index = if *index < 0 {
                items.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
            } else {
                usize::try_from(*index).ok()?
            };
            first(rest, items.get(index)?)
        }
        Step::All => match value {
            Value::Array(items) => items.iter().find_map(|item| first(rest, item)),
            Value::Object(fields) => fields.values().find_map(|item| first(rest, item)),
            _ => None,
        },
        Step::Filter(path, wanted) => value.as_array()?.iter().find_map(|item| {
            let found = path.iter().try_fold(item, |value, field| value.get(field));
            let holds = match wanted {
                None => found.is_some(),
                Some((equal, wanted)) => (found == Some(wanted)) == *equal,
            };
            if holds { first(rest, item) } else { None }
        }),
    }
}

/// Parses a field name with `\.` for dots.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '\\' => name.extend(chars.next().map(|(_, char)| char)),
            '.' | '[' => return (name, &text[index..]),
            _ => name.push(char),
        }
    }
    (name, "")
}

/// Splits at the closing bracket, ignoring quoted brackets.
fn brackets(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (index, char) in text.char_indices() {
        match quote {
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if matches!(char, '\'' | '"') => quote = Some(char),
            None if char == ']' => return Some((&text[..index], &text[index + 1..])),
            None => {}
        }
    }
    None
}

fn bracket_step(inside: &str) -> Option<Step> {
    let inside = inside.trim();
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(inside) {
        return Some(Step::Field(name.replace('\\', "")));
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        return filter_step(filter);
    }
    inside.parse().ok().map(Step::Index)
}

fn filter_step(filter: &str) -> Option<Step> {
    let (path, test) = match (filter.find("=="), filter.find("!=")) {
        (Some(at), _) => (&filter[..at], Some((true, &filter[at + 2..]))),
        (None, Some(at)) => (&filter[..at], Some((false, &filter[at + 2..]))),
        (None, None) => (filter, None),
    };
    let mut rest = path.trim().strip_prefix('@')?;
    let mut fields = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        let (name, after) = field(after);
        fields.push(name);
        rest = after;
    }
    let test = match test {
        None => None,
        Some((equal, text)) => {
            let text = text.trim();
            let value = match unquote(text) {
                Some(text) => Value::from(text),
                None => serde_json::from_str(text).ok()?,
            };
            Some((equal, value))
        }
    };
    rest.is_empty().then_some(Step::Filter(fields, test))
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_printer_columns() {
        let value = json!({
            "metadata": {"labels": {"a.b/c": "label"}, "annotations": {"x": "y"}},
            "spec": {"list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Up", "status": "False"}]},
        });
        for (path, expected) in [
            (".spec.list[0].n", Some(json!(1))),
            (".spec.list[-1].n", Some(json!(2))),
            ("{.spec.list[*].n}", Some(json!(1))),
            (".spec.list[7].n", None),
            (".status.conditions[?(@.type==\"Up\")].status", Some(json!("False"))),
            (".status.conditions[?(@.type=='Ready')].status", Some(json!("True"))),
            (".status.conditions[?(@.type!='Ready')].status", Some(json!("False"))),
            (".status.conditions[?(@.type==\"None\")].status", None),
            (".metadata.labels['a\\.b/c']", Some(json!("label"))),
            (".metadata.labels.a\\.b/c", Some(json!("label"))),
            ("$.metadata.annotations.x", Some(json!("y"))),
            (".none", None),
        ] {
            let parsed = JsonPath::parse(path).expect(path);
            assert_eq!(parsed.first(&value), expected.as_ref(), "{path}");
        }
        for bad in ["spec", ".a[", ".a[x]", ".a..b", ".a[?(x)]"] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }
}
