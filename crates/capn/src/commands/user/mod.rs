//! `capn user`: manages users of the plane.

pub mod create;
pub mod delete;
pub mod list;

use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::error::{CommandError, Doing as _};
use crate::session::roles;

/// Label of bindings created by `user create`. Their subject is the user.
const LABEL: &str = "capn.cluster.x-k8s.io/user";
/// Maximum length of a certificate's common name.
const LONGEST_NAME: usize = 64;
/// Maximum length of a role name that fits into a table and into the name of a binding.
const LONGEST_ROLE: usize = 128;

/// A user's role in a namespace.
struct Grant {
    user: String,
    namespace: String,
    /// Prefixed with `Role/` for a Role of the namespace, which its tenants may change.
    role: String,
    since: Option<jiff::Timestamp>,
}

/// Returns the name of the binding that grants a role to a user.
fn binding_name(user: &str, role: &str) -> String {
    format!("capn-user-{user}-{role}")
}

/// Returns what a binding grants, if it has the form that `user create` uses. The label alone
/// proves nothing: namespace administrators can set it too.
fn grant(binding: &RoleBinding) -> Option<Grant> {
    let [subject] = binding.subjects.as_deref()? else { return None };
    let Subject { kind, name: user, .. } = subject;
    let role = binding.role_ref.name.as_str();
    let named = binding.name_any();
    let short = role.strip_prefix("capn-").filter(|short| roles::ROLES.contains(short));
    let ours = [Some(role), short].into_iter().flatten();
    let ours = ours.map(|role| binding_name(user, role)).any(|ours| ours == named);
    let plain = user_name(user).is_ok() && role.len() <= LONGEST_ROLE;
    (kind == "User" && plain && ours).then(|| Grant {
        user: user.clone(),
        namespace: binding.namespace().unwrap_or_default(),
        role: match binding.role_ref.kind.as_str() {
            "ClusterRole" => role.to_owned(),
            kind => format!("{kind}/{role}"),
        },
        since: binding.creation_timestamp().map(|time| time.0),
    })
}

/// Grants made by `user create`, in all namespaces or one.
async fn grants(client: &Client, namespace: Option<&str>) -> Result<Vec<Grant>, CommandError> {
    let api: Api<RoleBinding> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let bindings = api.list(&ListParams::default().labels(LABEL)).await;
    let bindings = bindings.doing("cannot list role bindings of users")?;
    let mut grants: Vec<Grant> = bindings.iter().filter_map(grant).collect();
    grants.sort_by(|a, b| (&a.user, &a.namespace).cmp(&(&b.user, &b.namespace)));
    Ok(grants)
}

/// Parses a user name. It must be valid in a certificate and in an object name, and must not be a
/// reserved name of Kubernetes.
///
/// # Errors
///
/// Returns a message if the name is invalid.
fn user_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let good = text.len() <= LONGEST_NAME
        && text.chars().all(plain)
        && ends(text.chars().next())
        && ends(text.chars().last());
    if good {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a user name has at most {LONGEST_NAME} letters, digits, `-`, `_`, `.` and `@`, and begins and ends with a letter or digit"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bindings_made_by_user_create_are_listed() {
        let found = |name: &str, kind: &str, users: &[&str], role: &str| {
            let subjects: Vec<_> =
                users.iter().map(|user| json!({"kind": kind, "name": user})).collect();
            let binding = serde_json::from_value(json!({
                "metadata": {"name": name}, "subjects": subjects,
                "roleRef": {"apiGroup": "", "kind": "ClusterRole", "name": role},
            }));
            grant(&binding.unwrap()).is_some()
        };
        assert!(found("capn-user-jane-edit", "User", &["jane"], "capn-edit"));
        assert!(found("capn-user-jane-own", "User", &["jane"], "own"));
        assert!(!found("mine", "User", &["jane"], "capn-edit"));
        assert!(!found("capn-user-jane-edit", "User", &["joe"], "capn-edit"));
        assert!(!found("capn-user-jane-edit", "Group", &["jane"], "capn-edit"));
        assert!(!found("capn-user-jane-edit", "User", &["jane", "joe"], "capn-edit"));
        assert!(!found("capn-user-a b-edit", "User", &["a b"], "capn-edit"));
        let long = "r".repeat(200);
        assert!(!found(&binding_name("jane", &long), "User", &["jane"], &long));
    }

    #[test]
    fn user_names_must_be_valid_everywhere() {
        for good in ["jane", "jane.doe@example.org", "CI-1"] {
            assert!(user_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", "-", "system:masters", "a/b", "a b", "jane\u{1b}", "é", "a-", &long] {
            assert!(user_name(bad).is_err(), "{bad}");
        }
    }
}
