//! `capn identity delete`

use capn_api::LXCCluster;
use clap::Args;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use super::{SecretStore, TargetArgs};
use crate::Context;
use crate::commands::NamespaceArg;
use crate::error::{CommandError, Doing as _};
use crate::identity::stored::{self, StoredIdentity};
use crate::identity::{self, Identity, secret, tenant};
use crate::state::StateDir;

/// Options of `identity delete`.
#[derive(Clone, Debug, Args)]
pub struct IdentityDeleteArgs {
    /// Name of the identity
    pub name: String,
    /// Also delete the project that was created for it, including its images
    #[arg(long)]
    pub with_project: bool,
    /// Remote to use for revoking the certificate [default: the remote it was created through]
    #[arg(long, value_name = "REMOTE")]
    pub remote: Option<String>,
    /// Namespace of its Secret.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Where its Secret is.
    #[command(flatten)]
    pub target: TargetArgs,
}

pub(crate) async fn run(context: &Context, args: IdentityDeleteArgs) -> Result<(), CommandError> {
    secret::check_name(&args.name)?;
    let name = args.name.as_str();
    let state = StateDir::of(context)?;
    let work = async {
        let stored = stored::find(&state, name)?;
        // The Secret first: deletion must stop if clusters still use it.
        let mut gone = delete_secret(&state, &args, stored.as_ref()).await?;
        if let Some(stored) = &stored {
            delete_on_server(context, &args, stored).await?;
            stored::forget(&state, name)?;
            gone = true;
        }
        context.ui.say(match gone {
            true => format!("identity `{name}` is deleted"),
            false => format!("identity `{name}` does not exist: nothing to delete"),
        });
        Ok(())
    };
    work.await.map_err(|error: CommandError| {
        error.while_doing(format!("cannot delete identity `{name}`"))
    })
}

/// Deletes the Secret unless a cluster uses it. Without an embedded plane there is no Secret.
async fn delete_secret(
    state: &StateDir,
    args: &IdentityDeleteArgs,
    stored: Option<&StoredIdentity>,
) -> Result<bool, CommandError> {
    if args.target.kubeconfig.is_none() && !state.database().exists() {
        return Ok(false);
    }
    let store = SecretStore::open(state, args.target.kubeconfig.as_deref()).await?;
    let deleted = delete_secret_in(&store, args, stored).await;
    let closed = store.close().await;
    deleted.and_then(|deleted| closed.map(|()| deleted))
}

async fn delete_secret_in(
    store: &SecretStore,
    args: &IdentityDeleteArgs,
    stored: Option<&StoredIdentity>,
) -> Result<bool, CommandError> {
    let (name, namespace) = (args.name.as_str(), args.namespace.namespace.as_str());
    let doing = || format!("cannot delete the Secret `{name}`");
    let secrets = store.secrets(namespace);
    let Some(found) = secrets.get_opt(name).await.doing(doing())? else { return Ok(false) };
    let clusters: Api<LXCCluster> = Api::namespaced(store.client().clone(), namespace);
    let users: Vec<String> = clusters
        .list(&ListParams::default())
        .await
        .doing("cannot list clusters that use the identity")?
        .iter()
        .filter(|cluster| cluster.spec.secret_ref.name == name)
        .map(|cluster| cluster.name_any())
        .collect();
    if !users.is_empty() {
        return Err(CommandError::new(format!("it is used by clusters: {}", users.join(", ")))
            .hint("delete them first, or set another identity (spec.secretRef)"));
    }
    let key = |key: &str| found.data.as_ref().and_then(|data| data.get(key));
    let is_ours = match stored {
        Some(stored) => {
            key("client-crt").is_none_or(|found| found.0 == stored.client_certificate.as_bytes())
        }
        None => true,
    };
    if key("server").is_none() || !is_ours {
        return Err(CommandError::new(format!(
            "Secret `{name}` does not contain an identity, so it is kept"
        ))
        .hint(format!("if it is not needed: `kubectl delete secret {name}`")));
    }
    match secrets.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).doing(doing()),
    }
}

async fn delete_on_server(
    context: &Context,
    args: &IdentityDeleteArgs,
    stored: &StoredIdentity,
) -> Result<(), CommandError> {
    let through = args.remote.as_deref().or(stored.made_through.as_deref());
    let client = match through {
        Some(through) => Identity {
            project: None,
            ..identity::resolve(&context.environment, Some(through), None)?
        },
        // An identity created from a token can revoke itself.
        None => Identity { project: None, ..stored.identity() },
    }
    .client()?;
    if args.with_project {
        let Some(project) = stored.project.as_deref().filter(|_| through.is_some()) else {
            return Err(
                CommandError::new("no project was created for it").hint("omit `--with-project`")
            );
        };
        if tenant::remove_project(&client, &stored.name, project).await? {
            context.ui.say(format!("project `{project}` is deleted"));
        }
    }
    let taken_back = tenant::distrust(&client, &stored.fingerprint()?).await.map(drop);
    match through {
        Some(_) => taken_back,
        None => taken_back.map_err(|error| {
            error.hint(format!(
                "or use an administrator's remote: `capn identity delete {} --remote REMOTE` (`local` is the server on this machine)",
                stored.name
            ))
        }),
    }
}
