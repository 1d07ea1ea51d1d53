use serde_json::{Value, json};

use super::*;

fn schema() -> Schema {
    Schema::parse(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string"}, "b": {"type": "string"},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": {"type": "string"}}},
            "list": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "string"}}}}
        }}}}),
    )
}

#[test]
fn sets_follow_the_schema() {
    let object = json!({
        "apiVersion": "v1", "kind": "K",
        "metadata": {"name": "n", "uid": "u", "labels": {"l": "x"}, "finalizers": ["f"]},
        "spec": {"a": "1", "map": {"k": "v"}, "atomic": {"x": "1"}, "list": ["1"], "set": ["s"],
            "parts": [{"name": "p", "v": "1"}]},
    });
    assert_eq!(
        set_of(&schema(), &object).to_value(),
        json!({
            "f:metadata": {"f:labels": {"f:l": {}}, "f:finalizers": {"v:\"f\"": {}}},
            "f:spec": {
                "f:a": {}, "f:map": {"f:k": {}}, "f:atomic": {}, "f:list": {},
                "f:set": {"v:\"s\"": {}},
                "f:parts": {"k:{\"name\":\"p\"}": {".": {}, "f:name": {}, "f:v": {}}},
            },
        })
    );
}

#[test]
fn merging_follows_the_schema() {
    let schema = schema();
    for (old, wanted, expected) in [
        (
            json!({"map": {"a": "1"}}),
            json!({"map": {"b": "2"}}),
            json!({"map": {"a": "1", "b": "2"}}),
        ),
        (
            json!({"atomic": {"x": "1", "y": "2"}}),
            json!({"atomic": {"x": "3"}}),
            json!({"atomic": {"x": "3"}}),
        ),
        (json!({"list": ["1", "2"]}), json!({"list": ["3"]}), json!({"list": ["3"]})),
        (json!({"set": ["1"]}), json!({"set": ["2", "1"]}), json!({"set": ["1", "2"]})),
        (
            json!({"parts": [{"name": "p", "v": "1"}]}),
            json!({"parts": [{"name": "q"}, {"name": "p", "v": "2"}]}),
            json!({"parts": [{"name": "p", "v": "2"}, {"name": "q"}]}),
        ),
    ] {
        let mut merged = json!({"spec": old});
        merge(Place::root(&schema), &mut merged, &json!({"spec": wanted}));
        assert_eq!(merged["spec"], expected, "{old} + {wanted}");
    }
}

#[test]
fn dropped_fields_are_removed_unless_shared() {
    let schema = schema();
    let set = |spec: Value| set_of(&schema, &json!({"spec": spec}));
    let before =
        set(json!({"a": "1", "b": "1", "set": ["x", "y"], "parts": [{"name": "p", "v": "1"}]}));
    let now = set(json!({"a": "1"}));
    let other = set(json!({"set": ["y"]}));
    let mut value = json!({"spec": {"a": "1", "b": "1", "set": ["x", "y", "z"], "parts": [{"name": "p", "v": "1"}]}});
    release(Place::root(&schema), &mut value, &before, Some(&now), &[&other]);
    assert_eq!(value, json!({"spec": {"a": "1", "set": ["y", "z"], "parts": []}}));
}

#[test]
fn changed_fields_are_found() {
    let schema = schema();
    let difference = Difference::of(
        &schema,
        &json!({"spec": {"a": "1", "b": "1", "parts": [{"name": "p", "v": "1"}, {"name": "q"}]}}),
        &json!({"spec": {"a": "2", "map": {"k": "v"}, "parts": [{"name": "p", "v": "2"}]}}),
    );
    assert_eq!(
        difference.changed.describe(),
        [".spec.a", ".spec.map.k", ".spec.parts[name=\"p\"].v"]
    );
    assert_eq!(
        difference.removed.describe(),
        [".spec.b", ".spec.parts[name=\"q\"]", ".spec.parts[name=\"q\"].name"]
    );
}
