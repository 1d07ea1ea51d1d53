//! `capn user create`

use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Args;
use jiff::{SpanRelativeTo, Timestamp};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding, RoleRef, Subject};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use kube_plane::Pki;

use super::{LABEL, binding_name, user_name};
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::session::{self, Need, Session, roles};
use crate::state::{StateDir, write_private};
use crate::trust;

/// Default listen address of `capn serve`.
const USUAL: &str = "https://127.0.0.1:16443";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Options of `user create`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
Example: a user who can create clusters in namespace `team-a`, and has no access to others

  capn user create jane --namespace team-a --role edit --output jane.kubeconfig
  kubectl --kubeconfig jane.kubeconfig auth can-i create clusters

The file contains a private key: treat it like a password. It works while `capn serve` runs.
docs/how-to/users.md describes the roles.")]
pub struct UserCreateArgs {
    /// Name of the user, as used in role bindings
    #[arg(value_parser = user_name)]
    pub name: String,
    /// Namespace of the user; it is created if it does not exist
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: String,
    /// Role in the namespace: view, edit or admin, or the name of a ClusterRole, or of a Role in
    /// the namespace
    #[arg(long, value_name = "ROLE")]
    pub role: String,
    /// Lifetime of the certificate, for example 12h, 90d or 1y
    #[arg(long, value_name = "DURATION", default_value = "1y", value_parser = lifetime)]
    pub expires: Duration,
    /// Output file for the kubeconfig, which only you can read [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// URL of the plane in the kubeconfig [default: where `capn serve` serves it]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

/// Parses `12h`, `90d` or `1y`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let how = || "expected a duration such as `12h`, `90d` or `1y`".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| how())?;
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let duration = span.to_duration(SpanRelativeTo::from(&now)).map_err(|_| how())?;
    match Duration::try_from(duration) {
        Ok(duration) if duration >= Duration::from_secs(60) => Ok(duration),
        _ => Err("the lifetime must be at least one minute".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: UserCreateArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open_or_make(&state, Need::Objects).await?;
    let granted = grant(session.client(), &args).await;
    session.close().await?;
    let role = granted?;
    let pki = Pki::open(state.pki().as_std_path(), &[])
        .doing("cannot use the certificates of the plane")?;
    let client = pki
        .client_with_lifetime(&args.name, &[], args.expires)
        .doing(format!("cannot issue a certificate for `{}`", args.name))?;
    let (server, is_served) = match (args.server, session::url(&state)) {
        (Some(server), _) => (server, true),
        (None, Some(server)) => (server, true),
        (None, None) => (USUAL.to_owned(), false),
    };
    let kubeconfig = pki.kubeconfig_in(&client, "capn", &server, &args.namespace);
    match &args.output {
        Some(file) => write_private(file, &kubeconfig)?,
        None => context.ui.data(&kubeconfig)?,
    }
    let (name, namespace, until) = (&args.name, &args.namespace, client.expires());
    let file = args.output.as_ref().map(|file| format!("; the kubeconfig is in {file}"));
    context.ui.say(format!(
        "user `{name}` has {role} in namespace `{namespace}` until {}{}",
        until.strftime("%Y-%m-%d %H:%M UTC"),
        file.unwrap_or_default(),
    ));
    if !is_served {
        context.ui.note(format!(
            "the plane is not being served; the kubeconfig uses {server}, the default address of `capn serve` (to change it: `--server URL`)"
        ));
    }
    Ok(())
}

/// Creates the namespace and the binding. Returns a description of the role.
async fn grant(client: &Client, args: &UserCreateArgs) -> Result<String, CommandError> {
    let UserCreateArgs { name, namespace, role, .. } = args;
    if namespace == trust::NAMESPACE {
        return Err(CommandError::new(format!(
            "namespace `{namespace}` belongs to the plane: a user who can write there can do everything"
        ))
        .hint("choose another namespace: `--namespace NAME`; it is created if it does not exist"));
    }
    cluster::ensure_namespace(client, namespace).await?;
    let role_ref = find_role(client, namespace, role).await?;
    let shown = format!("{} `{}`", role_ref.kind, role_ref.name);
    let mut binding = RoleBinding {
        role_ref,
        subjects: Some(vec![Subject {
            api_group: Some(GROUP.to_owned()),
            kind: "User".to_owned(),
            name: name.clone(),
            namespace: None,
        }]),
        ..RoleBinding::default()
    };
    let named = binding_name(name, role);
    binding.metadata.name = Some(named.clone());
    binding.metadata.labels = Some([(LABEL.to_owned(), "true".to_owned())].into());
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    let doing = || format!("cannot grant `{name}` {shown} in namespace `{namespace}`");
    match bindings.create(&PostParams::default(), &binding).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let found = bindings.get(&named).await.doing(doing())?;
            if found.metadata.deletion_timestamp.is_some() || !same_grant(&found, &binding) {
                return Err(CommandError::new(format!(
                    "RoleBinding `{named}` in namespace `{namespace}` was not created by `capn user create`: it grants another role, has another subject, or is being deleted"
                ))
                .hint("find out who created it, delete it, and run the command again"));
            }
        }
        created => created.map(drop).doing(doing())?,
    }
    Ok(shown)
}

/// Returns whether an existing binding grants the same and has our label.
fn same_grant(found: &RoleBinding, wanted: &RoleBinding) -> bool {
    found.role_ref == wanted.role_ref
        && found.subjects == wanted.subjects
        && found.labels().contains_key(LABEL)
}

async fn find_role(client: &Client, namespace: &str, role: &str) -> Result<RoleRef, CommandError> {
    let reference = |kind: &str, name: String| RoleRef {
        api_group: Some(GROUP.to_owned()),
        kind: kind.to_owned(),
        name,
    };
    if roles::ROLES.contains(&role) {
        return Ok(reference("ClusterRole", roles::cluster_role(role)));
    }
    let doing = || format!("cannot look up role `{role}`");
    // A tenant could create a Role with the same name as a ClusterRole; the ClusterRole takes
    // precedence.
    if Api::<ClusterRole>::all(client.clone()).get_opt(role).await.doing(doing())?.is_some() {
        return Ok(reference("ClusterRole", role.to_owned()));
    }
    let of_namespace = Api::<Role>::namespaced(client.clone(), namespace);
    if of_namespace.get_opt(role).await.doing(doing())?.is_some() {
        return Ok(reference("Role", role.to_owned()));
    }
    Err(CommandError::new(format!(
        "role `{role}` does not exist: no Role in namespace `{namespace}` and no ClusterRole has that name"
    ))
    .hint("built-in roles are `view`, `edit` and `admin`, for example `--role edit`"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_foreign_binding_with_the_name_is_refused() {
        let binding = |role: &str, user: &str, label: &str| -> RoleBinding {
            serde_json::from_value(json!({
                "metadata": {"name": "a", "labels": {label: "true"}},
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": GROUP, "kind": "User", "name": user}],
            }))
            .unwrap()
        };
        let ours = binding("capn-edit", "jane", LABEL);
        assert!(same_grant(&ours.clone(), &ours));
        for other in [
            binding("capn-admin", "jane", LABEL),
            binding("capn-edit", "joe", LABEL),
            binding("capn-edit", "jane", "other"),
        ] {
            assert!(!same_grant(&other, &ours));
        }
    }

    #[test]
    fn lifetimes_accept_common_notations() {
        let days = |text: &str| lifetime(text).unwrap().as_secs() / 86_400;
        assert_eq!((days("90d"), days("8760h")), (90, 365));
        assert!((365..=366).contains(&days("1y")));
        for bad in ["", "1", "-1y", "0s", "30s", "year"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
