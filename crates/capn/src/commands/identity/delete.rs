//! `capn identity delete`

use capn_api::LXCCluster;
use clap::Args;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use super::{Place, TargetArgs};
use crate::Context;
use crate::commands::NamespaceArg;
use crate::error::{CommandError, Doing as _};
use crate::identity::kept::{self, Kept};
use crate::identity::{self, Identity, secret, tenant};
use crate::state::StateDir;

/// Options of `identity delete`.
#[derive(Clone, Debug, Args)]
pub struct IdentityDeleteArgs {
    /// Name of the identity
    pub name: String,
    /// Delete the project that was made for it too, with the images in it
    #[arg(long)]
    pub with_project: bool,
    /// Remote to take the trust back through [default: the one it was made through]
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
        let kept = kept::find(&state, name)?;
        // First the Secret: what uses it holds everything else up.
        let mut gone = delete_secret(&state, &args, kept.as_ref()).await?;
        if let Some(kept) = &kept {
            delete_on_server(context, &args, kept).await?;
            kept::forget(&state, name)?;
            gone = true;
        }
        context.ui.say(match gone {
            true => format!("identity `{name}` is deleted"),
            false => format!("there is no identity `{name}`: nothing to delete"),
        });
        Ok(())
    };
    work.await.map_err(|error: CommandError| {
        error.while_doing(format!("cannot delete identity `{name}`"))
    })
}

/// Deletes the Secret unless a cluster needs it. Without an embedded plane there is none.
async fn delete_secret(
    state: &StateDir,
    args: &IdentityDeleteArgs,
    kept: Option<&Kept>,
) -> Result<bool, CommandError> {
    if args.target.kubeconfig.is_none() && !state.database().exists() {
        return Ok(false);
    }
    let place = Place::open(state, args.target.kubeconfig.as_deref()).await?;
    let deleted = delete_secret_in(&place, args, kept).await;
    let closed = place.close().await;
    deleted.and_then(|deleted| closed.map(|()| deleted))
}

async fn delete_secret_in(
    place: &Place,
    args: &IdentityDeleteArgs,
    kept: Option<&Kept>,
) -> Result<bool, CommandError> {
    let (name, namespace) = (args.name.as_str(), args.namespace.namespace.as_str());
    let doing = || format!("cannot delete the Secret `{name}`");
    let secrets = place.secrets(namespace);
    let Some(found) = secrets.get_opt(name).await.doing(doing())? else { return Ok(false) };
    let clusters: Api<LXCCluster> = Api::namespaced(place.client().clone(), namespace);
    let users: Vec<String> = clusters
        .list(&ListParams::default())
        .await
        .doing("cannot look for clusters that use the identity")?
        .iter()
        .filter(|cluster| cluster.spec.secret_ref.name == name)
        .map(|cluster| cluster.name_any())
        .collect();
    if !users.is_empty() {
        return Err(CommandError::new(format!("clusters use it: {}", users.join(", ")))
            .hint("delete them first, or give them another identity (spec.secretRef)"));
    }
    let key = |key: &str| found.data.as_ref().and_then(|data| data.get(key));
    let is_ours = match kept {
        Some(kept) => {
            key("client-crt").is_none_or(|found| found.0 == kept.client_certificate.as_bytes())
        }
        None => true,
    };
    if key("server").is_none() || !is_ours {
        return Err(CommandError::new(format!(
            "the Secret `{name}` holds something else, so it stays"
        ))
        .hint(format!("if nobody needs it: `kubectl delete secret {name}`")));
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
    kept: &Kept,
) -> Result<(), CommandError> {
    let through = args.remote.as_deref().or(kept.made_through.as_deref());
    let client = match through {
        Some(through) => Identity {
            project: None,
            ..identity::resolve(&context.environment, Some(through), None)?
        },
        // One that was made from a token gives itself up.
        None => Identity { project: None, ..kept.identity() },
    }
    .client()?;
    if args.with_project {
        let Some(project) = kept.project.as_deref().filter(|_| through.is_some()) else {
            return Err(
                CommandError::new("no project was made for it").hint("leave out `--with-project`")
            );
        };
        if tenant::remove_project(&client, &kept.name, project).await? {
            context.ui.say(format!("project `{project}` is deleted"));
        }
    }
    let taken_back = tenant::distrust(&client, &kept.fingerprint()?).await.map(drop);
    match through {
        Some(_) => taken_back,
        None => taken_back.map_err(|error| {
            error.hint(format!(
                "or with the rights of an administrator: `capn identity delete {} --remote REMOTE`; `local` is the server of this machine",
                kept.name
            ))
        }),
    }
}
