//! `capn user …`: who else may use the plane.

pub mod create;
pub mod delete;
pub mod list;

use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::error::{CommandError, Doing as _};

/// Label of the bindings that `user create` makes. Their subject is the user.
const LABEL: &str = "capn.cluster.x-k8s.io/user";
/// The longest common name of a certificate.
const LONGEST_NAME: usize = 64;

/// A user's role in a namespace.
struct Grant {
    user: String,
    namespace: String,
    role: String,
    binding: String,
    since: Option<jiff::Timestamp>,
}

/// The grants that `user create` made, of all users or one, in all namespaces or one.
async fn grants(
    client: &Client,
    user: Option<&str>,
    namespace: Option<&str>,
) -> Result<Vec<Grant>, CommandError> {
    let api: Api<RoleBinding> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let bindings = api.list(&ListParams::default().labels(LABEL)).await;
    let bindings = bindings.doing("cannot list the users' role bindings")?;
    let grants = bindings.into_iter().flat_map(|binding| {
        let users = binding.subjects.iter().flatten().filter(|subject| subject.kind == "User");
        let grant = |subject: &Subject| Grant {
            user: subject.name.clone(),
            namespace: binding.namespace().unwrap_or_default(),
            role: binding.role_ref.name.clone(),
            binding: binding.name_any(),
            since: binding.creation_timestamp().map(|time| time.0),
        };
        users.map(grant).collect::<Vec<_>>()
    });
    let mut grants: Vec<Grant> =
        grants.filter(|grant| user.is_none_or(|user| user == grant.user)).collect();
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
    use super::*;

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
