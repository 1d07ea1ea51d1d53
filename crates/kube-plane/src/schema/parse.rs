//! Parsing of schemas from OpenAPI v3.

use serde_json::{Map, Value};

use super::{Additional, Limits, ListType, Pattern, Schema, Type};

impl Schema {
    /// Parses a schema. Unknown keywords have no effect.
    pub(crate) fn parse(value: &Value) -> Self {
        let Some(fields) = value.as_object() else {
            // `true` in JSON schema accepts anything.
            return Self { preserve_unknown: true, ..Self::default() };
        };
        let (kind, null) = parse_type(fields.get("type"));
        let mut properties: Vec<(Box<str>, Self)> = fields
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str().into(), Self::parse(schema)))
            .collect();
        properties.sort_by(|(a, _), (b, _)| a.cmp(b));
        let additional = match fields.get("additionalProperties") {
            Some(Value::Bool(true)) => Additional::Any,
            Some(schema @ Value::Object(_)) => Additional::Of(Box::new(Self::parse(schema))),
            _ => Additional::Unknown,
        };
        let items = fields.get("items").map(|items| Box::new(Self::parse(items)));
        let default = fields.get("default").cloned().map(Box::new);
        let defaults = default.is_some()
            || properties.iter().any(|(_, schema)| schema.defaults)
            || matches!(&additional, Additional::Of(schema) if schema.defaults)
            || items.as_ref().is_some_and(|schema| schema.defaults);
        let list_type = match text(fields, "x-kubernetes-list-type") {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        };
        Self {
            kind,
            nullable: null || flag(fields, "nullable"),
            int_or_string: flag(fields, "x-kubernetes-int-or-string")
                || text(fields, "format") == Some("int-or-string"),
            preserve_unknown: flag(fields, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(fields, "x-kubernetes-embedded-resource"),
            properties: properties.into_boxed_slice(),
            additional,
            items,
            default,
            defaults,
            list_type,
            list_keys: strings(fields, "x-kubernetes-list-map-keys"),
            atomic_map: text(fields, "x-kubernetes-map-type") == Some("atomic"),
            limits: Limits::parse(fields),
        }
    }
}

impl Limits {
    fn parse(fields: &Map<String, Value>) -> Option<Box<Self>> {
        const KEYWORDS: [&str; 19] = [
            "required",
            "enum",
            "const",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !KEYWORDS.iter().any(|keyword| fields.contains_key(*keyword)) {
            return None;
        }
        let choices = match (fields.get("enum"), fields.get("const")) {
            (Some(Value::Array(choices)), _) => Some(choices.clone().into_boxed_slice()),
            (_, Some(constant)) => Some(vec![constant.clone()].into_boxed_slice()),
            _ => None,
        };
        Some(Box::new(Self {
            required: strings(fields, "required"),
            choices,
            pattern: text(fields, "pattern").map(Pattern::new),
            format: text(fields, "format").map(Into::into),
            minimum: fields.get("minimum").and_then(Value::as_f64),
            maximum: fields.get("maximum").and_then(Value::as_f64),
            exclusive_minimum: flag(fields, "exclusiveMinimum"),
            exclusive_maximum: flag(fields, "exclusiveMaximum"),
            multiple_of: fields.get("multipleOf").and_then(Value::as_f64),
            min_length: number(fields, "minLength"),
            max_length: number(fields, "maxLength"),
            min_items: number(fields, "minItems"),
            max_items: number(fields, "maxItems"),
            unique_items: flag(fields, "uniqueItems"),
            min_properties: number(fields, "minProperties"),
            max_properties: number(fields, "maxProperties"),
            all_of: schemas(fields, "allOf"),
            any_of: schemas(fields, "anyOf"),
            one_of: schemas(fields, "oneOf"),
            not: fields.get("not").map(|schema| Box::new(Schema::parse(schema))),
        }))
    }
}

/// JSON schema has lists of types; only a type with null is in use.
fn parse_type(value: Option<&Value>) -> (Option<Type>, bool) {
    let one = |name: &str| match name {
        "object" => Some(Type::Object),
        "array" => Some(Type::Array),
        "string" => Some(Type::String),
        "integer" => Some(Type::Integer),
        "number" => Some(Type::Number),
        "boolean" => Some(Type::Boolean),
        _ => None,
    };
    match value {
        Some(Value::String(name)) => (one(name), false),
        Some(Value::Array(names)) => {
            let mut types = names.iter().filter_map(Value::as_str).filter_map(one);
            let null = names.iter().any(|name| name == "null");
            match (types.next(), types.next()) {
                (Some(kind), None) => (Some(kind), null),
                _ => (None, null),
            }
        }
        _ => (None, false),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn flag(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn number(fields: &Map<String, Value>, name: &str) -> Option<u64> {
    fields.get(name).and_then(Value::as_u64)
}

fn strings(fields: &Map<String, Value>, name: &str) -> Box<[Box<str>]> {
    let items = fields.get(name).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(Into::into).collect()
}

fn schemas(fields: &Map<String, Value>, name: &str) -> Box<[Schema]> {
    let items = fields.get(name).and_then(Value::as_array).into_iter().flatten();
    items.map(Schema::parse).collect()
}
