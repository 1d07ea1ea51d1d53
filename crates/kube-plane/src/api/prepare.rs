//! From the request body to the stored object: decoding, pruning, defaults, admission, validation.

use std::{collections::HashSet, sync::Arc};

use kube_cel::RootContext;
use serde_json::Value;

use super::{Api, Body, FieldValidation, Subresource, WriteOptions};
use crate::{
    admission::{FieldError, short},
    expensive, json, meta, rbac,
    registry::{CRDS, Compiled, Resource, SchemaSource, definition},
    schema::{default, prune, validate},
    status::{ApiError, MAX_CAUSES, Result, more, sentences},
    store::limits,
};

/// Checks the form, prunes unknown fields, and applies defaults. Adds warnings.
pub(super) fn decode(
    resource: &Resource,
    body: Body,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    let Body { mut value, duplicates } = body;
    // Before anything walks it: a patch may have made it larger than the body. What is stored has a
    // limit of its own.
    limits::check_stored(&value)?;
    let mut unknown = Vec::new();
    check_kind(resource, &mut value)?;
    meta::normalize(&mut value, &mut unknown)?;
    unknown.extend(prune_unknown(resource, &mut value)?);
    let count = duplicates.len() + unknown.len();
    let strict: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .chain(unknown.iter().map(|path| format!("unknown field \"{path}\"")))
        .take(MAX_CAUSES)
        .chain(more(count))
        .collect();
    if !strict.is_empty() {
        match options.validation {
            FieldValidation::Strict => {
                return Err(ApiError::bad_request(format!(
                    "{kind} in version \"{version}\" cannot be handled as a {kind}: strict \
                     decoding error: {errors}",
                    kind = resource.kind,
                    version = resource.version,
                    errors = strict.join(", ")
                )));
            }
            FieldValidation::Warn => warnings.extend(strict),
            FieldValidation::Ignore => {}
        }
    }
    if let Some(deprecation) = &resource.deprecation {
        warnings.push(deprecation.to_string());
    }
    default(&resource.compiled().schema, &mut value);
    if resource.builtin {
        complete(resource, &mut value);
    }
    Ok(value)
}

fn check_kind(resource: &Resource, value: &mut Value) -> Result<()> {
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    };
    for (field, wanted) in
        [("apiVersion", resource.api_version()), ("kind", resource.kind.to_string())]
    {
        match fields.get(field) {
            Some(Value::String(found)) if *found == wanted => {}
            // Go clients omit them when the URL determines them.
            None => {
                fields.insert(field.to_owned(), wanted.into());
            }
            Some(found) => {
                let found = short(found.as_str().unwrap_or_default());
                let what = if field == "kind" { "kind" } else { "API version" };
                return Err(ApiError::bad_request(format!(
                    "the {what} in the data ({found}) does not match the expected {what} ({wanted})"
                )));
            }
        }
    }
    Ok(())
}

fn prune_unknown(resource: &Resource, value: &mut Value) -> Result<Vec<String>> {
    if *resource.storage == *CRDS {
        return definition::decode(value).map_err(|error| {
            ApiError::bad_request(format!(
                "CustomResourceDefinition in version \"v1\" cannot be handled as a \
                 CustomResourceDefinition: {}",
                short(&json::reason(&error))
            ))
        });
    }
    if matches!(resource.source, SchemaSource::None) {
        return Ok(Vec::new());
    }
    if resource.builtin {
        drop_nulls(value);
    }
    Ok(prune(&resource.compiled().schema, value))
}

/// Go reads `null` as the zero value, which is not written again.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Defaults of built-in kinds, which are code in Kubernetes.
fn complete(resource: &Resource, value: &mut Value) {
    if &*resource.kind == "Secret" {
        let texts = value.get("stringData").and_then(Value::as_object);
        // Values of a wrong type are left to the validation.
        if texts.is_some_and(|texts| texts.values().all(Value::is_string))
            && let Some(Value::Object(texts)) = json::remove(value, &["stringData"])
        {
            for (key, text) in texts {
                let text = text.as_str().unwrap_or_default();
                let data = base64_of(text);
                json::set(value, &["data", &key], data.into());
            }
        }
        if value.get("type").is_none_or(|kind| kind == "") {
            value["type"] = "Opaque".into();
        }
    }
    if &*resource.group == "rbac.authorization.k8s.io" {
        rbac::complete(&resource.kind, value);
    }
}

