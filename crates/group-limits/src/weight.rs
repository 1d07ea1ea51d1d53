//! Estimates the memory of a JSON text while it is received: `{},` has three bytes but becomes
//! kilobytes as a Pod.

/// Weight of a list. Every other value has weight one.
const LIST: usize = 8;
/// Weight of an object: `{}` may become a container of a Pod, of more than a kilobyte.
const OBJECT: usize = 24;
/// Depth of list items: `{"items": [{`.
const ITEM: usize = 3;

/// Running count of one JSON text.
#[derive(Debug, Default)]
pub struct Weight {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Number of values; a list counts as 8, an object as 24. Once parsed, each takes about 30 bytes.
    pub values: usize,
    /// Number of items of a Kubernetes list: objects two levels below the text's own.
    pub items: usize,
}

impl Weight {
    /// Counts another chunk. Invalid JSON is counted approximately; the parser rejects it later.
    pub fn add(&mut self, data: &[u8]) {
        for byte in data {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    let weight = if *byte == b'{' { OBJECT } else { LIST };
                    self.values = self.values.saturating_add(weight);
                    if *byte == b'{' && self.depth == ITEM {
                        self.items = self.items.saturating_add(1);
                    }
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' => self.values = self.values.saturating_add(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_items_are_counted_across_chunks() {
        let of = |text: &str, size: usize| {
            let mut weight = Weight::default();
            text.as_bytes().chunks(size).for_each(|part| weight.add(part));
            (weight.values, weight.items)
        };
        for (text, wanted) in [
            ("", (0, 0)),
            ("{}", (24, 0)),
            (r#"{"items":[{},{},{}]}"#, (24 * 4 + 8 + 2, 3)),
            (r#"{"items":[{"a":{"b":1}},{"a":[1,2]}],"c":{}}"#, (24 * 5 + 8 * 2 + 3, 2)),
            (r#"{"a":"{[,\"{[,","b":"\\"}"#, (24 + 1, 0)),
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(of(text, size), wanted, "{text} by {size}");
            }
        }
    }
}
