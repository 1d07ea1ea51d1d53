use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]*$"},
                    "replicas": {"type": "integer", "format": "int32", "minimum": 0, "default": 1},
                    "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "maybe": {"type": "string", "nullable": true},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                             "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                    "map": {"type": "object", "additionalProperties": {"type": "object",
                            "properties": {"x": {"type": "integer", "default": 7}}}},
                    "list": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "map",
                             "x-kubernetes-list-map-keys": ["key"],
                             "items": {"type": "object", "required": ["key"],
                                       "properties": {"key": {"type": "string"}, "v": {"type": "boolean", "default": true}}}},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "string", "default": "d"}}},
                    "resource": {"type": "object", "x-kubernetes-embedded-resource": true,
                                 "x-kubernetes-preserve-unknown-fields": true},
                    "when": {"type": "string", "format": "date-time"}
                }
            }
        }
    })
}

#[test]
fn unknown_fields_are_pruned_and_reported() {
    let schema = Schema::parse(&schema());
    let table = [
        (json!({"spec": {"name": "a", "bogus": 1}}), vec!["spec.bogus"]),
        (json!({"spec": {"list": [{"key": "k"}, {"key": "l", "z": 1}]}}), vec!["spec.list[1].z"]),
        (json!({"spec": {"map": {"m": {"x": 1, "y": 2}}}}), vec!["spec.map.m.y"]),
        (json!({"spec": {"free": {"any": 1, "known": {"b": 1}}}}), vec!["spec.free.known.b"]),
        (
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "top": 1}),
            vec!["top"],
        ),
        (json!({"spec": {"resource": {"apiVersion": "v1", "metadata": {}, "other": 1}}}), vec![]),
    ];
    for (mut value, expected) in table {
        let text = value.to_string();
        assert_eq!(prune(&schema, &mut value), expected, "{text}");
        assert!(prune(&schema, &mut value).is_empty(), "pruned once is pruned: {value}");
    }
}

#[test]
fn defaults_fill_absent_fields_only() {
    let schema = Schema::parse(&schema());
    let mut value = json!({"spec": {
        "name": "a", "mode": "B", "replicas": null, "map": {"m": {}}, "list": [{"key": "k"}, {"key": "l", "v": false}]
    }});
    default(&schema, &mut value);
    assert_eq!(
        value,
        json!({"spec": {
            "name": "a", "mode": "B", "replicas": 1, "map": {"m": {"x": 7}},
            "list": [{"key": "k", "v": true}, {"key": "l", "v": false}], "nested": {"deep": "d"}
        }})
    );
    let mut none = json!({});
    default(&schema, &mut none);
    assert_eq!(none, json!({}), "nothing is made below an absent object");
}

#[test]
fn errors_name_the_field() {
    let schema = Schema::parse(&schema());
    let table = [
        (json!({"spec": {"name": "abc"}}), vec![]),
        (json!({}), vec!["spec: Required value"]),
        (json!({"spec": {}}), vec!["spec.name: Required value"]),
        (
            json!({"spec": {"name": ""}}),
            vec![
                "spec.name: Invalid value: \"\": spec.name in body should be at least 1 chars long",
            ],
        ),
        (json!({"spec": {"name": "abcdef"}}), vec!["at most 5 chars long"]),
        (json!({"spec": {"name": "A"}}), vec!["spec.name in body should match '^[a-z]*$'"]),
        (
            json!({"spec": {"name": "a", "replicas": "1"}}),
            vec![
                "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
            ],
        ),
        (json!({"spec": {"name": "a", "replicas": -1}}), vec!["greater than or equal to 0"]),
        (
            json!({"spec": {"name": "a", "replicas": 3_000_000_000u64}}),
            vec!["must be of type int32"],
        ),
        (json!({"spec": {"name": "a", "replicas": 1.5}}), vec!["must be of type integer"]),
        (
            json!({"spec": {"name": "a", "mode": "C"}}),
            vec!["spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\""],
        ),
        (json!({"spec": {"name": "a", "port": 80}}), vec![]),
        (json!({"spec": {"name": "a", "port": "http"}}), vec![]),
        (json!({"spec": {"name": "a", "port": true}}), vec!["must be of type integer or string"]),
        (json!({"spec": {"name": "a", "maybe": null}}), vec![]),
        (json!({"spec": {"name": null}}), vec!["must be of type string: \"null\""]),
        (
            json!({"spec": {"name": "a", "list": [{"key": "x"}, {"key": "x"}]}}),
            vec!["spec.list[1]: Duplicate value"],
        ),
        (
            json!({"spec": {"name": "a", "list": [{"key": "x"}, {"key": "y"}, {"key": "z"}]}}),
            vec!["should have at most 2 items"],
        ),
        (
            json!({"spec": {"name": "a", "set": ["x", "x"]}}),
            vec!["spec.set[1]: Duplicate value: \"x\""],
        ),
        (
            json!({"spec": {"name": "a", "resource": {"kind": "K"}}}),
            vec!["spec.resource.apiVersion: Required value"],
        ),
        (
            json!({"spec": {"name": "a", "when": "now"}}),
            vec!["spec.when in body must be of type date-time"],
        ),
    ];
    for (value, expected) in table {
        let errors: Vec<String> =
            validate(&schema, &value).iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expected.len(), "{value}: {errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(expected), "{value}: {error}");
        }
    }
}

