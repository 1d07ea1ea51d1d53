//! Text helpers.

/// `count` times `open`, `middle`, `count` times `close`.
pub(crate) fn nested(open: &str, count: usize, middle: &str, close: &str) -> String {
    format!("{}{middle}{}", open.repeat(count), close.repeat(count))
}

/// Server text for a terminal and a table: one line, no control characters, shortened.
pub(crate) fn plain(text: &str) -> String {
    let one_line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    one_line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `count` members of a JSON object, each made from its index.
pub(crate) fn members(count: usize, member: impl Fn(usize) -> (String, String)) -> String {
    let all = (0..count).map(|number| {
        let (name, value) = member(number);
        format!("\"{name}\":{value}")
    });
    format!("{{{}}}", all.collect::<Vec<_>>().join(","))
}

/// `count` items of a JSON array, each made from its index.
pub(crate) fn items(count: usize, item: impl Fn(usize) -> String) -> String {
    let all: Vec<String> = (0..count).map(item).collect();
    format!("[{}]", all.join(","))
}
