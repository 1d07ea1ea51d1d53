//! `capn user delete`

use clap::Args;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, Subject};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::{binding_name, grant, user_name};
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Options of `user delete`.
#[derive(Clone, Debug, Args)]
pub struct UserDeleteArgs {
    /// Name of the user
    #[arg(value_parser = user_name)]
    pub name: String,
    /// Namespace in which to revoke the user's role [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

pub(crate) async fn run(context: &Context, args: UserDeleteArgs) -> Result<(), CommandError> {
    let UserDeleteArgs { name, namespace } = args;
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let work = async {
        let (client, within) = (session.client(), namespace.as_deref());
        let ours = bindings_of(client, &name, within).await?.ours;
        for binding in &ours {
            take(client, binding, &name).await?;
        }
        // Bindings that others created, or that could not be deleted.
        let Bindings { ours: left, others, of_all_users } =
            bindings_of(client, &name, within).await?;
        let mut left: Vec<String> = left.iter().chain(&others).map(what_it_gives).collect();
        let mut of_all_users: Vec<String> = of_all_users.iter().map(what_it_gives).collect();
        if within.is_none() {
            let (of_user, of_all) = cluster_bindings_of(client, &name).await?;
            left.extend(of_user);
            of_all_users.extend(of_all);
        }
        Ok::<_, CommandError>((ours, left, of_all_users))
    };
    let done = work.await;
    session.close().await?;
    let (taken, left, of_all_users) = done?;
    for binding in &taken {
        context.ui.say(format!(
            "user `{name}` no longer has the role `{}` in namespace `{}`",
            binding.role_ref.name,
            binding.namespace().unwrap_or_default()
        ));
    }
    if !of_all_users.is_empty() {
        context.ui.note(format!(
            "all users, including `{name}`, have roles through the group `{ALL_USERS}`: {}",
            first_of(&of_all_users)
        ));
    }
    if !left.is_empty() {
        let message = format!("user `{name}` still has roles: {}", first_of(&left));
        return Err(CommandError::new(message)
            .hint("they were not created by `capn user create`: delete them with kubectl"));
    }
    if taken.is_empty() {
        context.ui.say(format!("user `{name}` has no role"));
        return Ok(());
    }
    context.ui.note(
        "the certificate stays valid until it expires, but only allows API discovery. A new user with the same name would share their roles with it",
    );
    Ok(())
}

/// Maximum number of bindings that are listed.
const SHOWN: usize = 10;

/// Group of all users. Certificates of capn have no other group.
const ALL_USERS: &str = "system:authenticated";

/// Joins the first texts of a list and the number of others.
fn first_of(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let mut shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        shown.push_str(&format!("; and {more} more"));
    }
    shown
}

/// Role bindings that give a user roles.
struct Bindings {
    /// Those created by `user create`, even if changed since.
    ours: Vec<RoleBinding>,
    /// Others with the user as a subject.
    others: Vec<RoleBinding>,
    /// Those with the group of all users as a subject.
    of_all_users: Vec<RoleBinding>,
}

/// Returns the role bindings that give a user roles, in one namespace or in all.
async fn bindings_of(
    client: &Client,
    user: &str,
    namespace: Option<&str>,
) -> Result<Bindings, CommandError> {
    let api: Api<RoleBinding> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let all = api.list(&ListParams::default()).await.doing("cannot list the role bindings")?;
    let (of_user, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|binding| names(binding.subjects.as_deref(), user));
    let (ours, others) = of_user.into_iter().partition(|binding| is_ours(binding, user));
    let is_of_all = |binding: &RoleBinding| names_all_users(binding.subjects.as_deref());
    Ok(Bindings { ours, others, of_all_users: rest.into_iter().filter(is_of_all).collect() })
}

fn is_ours(binding: &RoleBinding, user: &str) -> bool {
    binding.name_any().starts_with(&binding_name(user, "")) || grant(binding).is_some()
}

fn names(subjects: Option<&[Subject]>, user: &str) -> bool {
    subjects.unwrap_or_default().iter().any(|one| one.kind == "User" && one.name == user)
}

