//! `capn user list`

use clap::Args;
use serde_json::{Value, json};

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
    /// Namespace to list [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(crate) async fn run(context: &Context, args: UserListArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let found = grants(session.client(), args.namespace.as_deref()).await;
    session.close().await?;
    let found = found?;
    let row = |grant: &super::Grant| {
        json!({
            "user": grant.user, "namespace": grant.namespace, "role": grant.role,
            "since": grant.since,
        })
    };
    let rows: Vec<Value> = found.iter().map(row).collect();
    let (ui, format) = (&context.ui, args.output.format());
    if format == Format::Name {
        let mut names: Vec<&str> = found.iter().map(|grant| grant.user.as_str()).collect();
        names.dedup();
        return ui.data(&names.iter().map(|name| format!("{name}\n")).collect::<String>());
    }
    output::list(
        ui,
        format,
        "UserGrant",
        &rows,
        |_| Vec::new(),
        |_| {
            if found.is_empty() {
                let how = "capn user create NAME --namespace NAMESPACE --role edit";
                ui.say(format!("no users yet; create one: `{how}`"));
                return Ok(());
            }
            let mut table = Table::new(["NAME", "NAMESPACE", "ROLE", "SINCE"]);
            for grant in &found {
                let since = grant.since.map(|since| since.strftime("%Y-%m-%d").to_string());
                table.row([&grant.user, &grant.namespace, &grant.role, &since.unwrap_or_default()]);
            }
            ui.table(&table)
        },
    )
}
