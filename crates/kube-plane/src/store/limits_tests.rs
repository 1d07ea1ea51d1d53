use proptest::prelude::*;
use serde_json::json;

use super::*;

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!("leaf"), |value, _| json!({ "a": value }))
}

fn with_managed(levels: usize) -> Value {
    json!({"metadata": {"managedFields": [{"fieldsV1": nested(levels)}]}})
}

#[test]
fn the_limits() {
    let texts = |count: usize, bytes: usize| json!({ "a": vec!["x".repeat(bytes); count] });
    for (name, value, refused) in [
        ("small", json!({"a": 1}), None),
        ("as deep as allowed", nested(100), None),
        ("one deeper", nested(101), Some(LimitExceeded::Depth(100))),
        ("managed fields of what is as deep as allowed", with_managed(104), None),
        ("managed fields of what is deeper", with_managed(105), Some(LimitExceeded::Depth(100))),
        ("many values", json!({ "a": vec![0; 199_000] }), None),
        ("too many", json!({ "a": vec![0; 200_000] }), Some(LimitExceeded::Weight(200_000))),
        (
            "too many objects",
            json!({ "a": vec![json!({"a": 0}); 25_000] }),
            Some(LimitExceeded::Weight(200_000)),
        ),
        ("large", texts(1, MAX_BYTES - 20), None),
        ("too large", texts(1, MAX_BYTES), Some(LimitExceeded::Bytes(MAX_BYTES))),
        (
            "larger as JSON",
            json!({"a": "\u{1}".repeat(400_000)}),
            Some(LimitExceeded::Bytes(MAX_BYTES)),
        ),
    ] {
        assert_eq!(check_object(&value).err(), refused, "{name}");
    }
}

#[test]
fn objects_at_the_limit_can_still_be_deleted() {
    let mut value = json!({"a": "x".repeat(MAX_BYTES - 8), "metadata": {}});
    assert!(check_object(&value).is_err());
    value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(check_stored(&value).is_ok());
}

#[test]
fn the_depth_of_texts() {
    for (text, expected) in
        [(r#""[[[""#, 0), (r#"{"a":["[[[\"[[",{}]}"#, 3), (r"[[],[[]]]", 3), (r#"["\\",[]]"#, 2)]
    {
        assert_eq!(text_depth(text.as_bytes()), expected, "{text}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from)
    ];
    leaf.prop_recursive(12, 200, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,4}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The three ways to count agree: while parsing, as a value, and as a text.
    #[test]
    fn every_reader_counts_the_same_limits(value in any_value(), depth in 0usize..8, weight in 0usize..200) {
        let limits = Limits { depth, weight, bytes: 1 << 20 };
        let text = value.to_string();
        let measured = Tally::new(limits).walk(&value, 1);
        let read = crate::json::from_json(text.as_bytes(), limits);
        prop_assert_eq!(measured.is_ok(), read.is_ok(), "{}", text);
        let deep = super::depth(&value, 1000, &mut 0).unwrap();
        prop_assert_eq!(deep, text_depth(text.as_bytes()));
        prop_assert_eq!(super::depth(&value, depth, &mut 0).is_ok(), deep <= depth);
        prop_assert_eq!(json_length(&value), text.len());
    }

    /// Arbitrary bytes neither overflow the stack nor hang a parser.
    #[test]
    fn readers_never_panic(bytes in "([\\[{\"a:,&*\\n -]|[\\PC]){0,400}", count in 0usize..3000) {
        let deep = "[".repeat(count) + &bytes;
        for text in [&bytes, &deep] {
            crate::json::from_json(text.as_bytes(), Limits::BODY).ok();
            crate::json::from_yaml(text.as_bytes(), Limits::BODY).ok();
        }
    }
}