fn names_all_users(subjects: Option<&[Subject]>) -> bool {
    subjects.unwrap_or_default().iter().any(|one| one.kind == "Group" && one.name == ALL_USERS)
}

/// Returns what the cluster role bindings with this user as a subject give, and those with the group
/// of all users.
async fn cluster_bindings_of(
    client: &Client,
    user: &str,
) -> Result<(Vec<String>, Vec<String>), CommandError> {
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    let all = api.list(&ListParams::default()).await;
    let all = all.doing("cannot list the cluster role bindings")?;
    let what_it_gives = |binding: &ClusterRoleBinding| {
        let role = &binding.role_ref.name;
        format!("`{role}` in all namespaces, by ClusterRoleBinding `{}`", binding.name_any())
    };
    let (of_user, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|binding| names(binding.subjects.as_deref(), user));
    let of_all = rest.iter().filter(|binding| names_all_users(binding.subjects.as_deref()));
    Ok((of_user.iter().map(what_it_gives).collect(), of_all.map(what_it_gives).collect()))
}

fn what_it_gives(binding: &RoleBinding) -> String {
    format!(
        "`{}` in namespace `{}`, by RoleBinding `{}`",
        binding.role_ref.name,
        binding.namespace().unwrap_or_default(),
        binding.name_any()
    )
}

/// Deletes a binding, even if it has finalizers: revoking access must not wait. An object that is
/// being deleted cannot get new finalizers.
async fn take(client: &Client, binding: &RoleBinding, user: &str) -> Result<(), CommandError> {
    let (namespace, name) = (binding.namespace().unwrap_or_default(), binding.name_any());
    let api = Api::<RoleBinding>::namespaced(client.clone(), &namespace);
    let doing = || {
        let role = &binding.role_ref.name;
        format!("cannot revoke role `{role}` of `{user}` in namespace `{namespace}`")
    };
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    for result in [
        api.delete(&name, &DeleteParams::default()).await.map(drop),
        api.patch(&name, &PatchParams::default(), &free).await.map(drop),
    ] {
        match result {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => other.doing(doing())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::open_plane;

    fn binding(name: &str, users: &[&str]) -> RoleBinding {
        let subjects: Vec<_> =
            users.iter().map(|user| json!({ "kind": "User", "name": user })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": name, "finalizers": ["x/hold"] }, "subjects": subjects,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "capn-edit" },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_binding_changed_by_a_tenant_is_still_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap());
        let plane = open_plane(&state, Default::default()).await.ok().unwrap();
        let client = plane.client();
        let api = Api::<RoleBinding>::namespaced(client.clone(), "default");
        // A finalizer, no label, and a second subject.
        let mut of_all = binding("all", &[]);
        let group = json!([{ "kind": "Group", "name": ALL_USERS }]);
        of_all.subjects = serde_json::from_value(group).unwrap();
        let others = [binding("keep", &["jane"]), of_all];
        for made in [binding("capn-user-jane-edit", &["jane", "joe"])].into_iter().chain(others) {
            api.create(&Default::default(), &made).await.unwrap();
        }
        let Bindings { ours, others, of_all_users } =
            bindings_of(&client, "jane", None).await.unwrap();
        assert_eq!(
            ours.iter().map(|one| one.name_any()).collect::<Vec<_>>(),
            ["capn-user-jane-edit"]
        );
        for binding in &ours {
            take(&client, binding, "jane").await.unwrap();
        }
        assert!(api.get_opt("capn-user-jane-edit").await.unwrap().is_none());
        assert_eq!(
            others.iter().map(what_it_gives).collect::<Vec<_>>(),
            ["`capn-edit` in namespace `default`, by RoleBinding `keep`"]
        );
        assert_eq!(
            of_all_users.iter().map(what_it_gives).collect::<Vec<_>>(),
            ["`capn-edit` in namespace `default`, by RoleBinding `all`"]
        );
        assert!(bindings_of(&client, "joe", None).await.unwrap().ours.is_empty());
        plane.close().await;
    }
}
