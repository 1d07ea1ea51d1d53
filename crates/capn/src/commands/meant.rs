//! A name without its kind, as `capn delete demo`: what is meant is said, or done where that changes nothing.

use capi_api::Cluster;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::NamespaceArg;
use super::describe::{self, DescribeArgs};
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::output::OutputArgs;
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::readable;

/// Describes the cluster of a name.
///
/// # Errors
///
/// When there is none, or there is more than the name.
pub(super) async fn describe(context: &Context, words: Vec<String>) -> Result<(), CommandError> {
    let found = cluster(context, "describe", &words).await?;
    if words.len() > 1 {
        return Err(did_you_mean("describe", &found, &words));
    }
    let args = DescribeArgs {
        name: found.name,
        namespace: NamespaceArg { namespace: found.namespace },
        all_conditions: false,
        output: OutputArgs::default(),
    };
    describe::run(context, args).await
}

/// Says what was meant; nothing is deleted by half a command.
///
/// # Errors
///
/// Always.
pub(super) async fn delete(context: &Context, words: Vec<String>) -> Result<(), CommandError> {
    let found = cluster(context, "delete", &words).await?;
    Err(did_you_mean("delete", &found, &words))
}

struct Found {
    namespace: String,
    name: String,
}

/// The cluster that the first word names.
async fn cluster(context: &Context, verb: &str, words: &[String]) -> Result<Found, CommandError> {
    let word = words.first().map(String::as_str).unwrap_or_default();
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let clusters: Api<Cluster> = Api::all(session.client().clone());
    let listed = clusters.list_metadata(&ListParams::default()).await;
    session.close().await?;
    let found = listed
        .doing("cannot list clusters")?
        .items
        .into_iter()
        .find(|cluster| cluster.name_any() == word);
    match found {
        Some(found) => {
            Ok(Found { namespace: found.namespace().unwrap_or_default(), name: found.name_any() })
        }
        None => Err(CommandError::usage(format!(
            "`{}` is no kind that `capn {verb}` knows, and there is no cluster of that name",
            readable(word)
        ))
        .hint(format!("`capn {verb} --help` lists the kinds, `capn get clusters` the clusters"))),
    }
}

fn did_you_mean(verb: &str, found: &Found, words: &[String]) -> CommandError {
    let mut command = format!("capn {verb} cluster {}", words.join(" "));
    if found.namespace != "default" && words.len() == 1 {
        command.push_str(&format!(" -n {}", found.namespace));
    }
    CommandError::usage(format!("`{}` is a cluster, and its kind is missing", found.name))
        .hint(format!("did you mean `{}`?", readable(&command)))
}
