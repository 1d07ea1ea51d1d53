use serde_json::json;

use super::*;

fn rules(list: &Value) -> Rules {
    let schema = json!({
        "type": "object", "x-kubernetes-validations": list,
        "properties": {
            "list": {"type": "array", "items": {"type": "string"}},
            "text": {"type": "string"},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "parts": {"type": "array", "items": {
                "type": "object", "x-kubernetes-validations": [{"rule": "self.tags.all(t, t != '')"}],
                "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
            }},
        },
    });
    Rules::compile(&schema).unwrap()
}

fn check(rule: &str, object: &Value) -> Vec<String> {
    let rules = rules(&json!([{ "rule": rule }]));
    let found = run_blocking(|| rules.check(&RootContext::default(), object, None)).unwrap();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn expensive_rules_are_refused_up_front() {
    let list: Vec<String> = (0..300).map(|n| format!("item-{n}")).collect();
    let parts: Vec<Value> = (0..300).map(|n| json!({"tags": [format!("t{n}")]})).collect();
    let object =
        json!({"list": list, "parts": parts, "text": "x".repeat(10_000), "map": {"a": "b"}});
    let three = "self.list.all(a, self.list.all(b, self.list.all(c, c != '')))";
    for (rule, costly) in [
        ("self.list.all(a, a != '')", false),
        ("self.list.all(a, self.list.exists_one(b, a == b))", false),
        ("self.parts.all(p, p.tags.all(t, t.startsWith('t')))", false),
        ("self.list.map(a, a + '-x').size() == 300", false),
        ("self.list.filter(a, a.matches('^item-[0-9]+$')).size() == 300", false),
        ("self.map.all(k, self.map[k] != '')", false),
        ("self.text.split('x').size() > 1", false),
        ("self.list.join(',') != ''", false),
        (three, true),
        ("self.text.split('').all(a, self.text.split('').all(b, a == b))", true),
        ("self.list.all(a, self.list.all(b, self.text.replace('x', self.text) != ''))", true),
        ("self.text.replace('x', self.text).replace('x', self.text) != ''", true),
        ("self.list.all(a, self.list.all(b, a.matches(b)))", true),
        ("[1,2,3].all(a, self.text.matches('(x{1,300}){1,300}'))", true),
        ("lists.range(10000).all(a, lists.range(10000).all(b, a == b || true))", true),
    ] {
        let found = check(rule, &object);
        assert_eq!(!found.is_empty(), costly, "{rule}: {found:?}");
        assert_eq!(found.iter().any(|f| f.contains("more steps")), costly, "{rule}: {found:?}");
    }
}

#[test]
fn a_broken_rule_rejects_new_objects() {
    for rule in
        ["(".repeat(200_000), "self.list.".to_owned(), "lists.range(self.n) == []".to_owned()]
    {
        let found = check(&rule, &json!({"list": []}));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("the definition has invalid rules"), "{found:?}");
    }
}
