//! Estimates the memory of a JSON text while it is received: `{},` has three bytes but becomes
//! kilobytes as a Pod.

/// Weight of an object or a list. Every other value has weight one. The embedded plane counts the
/// same way.
const CONTAINER: usize = 8;
/// Depth of list items: `{"items": [{`.
const ITEM: usize = 3;

/// Running count.
#[derive(Debug, Default)]
pub(super) struct Weight {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Number of values.
    pub(super) values: usize,
    /// Number of list items.
    pub(super) items: usize,
}

impl Weight {
    /// Counts another chunk. Invalid JSON is counted approximately; the parser rejects it later.
    pub(super) fn add(&mut self, data: &[u8]) {
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
                    self.values = self.values.saturating_add(CONTAINER);
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
        let of = |text: &str, piece: usize| {
            let mut weight = Weight::default();
            text.as_bytes().chunks(piece).for_each(|piece| weight.add(piece));
            (weight.values, weight.items)
        };
        for (text, wanted) in [
            ("", (0, 0)),
            ("{}", (8, 0)),
            (r#"{"items":[{},{},{}]}"#, (8 * 5 + 2, 3)),
            (r#"{"items":[{"a":{"b":1}},{"a":[1,2]}],"c":{}}"#, (8 * 7 + 3, 2)),
            (r#"{"a":"{[,\"{[,","b":"\\"}"#, (8 + 1, 0)),
        ] {
            for piece in [1, 3, 1000] {
                assert_eq!(of(text, piece), wanted, "{text} by {piece}");
            }
        }
    }
}