#[test]
fn combined_schemas() {
    let schema = Schema::parse(&json!({
        "type": "object",
        "properties": {
            "one": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            "not": {"not": {"required": ["c"]}},
            "all": {"allOf": [{"minimum": 1}, {"maximum": 3}]},
        }
    }));
    let table = [
        (json!({"one": {"a": 1}}), true),
        (json!({"one": {"a": 1, "b": 1}}), false),
        (json!({"one": {}}), false),
        (json!({"not": {}}), true),
        (json!({"not": {"c": 1}}), false),
        (json!({"all": 2}), true),
        (json!({"all": 4}), false),
    ];
    for (value, good) in table {
        assert_eq!(validate(&schema, &value).is_empty(), good, "{value}");
    }
}

#[test]
fn rules_in_cel() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min may not be above max"},
            {"rule": "self.min >= oldSelf.min", "message": "min may not shrink"}],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}}}}});
    let rules = Rules::compile(&schema).unwrap();
    let context = kube_cel::RootContext::default();
    let check = |new: Value, old: Option<Value>| {
        let errors = rules.check(&context, &new, old.as_ref());
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let good = json!({"spec": {"min": 2, "max": 3}});
    assert!(check(good.clone(), None).is_empty());
    assert_eq!(
        check(json!({"spec": {"min": 4, "max": 3}}), None),
        ["spec: Invalid value: min may not be above max"]
    );
    assert_eq!(
        check(json!({"spec": {"min": 1, "max": 3}}), Some(good)),
        ["spec: Invalid value: min may not shrink"]
    );
    assert!(Rules::compile(&json!({"type": "object", "properties": {}})).is_none());
}

#[test]
fn invalid_definitions_are_reported() {
    let many = |count: usize| -> Value {
        let properties = (0..count).map(|n| {
            (format!("p{n}"), json!({"pattern": format!("^{n}[a-z]{{1,200}}\\p{{L}}{{1,10}}$")}))
        });
        json!({ "properties": properties.collect::<serde_json::Map<_, _>>() })
    };
    let rule = |rule: &str| json!({"x-kubernetes-validations": [{ "rule": rule }]});
    let long = "(".repeat(200_000);
    for (schema, field, why) in [
        (json!({"properties": {"a": {"pattern": "("}}}), "properties.a.pattern", "valid regular"),
        (json!({"pattern": "(a{1000}){1000}"}), "schema.pattern", "states"),
        (many(30), "pattern", "the patterns together"),
        (rule(&long), "schema.x-kubernetes-validations[0].rule", "longer than"),
        (rule("self.x >"), "schema.x-kubernetes-validations[0].rule", "invalid rule"),
    ] {
        let mut problems = Problems::default();
        problems.visit(&schema, "schema");
        let found = problems.finish();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].field.ends_with(field), "{}", found[0].field);
        assert!(found[0].message.contains(why), "{}", found[0].message);
    }
    let mut problems = Problems::default();
    problems.visit(&many(2), "schema");
    assert_eq!(problems.finish(), []);
}

#[test]
fn validation_has_a_work_limit() {
    let branch = json!({"anyOf": vec![json!({"pattern": "^(a|b|aa)*c$"}); 60]});
    let schema = Schema::parse(&json!({"properties": {"list": {"items": {
        "anyOf": vec![branch; 60],
    }}}}));
    let found = validate(&schema, &json!({"list": vec!["a".repeat(100) + "c"; 10_000]}));
    assert!(found.iter().any(|error| error.message.contains("more steps")), "{}", found.len());
}
