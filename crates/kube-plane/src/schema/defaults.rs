//! Sets absent fields to the schema's defaults.

use serde_json::Value;

use super::{Additional, Schema};

/// Applies defaults from the outside in: a default object is completed by the defaults of its own
/// fields. `null` in a field that is not nullable and has a default counts as absent.
pub(crate) fn default(schema: &Schema, value: &mut Value) {
    if !schema.defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, property) in &schema.properties {
                if !property.defaults {
                    continue;
                }
                if let Some(default) = &property.default {
                    let absent = match fields.get(&**name) {
                        None => true,
                        Some(value) => value.is_null() && !property.nullable,
                    };
                    if absent {
                        fields.insert(name.to_string(), (**default).clone());
                    }
                }
                if let Some(value) = fields.get_mut(&**name) {
                    self::default(property, value);
                }
            }
            if let Additional::Of(values) = &schema.additional {
                for (name, value) in fields.iter_mut() {
                    if schema.property(name).is_none() {
                        if value.is_null()
                            && !values.nullable
                            && let Some(default) = &values.default
                        {
                            *value = (**default).clone();
                        }
                        self::default(values, value);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for item in items {
                    if item.is_null()
                        && !schema.nullable
                        && let Some(default) = &schema.default
                    {
                        *item = (**default).clone();
                    }
                    self::default(schema, item);
                }
            }
        }
        _ => {}
    }
}
