//! Access to single fields of JSON, and checks that several kinds share.

use capi_api::core::{Bootstrap, MachineTemplate};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Problem;
use crate::objects::{check_length, machine_name, selects, version};

/// Returns the string at a JSON pointer.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// Sets a field and creates the parent objects. Does nothing if a parent is not an object.
pub(super) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = object;
    for key in parents {
        let Some(fields) = at.as_object_mut() else { return };
        let next = fields.entry(*key).or_insert_with(|| json!({}));
        if next.is_null() {
            *next = json!({});
        }
        at = next;
    }
    if let Some(fields) = at.as_object_mut() {
        fields.insert((*last).to_owned(), value);
    }
}

/// Sets a field that is absent or null.
pub(super) fn default(object: &mut Value, path: &[&str], value: Value) {
    let pointer: String = path.iter().map(|key| format!("/{}", key.replace('/', "~1"))).collect();
    if object.pointer(&pointer).is_none_or(Value::is_null) {
        set(object, path, value);
    }
}

/// Adds the leading `v` to a version.
pub(super) fn prefix_version(object: &mut Value, path: &[&str]) {
    let pointer: String = path.iter().map(|key| format!("/{key}")).collect();
    let Some(version) = text(object, &pointer) else { return };
    if version.starts_with(|c: char| c.is_ascii_digit()) {
        let prefixed = format!("v{version}");
        set(object, path, json!(prefixed));
    }
}

/// Deserializes the object, or returns why that fails.
pub(super) fn typed<K: DeserializeOwned>(object: &Value) -> Result<K, Vec<Problem>> {
    K::deserialize(object).map_err(|error| vec![Problem::new("spec", error.to_string())])
}

/// Checks that a version is `v` followed by a semantic version.
pub(super) fn check_version(field: &str, value: Option<&str>) -> Option<Problem> {
    let value = value?;
    let is_good = value.starts_with('v') && version(value).is_some();
    (!is_good).then(|| {
        Problem::new(field, format!("\"{value}\" is not a valid version (example: v1.36.0)"))
    })
}

/// Checks that the source of bootstrap data is set.
pub(super) fn check_bootstrap(field: &str, bootstrap: &Bootstrap) -> Option<Problem> {
    let is_missing = bootstrap.config_ref.is_none() && bootstrap.data_secret_name.is_none();
    is_missing.then(|| Problem::new(field, "set configRef or dataSecretName"))
}

/// Checks that the cluster does not change.
pub(super) fn check_cluster_name(new: &Value, old: Option<&Value>) -> Option<Problem> {
    let name = |object| text(object, "/spec/clusterName").map(str::to_owned);
    let old = name(old?);
    (old != name(new)).then(|| Problem::new("spec.clusterName", "cannot be changed"))
}

/// Checks that the template belongs to the same cluster and that its labels match the selector.
pub(super) fn check_template(
    cluster: &str,
    selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    template: &MachineTemplate,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if template.spec.cluster_name != cluster {
        problems.push(Problem::new(
            "spec.template.spec.clusterName",
            format!("must be \"{cluster}\", like spec.clusterName"),
        ));
    }
    let meta = ObjectMeta {
        labels: template.metadata.as_ref().and_then(|meta| meta.labels.clone()),
        ..ObjectMeta::default()
    };
    if let Err(problem) = check_length(selector) {
        problems.push(Problem::new("spec.selector", problem));
    } else if !selects(selector, &meta) {
        problems.push(Problem::new(
            "spec.template.metadata.labels",
            "do not match spec.selector: the selector would not find the machines",
        ));
    }
    problems.extend(check_bootstrap("spec.template.spec.bootstrap", &template.spec.bootstrap));
    let version = template.spec.version.as_deref();
    problems.extend(check_version("spec.template.spec.version", version));
    problems
}

/// Checks that a naming template can be rendered and yields names that Kubernetes accepts.
pub(super) fn check_naming(field: &str, template: Option<&str>) -> Option<Problem> {
    let template = template?;
    let problem = match machine_name(template, "cluster", "set", "abcde") {
        Err(problem) => problem,
        Ok(name) if !is_dns1123_subdomain(&name) => {
            format!("yields names like \"{name}\", which are not valid DNS names")
        }
        Ok(_) => return None,
    };
    Some(Problem::new(field, problem))
}

/// Checks that a value is a non-negative number or a percentage.
pub(super) fn check_count(field: &str, value: Option<&IntOrString>) -> Option<Problem> {
    let is_good = match value? {
        IntOrString::Int(count) => *count >= 0,
        IntOrString::String(text) => text
            .strip_suffix('%')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())),
    };
    (!is_good)
        .then(|| Problem::new(field, "must be a number or a percentage (examples: 1, \"25%\")"))
}

/// Returns whether a name has only lower-case letters, digits and dashes, and starts and ends with
/// a letter or digit.
pub(super) fn is_dns1123_label(name: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(|c| is_alphanumeric(c) || c == '-')
        && name.starts_with(is_alphanumeric)
        && name.ends_with(is_alphanumeric)
}

fn is_dns1123_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns1123_label)
}
