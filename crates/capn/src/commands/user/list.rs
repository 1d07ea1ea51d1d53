//! `capn user list`

use clap::Args;
use serde_json::json;

use super::grants;
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format, OutputArgs};
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::Table;

/// Options of `user list`.
#[derive(Clone, Debug, Args)]
pub struct UserListArgs {
    /// Namespace to look in [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Form of the output.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(context: &Context, args: UserListArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let found = grants(session.client(), args.namespace.as_deref()).await;
    session.close().await?;
    let found = found?;
    let values = || -> Vec<serde_json::Value> {
        let value = |grant: &super::Grant| {
            json!({
                "user": grant.user, "namespace": grant.namespace, "role": grant.role,
                "since": grant.since,
            })
        };
        found.iter().map(value).collect()
    };
    match args.output.format() {
        Format::Json => context.ui.data(&output::json(&values())?),
        Format::Yaml => context.ui.data(&output::yaml(&values())?),
        Format::Name => {
            let mut names: Vec<&str> = found.iter().map(|grant| grant.user.as_str()).collect();
            names.dedup();
            context.ui.data(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
        }
        Format::Table | Format::Wide if found.is_empty() => {
            let how = "capn user create NAME --namespace NAMESPACE --role edit";
            context.ui.say(format!("no users yet; make one: `{how}`"));
            Ok(())
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(["NAME", "NAMESPACE", "ROLE", "SINCE"]);
            for grant in &found {
                let since = grant.since.map(|since| since.strftime("%Y-%m-%d").to_string());
                table.row([&grant.user, &grant.namespace, &grant.role, &since.unwrap_or_default()]);
            }
            context.ui.table(&table)
        }
    }
}