fn base64_of(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

/// Runs the mutating admission functions. Their result is pruned and defaulted.
pub(super) fn mutate(api: &Api, resource: &Resource, new: &mut Value, old: Option<&Value>) {
    let mut changed = false;
    for admission in api.admission(resource) {
        if let Some(mutate) = &admission.mutate {
            mutate(new, old);
            changed = true;
        }
    }
    if changed {
        let schema = &resource.compiled().schema;
        prune(schema, new);
        default(schema, new);
    }
}

/// Validates an object and returns all errors in one response.
pub(super) async fn check(
    api: &Api,
    resource: &Resource,
    subresource: Subresource,
    new: &Arc<Value>,
    old: Option<&Arc<Value>>,
    options: &WriteOptions,
) -> Result<()> {
    let mut errors = Vec::new();
    meta::validate(resource, new, old.map(|old| &**old), &mut errors);
    let validation = Validation {
        compiled: Arc::clone(resource.compiled()),
        context: RootContext {
            api_version: resource.api_version(),
            api_group: resource.group.to_string(),
            kind: resource.kind.to_string(),
        },
        definition: *resource.storage == *CRDS,
        new: Arc::clone(new),
        old: old.cloned(),
    };
    let expensive = !resource.builtin || validation.definition;
    let ValidationErrors { mut shape, rules } =
        if expensive { expensive::run(move || validation.run()).await? } else { validation.run() };
    let (new, old) = (&**new, old.map(|old| &**old));
    if resource.builtin && !shape.is_empty() {
        redact_secret_values(resource, &mut shape);
        // Go cannot decode such a body, so clients expect 400 for built-in kinds.
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {errors}",
            kind = resource.kind,
            version = resource.version,
            errors = sentences(&shape)
        )));
    }
    let well_formed = shape.is_empty();
    errors.extend(shape);
    errors.extend(rules);
    if resource.builtin {
        check_builtin(resource, new, old, &mut errors);
    }
    if well_formed && subresource == Subresource::None {
        for admission in api.admission(resource) {
            if let Some(validate) = &admission.validate
                && let Err(more) = validate(new, old)
            {
                errors.extend(more);
            }
        }
    }
    if errors.is_empty() {
        if let Some(who) = &options.who {
            let policy = api.rbac.policy();
            rbac::check_escalation(&policy, resource, who, new, old)?;
            rbac::check_owners(&policy, &api.registry.tables(), resource, who, new, old)?;
        }
        return Ok(());
    }
    redact_secret_values(resource, &mut errors);
    let name = json::text(new, &["metadata", "name"]);
    Err(ApiError::invalid(resource, name, &errors))
}

/// The part of the validation whose duration a client or a definition controls.
struct Validation {
    compiled: Arc<Compiled>,
    context: RootContext,
    definition: bool,
    new: Arc<Value>,
    old: Option<Arc<Value>>,
}

/// Errors of the schema and of its rules.
struct ValidationErrors {
    shape: Vec<FieldError>,
    rules: Vec<FieldError>,
}

impl Validation {
    fn run(self) -> ValidationErrors {
        let Self { compiled, context, definition, new, old } = &self;
        let old = old.as_deref();
        let shape = without_old_errors(validate(&compiled.schema, new), || {
            old.map(|old| validate(&compiled.schema, old))
        });
        let mut rules = Vec::new();
        // Rules may rely on the form.
        if shape.is_empty()
            && let Some(compiled) = compiled.rules()
        {
            rules = without_old_errors(compiled.check(context, new, old), || {
                old.map(|old| compiled.check(context, old, None))
            });
        }
        if *definition {
            rules.extend(definition::validate(new, old));
        }
        ValidationErrors { shape, rules }
    }
}

/// Errors in a Secret give the field but never the value: responses are logged and shown.
fn redact_secret_values(resource: &Resource, errors: &mut [FieldError]) {
    if resource.builtin && &*resource.kind == "Secret" {
        for error in errors {
            error.value = None;
        }
    }
}

/// Removes errors that the old object has too: a stricter definition must not prevent other changes
/// of older objects, or their finalization.
fn without_old_errors(
    mut errors: Vec<FieldError>,
    before: impl FnOnce() -> Option<Vec<FieldError>>,
) -> Vec<FieldError> {
    if !errors.is_empty()
        && let Some(before) = before()
    {
        let identity = |error: &FieldError| {
            let FieldError { field, kind, value, message } = error;
            let value = value.as_ref().map(Value::to_string);
            (field.clone(), kind.reason(), value, message.clone())
        };
        let before: HashSet<_> = before.iter().map(identity).collect();
        errors.retain(|error| !before.contains(&identity(error)));
    }
    errors
}

fn check_builtin(
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    if &*resource.group == "rbac.authorization.k8s.io" {
        return rbac::validate(&resource.kind, new, old, errors);
    }
    if !matches!(&*resource.kind, "Secret" | "ConfigMap") {
        return;
    }
    for field in ["data", "binaryData"] {
        let keys = new.get(field).and_then(Value::as_object).into_iter().flatten();
        for (key, _) in keys {
            let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if key.is_empty() || key.len() > 253 || !key.bytes().all(word) {
                errors.push(FieldError::invalid(
                    format!("{field}[{key}]"),
                    key.as_str().into(),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                ));
            }
        }
    }
    let Some(old) = old else { return };
    if &*resource.kind == "Secret" && new.get("type") != old.get("type") {
        let found = new.get("type").cloned().unwrap_or_default();
        errors.push(FieldError::invalid("type", found, "field is immutable"));
    }
    if old.get("immutable") == Some(&Value::Bool(true)) {
        for field in ["data", "binaryData", "immutable"] {
            if new.get(field) != old.get(field) {
                let message = "field is immutable when `immutable` is set";
                errors.push(FieldError::forbidden(field, message));
            }
        }
    }
}
