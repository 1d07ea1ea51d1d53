//! Defaults and validation of roles and bindings.

use serde_json::Value;

use crate::{FieldError, FieldErrorKind, json};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Defaults of a role or binding.
pub(crate) fn complete(kind: &str, value: &mut Value) {
    if !matches!(kind, "RoleBinding" | "ClusterRoleBinding") {
        return;
    }
    if value.get("roleRef").is_some_and(Value::is_object) {
        default(&mut value["roleRef"], "apiGroup", GROUP);
    }
    for subject in value.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if matches!(json::text(subject, &["kind"]), "User" | "Group") {
            default(subject, "apiGroup", GROUP);
        }
    }
}

fn default(value: &mut Value, field: &str, text: &str) {
    if json::text(value, &[field]).is_empty() && value.is_object() {
        value[field] = text.into();
    }
}

/// Adds the errors of a new or changed role or binding.
pub(crate) fn validate(kind: &str, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    match kind {
        "Role" => rules(new, true, errors),
        "ClusterRole" => rules(new, false, errors),
        "RoleBinding" => binding(&["Role", "ClusterRole"], new, old, errors),
        "ClusterRoleBinding" => binding(&["ClusterRole"], new, old, errors),
        _ => {}
    }
}

fn rules(new: &Value, namespaced: bool, errors: &mut Vec<FieldError>) {
    let rules = new.get("rules").and_then(Value::as_array).into_iter().flatten();
    for (index, rule) in rules.enumerate() {
        let field = |name: &str| format!("rules[{index}].{name}");
        let has = |name: &str| !rule.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty);
        if !has("verbs") {
            let message = "verbs must contain at least one value";
            errors.push(FieldError::required(field("verbs"), message));
        }
        if has("nonResourceURLs") {
            let found = rule["nonResourceURLs"].clone();
            let message = if namespaced {
                "namespaced rules cannot apply to non-resource URLs"
            } else if has("apiGroups") || has("resources") || has("resourceNames") {
                "rules cannot apply to both regular resources and non-resource URLs"
            } else {
                continue;
            };
            errors.push(FieldError::invalid(field("nonResourceURLs"), found, message));
            continue;
        }
        for (name, message) in [
            ("apiGroups", "resource rules must supply at least one api group"),
            ("resources", "resource rules must supply at least one resource"),
        ] {
            if !has(name) {
                errors.push(FieldError::required(field(name), message));
            }
        }
    }
}

fn binding(kinds: &[&str], new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let unsupported = |field: &str, value: &str, supported: &[&str]| FieldError {
        field: field.to_owned(),
        kind: FieldErrorKind::NotSupported,
        value: Some(value.into()),
        message: format!("supported values: \"{}\"", supported.join("\", \"")),
    };
    if old.is_some_and(|old| old.get("roleRef") != new.get("roleRef")) {
        let found = new.get("roleRef").cloned().unwrap_or_default();
        errors.push(FieldError::invalid("roleRef", found, "cannot change roleRef"));
    }
    let group = json::text(new, &["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.push(unsupported("roleRef.apiGroup", group, &[GROUP]));
    }
    let kind = json::text(new, &["roleRef", "kind"]);
    if !kinds.contains(&kind) {
        errors.push(unsupported("roleRef.kind", kind, kinds));
    }
    if json::text(new, &["roleRef", "name"]).is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    let subjects = new.get("subjects").and_then(Value::as_array).into_iter().flatten();
    for (index, subject) in subjects.enumerate() {
        let field = |name: &str| format!("subjects[{index}].{name}");
        if json::text(subject, &["name"]).is_empty() {
            errors.push(FieldError::required(field("name"), ""));
        }
        let wanted = match json::text(subject, &["kind"]) {
            "ServiceAccount" => {
                if json::text(subject, &["namespace"]).is_empty() {
                    errors.push(FieldError::required(field("namespace"), ""));
                }
                ""
            }
            "User" | "Group" => GROUP,
            kind => {
                let supported = ["ServiceAccount", "User", "Group"];
                errors.push(unsupported(&field("kind"), kind, &supported));
                continue;
            }
        };
        let group = json::text(subject, &["apiGroup"]);
        if group != wanted {
            errors.push(unsupported(&field("apiGroup"), group, &[wanted]));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(kind: &str, mut new: Value, old: Option<&Value>) -> String {
        complete(kind, &mut new);
        let mut errors = Vec::new();
        validate(kind, &new, old, &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn wrong_rules_are_named() {
        let role = |rule: Value| json!({ "rules": [rule] });
        let good = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        assert_eq!(errors("Role", role(good), None), "");
        assert_eq!(errors("ClusterRole", json!({}), None), "");
        let urls = json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]});
        assert_eq!(errors("ClusterRole", role(urls.clone()), None), "");
        let found = errors("Role", role(urls), None);
        assert!(found.contains("namespaced rules cannot apply"), "{found}");
        let found = errors("Role", role(json!({"verbs": []})), None);
        for field in ["rules[0].verbs", "rules[0].apiGroups", "rules[0].resources"] {
            assert!(found.contains(&format!("{field}: Required value")), "{found}");
        }
        let both = json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]});
        assert!(errors("ClusterRole", role(both), None).contains("both regular resources"));
    }

    #[test]
    fn wrong_bindings_are_named_and_a_role_cannot_be_changed() {
        let binding = |kind: &str, subject: Value| json!({"roleRef": {"kind": kind, "name": "r"}, "subjects": [subject]});
        let user = json!({"kind": "User", "name": "jane"});
        let good = binding("Role", user.clone());
        assert_eq!(errors("RoleBinding", good.clone(), None), "");
        let found = errors("ClusterRoleBinding", good.clone(), None);
        let expected =
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"";
        assert_eq!(found, expected);
        let account = json!({"kind": "ServiceAccount", "name": "a"});
        let found = errors("RoleBinding", binding("Role", account), None);
        assert_eq!(found, "subjects[0].namespace: Required value");
        let found = errors("RoleBinding", binding("Role", json!({"kind": "Robot"})), None);
        assert!(found.contains("subjects[0].kind: Unsupported value: \"Robot\""), "{found}");
        let mut old = good;
        complete("RoleBinding", &mut old);
        let found = errors("RoleBinding", binding("ClusterRole", user), Some(&old));
        assert!(found.starts_with("roleRef: Invalid value"), "{found}");
        assert!(found.ends_with("cannot change roleRef"), "{found}");
    }
}
