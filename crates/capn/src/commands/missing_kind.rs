//! Handles a name without a kind, as in `capn delete demo`: suggests the full command, or runs it
//! if that changes nothing.

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

/// Describes the cluster with this name.
///
/// # Errors
///
/// Returns an error if it does not exist, or if there are more arguments.
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

/// Suggests the full command. Incomplete commands never delete anything.
///
/// # Errors
///
/// Always returns an error.
pub(super) async fn delete(context: &Context, words: Vec<String>) -> Result<(), CommandError> {
    let found = cluster(context, "delete", &words).await?;
    Err(did_you_mean("delete", &found, &words))
}

struct ClusterRef {
    namespace: String,
    name: String,
}

/// Returns the cluster named by the first argument.
async fn cluster(
    context: &Context,
    verb: &str,
    words: &[String],
) -> Result<ClusterRef, CommandError> {
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
        Some(found) => Ok(ClusterRef {
            namespace: found.namespace().unwrap_or_default(),
            name: found.name_any(),
        }),
        None => Err(CommandError::usage(format!(
            "`{}` is neither a kind that `capn {verb}` supports nor the name of a cluster",
            readable(word)
        ))
        .hint(format!("list kinds: `capn {verb} --help`; list clusters: `capn get clusters`"))),
    }
}

fn did_you_mean(verb: &str, found: &ClusterRef, words: &[String]) -> CommandError {
    let mut command = format!("capn {verb} cluster {}", words.join(" "));
    if found.namespace != "default" && words.len() == 1 {
        command.push_str(&format!(" -n {}", found.namespace));
    }
    CommandError::usage(format!(
        "`{}` is a cluster, but its kind is missing in the command",
        found.name
    ))
    .hint(format!("did you mean `{}`?", readable(&command)))
}
