//! `capn user delete`

use clap::Args;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::DeleteParams;

use super::{Grant, grants, user_name};
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
    /// Namespace in which the user loses what `user create` gave [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

pub(crate) async fn run(context: &Context, args: UserDeleteArgs) -> Result<(), CommandError> {
    let UserDeleteArgs { name, namespace } = args;
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let work = async {
        let found = grants(session.client(), Some(&name), namespace.as_deref()).await?;
        for grant in &found {
            take(&session, grant).await?;
        }
        Ok::<_, CommandError>(found)
    };
    let taken = work.await;
    session.close().await?;
    let taken = taken?;
    for grant in &taken {
        context.ui.say(format!(
            "user `{name}` has the role `{}` in namespace `{}` no longer",
            grant.role, grant.namespace
        ));
    }
    if taken.is_empty() {
        context.ui.say(format!("user `{name}` has no role that `capn user create` gave"));
        return Ok(());
    }
    context.ui.note(
        "the certificate is good until it expires, but for nothing: whoever shows it may read what \
         kinds there are. Another user of the same name would share his roles with it",
    );
    Ok(())
}

async fn take(session: &Session, grant: &Grant) -> Result<(), CommandError> {
    let api = Api::<RoleBinding>::namespaced(session.client().clone(), &grant.namespace);
    match api.delete(&grant.binding, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).doing(format!(
            "cannot take the role `{}` in namespace `{}` from `{}`",
            grant.role, grant.namespace, grant.user
        )),
    }
}
