//! CustomResourceDefinitions: CEL, patterns, schemas, columns.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::nested;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("expressions and schemas", Attacker::Definer, Target::Serve)
        .gate("length and depth of a CEL rule are checked before it is parsed, its cost before it runs")
        .add("a CEL rule of 200,000 parentheses", |s| {
            rule(s, nested("(", 200_000, "true", ")"))
        })
        .add("a CEL rule of 20,000 negations", |s| rule(s, format!("{}true", "!".repeat(20_000))))
        .add("a CEL rule of 50,000 conditions", |s| {
            rule(s, format!("{}true", "true ? true : ".repeat(50_000)))
        })
        .add("a CEL rule that is a list of lists 5,000 deep", |s| {
            rule(s, format!("{} == []", nested("[", 5000, "", "]")))
        })
        .add("a CEL rule of 100,000 terms", |s| {
            rule(s, format!("{}1 > 0", "1 + ".repeat(100_000)))
        })
        .add("three loops in a CEL rule over a list of 2,000", |s| {
            with_list(s, "self.items.all(a, self.items.all(b, self.items.all(c, a + b + c != 'x')))")
        })
        .add("a CEL rule that doubles a text again and again", |s| {
            with_list(s, "self.items.map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).all(a, a != 'x')")
        })
        .add("a CEL rule with a pattern that is slow", |s| {
            with_list(s, r"self.items.all(a, a.matches('(\\w{1,400}){1,400}x'))")
        })
        .gate("length and states of patterns are bounded, of each and of all")
        .add("300 patterns \\w{1,400}", patterns)
        .add("a pattern of 100,000 nested groups", |s| {
            field(s, json!({ "type": "string", "pattern": nested("(", 100_000, "a", ")") }))
        })
        .add("a pattern that is a megabyte long", |s| {
            field(s, json!({ "type": "string", "pattern": "a?".repeat(400_000) }))
        })
        .gate("depth and size of a definition are bounded, and its paths")
        .add("a schema that is 5,000 deep", deep_schema)
        .add("a schema with 100,000 fields", wide_schema)
        .add("a default that is nested 5,000 deep", |s| {
            let deep: String = nested(r#"{"a":"#, 5000, "1", "}");
            raw_field(s, format!(
                r#"{{"type":"object","x-kubernetes-preserve-unknown-fields":true,"default":{deep}}}"#
            ))
        })
        .add("an enumeration of 100,000 values", |s| {
            let values: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
            field(s, json!({ "type": "string", "enum": values }))
        })
        .add("a column whose path is 20,000 fields long", |s| {
            column(s, format!("{}.a", ".a".repeat(20_000)))
        })
        .add("a column whose path is 5,000 filters", |s| {
            column(s, format!(".spec{}", "[?(@.a==\"b\")]".repeat(5000)))
        })
        .add("a column whose path is 50,000 open brackets", |s| column(s, "[".repeat(50_000)))
        .end()
}

fn definition(schema: Value, columns: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "things.attack.example.com" },
        "spec": {
            "group": "attack.example.com", "scope": "Cluster",
            "names": { "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "additionalPrinterColumns": columns,
            }],
        },
    })
}

fn schema(spec: Value) -> Value {
    json!({ "type": "object", "properties": { "spec": spec } })
}

/// Creates the CRD and an object, and deletes both.
async fn define(fixture: &Fixture, definition: String, object: Option<Value>) -> AttackResult {
    let made =
        fixture.definer.call("POST", DEFINITIONS, crate::attack::client::JSON, definition).await;
    if made.is_ok_and(|answer| answer.status.is_success()) {
        // Served after a moment; whether it is served does not matter here.
        let things = "/apis/attack.example.com/v1/things";
        let object = object.unwrap_or_else(|| {
            json!({
                "apiVersion": "attack.example.com/v1", "kind": "Thing",
                "metadata": { "name": "a" }, "spec": { "items": ["a"], "p0": "aaaa" },
            })
        });
        for _ in 0..20 {
            match fixture.definer.post(things, &object).await {
                Ok(answer) if answer.status == http::StatusCode::NOT_FOUND => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                _ => break,
            }
        }
        drop(fixture.definer.get(things).await);
    }
    drop(fixture.definer.delete(&format!("{DEFINITIONS}/things.attack.example.com")).await);
    Ok(())
}

async fn field(fixture: Arc<Fixture>, field: Value) -> AttackResult {
    let spec = json!({ "type": "object", "properties": { "p0": field } });
    define(&fixture, definition(schema(spec), json!([])).to_string(), None).await
}

/// The same for JSON that no `Value` can represent.
async fn raw_field(fixture: Arc<Fixture>, field: String) -> AttackResult {
    let spec = json!({ "type": "object", "properties": { "p0": "FIELD" } });
    let text = definition(schema(spec), json!([])).to_string().replace("\"FIELD\"", &field);
    define(&fixture, text, None).await
}

async fn column(fixture: Arc<Fixture>, path: String) -> AttackResult {
    let columns = json!([{ "name": "A", "type": "string", "jsonPath": path }]);
    let spec = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    define(&fixture, definition(schema(spec), columns).to_string(), None).await
}

async fn rule(fixture: Arc<Fixture>, rule: String) -> AttackResult {
    let spec = json!({
        "type": "object", "properties": { "p0": { "type": "string" } },
        "x-kubernetes-validations": [{ "rule": rule, "message": "no" }],
    });
    define(&fixture, definition(schema(spec), json!([])).to_string(), None).await
}

async fn with_list(fixture: Arc<Fixture>, rule: &str) -> AttackResult {
    let spec = json!({
        "type": "object",
        "properties": { "items": { "type": "array", "items": { "type": "string" } } },
        "x-kubernetes-validations": [{ "rule": rule, "message": "no" }],
    });
    let items: Vec<String> = (0..2000).map(|n| format!("item-{n}")).collect();
    let object = json!({
        "apiVersion": "attack.example.com/v1", "kind": "Thing",
        "metadata": { "name": "a" }, "spec": { "items": items },
    });
    define(&fixture, definition(schema(spec), json!([])).to_string(), Some(object)).await
}

async fn patterns(fixture: Arc<Fixture>) -> AttackResult {
    let properties: serde_json::Map<String, Value> = (0..300)
        .map(|n| (format!("p{n}"), json!({ "type": "string", "pattern": r"\w{1,400}" })))
        .collect();
    let spec = json!({ "type": "object", "properties": properties });
    define(&fixture, definition(schema(spec), json!([])).to_string(), None).await
}

async fn deep_schema(fixture: Arc<Fixture>) -> AttackResult {
    let deep = nested(r#"{"type":"object","properties":{"a":"#, 5000, r#"{"type":"string"}"#, "}}");
    raw_field(fixture, deep).await
}

async fn wide_schema(fixture: Arc<Fixture>) -> AttackResult {
    let properties: serde_json::Map<String, Value> =
        (0..100_000).map(|n| (format!("p{n}"), json!({ "type": "string" }))).collect();
    field(fixture, json!({ "type": "object", "properties": properties })).await
}
