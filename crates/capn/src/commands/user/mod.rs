//! `capn user …`: who else may use the plane.

pub mod create;
pub mod delete;
pub mod list;

use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::error::{CommandError, Doing as _};
use crate::session::roles;

/// Label of the bindings that `user create` makes. Their subject is the user.
const LABEL: &str = "capn.cluster.x-k8s.io/user";
/// The longest common name of a certificate.
const LONGEST_NAME: usize = 64;
/// The longest name of a role that fits into a table, and into the name of a binding.
const LONGEST_ROLE: usize = 128;

/// A user's role in a namespace.
struct Grant {
    user: String,
    namespace: String,
    /// `Role/` before the name of one of the namespace's, which its tenants may write.
    role: String,
    since: Option<jiff::Timestamp>,
}

/// The name of the binding that gives a user a role.
fn binding_name(user: &str, role: &str) -> String {
    format!("capn-user-{user}-{role}")
}

/// What a binding gives, if it has the form that `user create` gives it. Its label is not enough: who
/// administers a namespace can set it too.
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

/// The grants that `user create` made, in all namespaces or one.
async fn grants(client: &Client, namespace: Option<&str>) -> Result<Vec<Grant>, CommandError> {
    let api: Api<RoleBinding> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let bindings = api.list(&ListParams::default().labels(LABEL)).await;
    let bindings = bindings.doing("cannot list the users' role bindings")?;
    let mut grants: Vec<Grant> = bindings.iter().filter_map(grant).collect();
    grants.sort_by(|a, b| (&a.user, &a.namespace).cmp(&(&b.user, &b.namespace)));
    Ok(grants)
}

/// Reads the name of a user: what a certificate and the name of an object can hold, and nobody of
/// Kubernetes' own.
///
/// # Errors
///
/// What is wrong with it.
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
        "a user is named by at most {LONGEST_NAME} letters, digits, `-`, `_`, `.` and `@`, with a \
         letter or digit at both ends"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bindings_of_the_form_of_user_create_are_shown() {
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
    fn users_have_names_that_fit_everywhere() {
        for good in ["jane", "jane.doe@example.org", "CI-1"] {
            assert!(user_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", "-", "system:masters", "a/b", "a b", "jane\u{1b}", "é", "a-", &long] {
            assert!(user_name(bad).is_err(), "{bad}");
        }
    }
}
