//! What a JSON text costs in memory, counted while it comes in: `{},` are three bytes and, as a Pod, kilobytes.

/// What an object or a list counts; every other value counts one. As the plane counts what it stores.
const CONTAINER: usize = 8;
/// Depth of the objects of a list: `{"items": [{`.
const ITEM: usize = 3;

/// The count so far.
#[derive(Debug, Default)]
pub(super) struct Weight {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// All values.
    pub(super) values: usize,
    /// Objects of a list.
    pub(super) items: usize,
}

impl Weight {
    /// Counts on. Text that is not JSON is counted as well as it goes; its parser refuses it.
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
    fn values_and_items_are_counted_across_pieces_and_text_is_not() {
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
