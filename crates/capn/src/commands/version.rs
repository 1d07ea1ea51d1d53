//! `capn version`

use serde::Serialize;

use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format, OutputArgs};

/// Options of `version`.
#[derive(Debug, clap::Args)]
pub struct VersionArgs {
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    cluster_api_contract: &'static str,
    infrastructure_api: String,
}

pub(super) fn run(context: &Context, args: VersionArgs) -> Result<(), CommandError> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        cluster_api_contract: "v1beta2",
        infrastructure_api: format!("{}/{}", capn_api::GROUP, capn_api::VERSION),
    };
    let text = match args.output.format() {
        Format::Json => output::json(&version)?,
        Format::Yaml => output::yaml(&version)?,
        Format::Name => format!("{}\n", version.version),
        Format::Table | Format::Wide => format!(
            "capn {}\nCluster API contract {}, infrastructure API {}\n",
            version.version, version.cluster_api_contract, version.infrastructure_api
        ),
    };
    context.ui.data(&text)
}
