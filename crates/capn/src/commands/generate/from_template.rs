//! `capn generate cluster` from a template: a built-in flavor, a file or a URL.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use capn_template::{Variable, flavor};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::{GenerateArgs, print};
use crate::Context;
use crate::commands::cluster_args::{self, ClusterArgs};
use crate::error::CommandError;
use crate::output::{self, Format};
use crate::preflight;
use crate::template::LoadedTemplate;
use crate::template::source::{self, TemplateText};
use crate::template::values::{self, Variables};
use crate::ui::Table;

/// A template and the sources of its variables.
#[derive(Clone, Debug, Default, Args)]
pub struct TemplateArgs {
    /// Built-in template, configured by variables; `--flavor` with one of these names does the same
    #[arg(short = 'f', long = "template", value_name = "FLAVOR", value_parser = PossibleValuesParser::new(source::flavor_names()), conflicts_with = "from", help_heading = "Template")]
    pub template: Option<String>,
    /// Custom template: a file, a URL, or `-` for standard input
    #[arg(long, value_name = "FILE|URL", help_heading = "Template")]
    pub from: Option<String>,
    /// List the variables of the template instead of printing manifests
    #[arg(long, help_heading = "Template")]
    pub list_variables: bool,
    /// Value of a variable; can be repeated. Environment variables are used as well
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = cluster_args::key_value, help_heading = "Template")]
    pub variables: Vec<(String, String)>,
    /// File with variables, in clusterctl's format [default:
    /// $XDG_CONFIG_HOME/cluster-api/clusterctl.yaml, if it exists]
    #[arg(long, value_name = "FILE", help_heading = "Template")]
    pub config_file: Option<Utf8PathBuf>,
}

impl TemplateArgs {
    /// Returns whether any template option is given.
    pub fn is_given(&self) -> bool {
        self.template.is_some()
            || self.from.is_some()
            || self.list_variables
            || !self.variables.is_empty()
            || self.config_file.is_some()
    }
}

/// Treats `--flavor` as a template name, as clusterctl does. Machine sizes, which `--flavor` means
/// for `create`, contain a digit.
///
/// # Errors
///
/// Returns an error if it is neither, or if the template is given twice.
pub(super) fn settle_flavor(
    template: &mut TemplateArgs,
    cluster: &mut ClusterArgs,
) -> Result<(), CommandError> {
    let Some(name) = cluster.flavor.clone() else { return Ok(()) };
    if flavor::find(&name).is_some() {
        if template.template.is_some() || template.from.is_some() {
            return Err(CommandError::usage("--flavor cannot be used with --template or --from"));
        }
        template.template = Some(name);
        cluster.flavor = None;
    } else if !name.contains(|c: char| c.is_ascii_digit()) {
        let names: Vec<&str> = source::flavor_names().collect();
        let act = format!("`{name}` is neither a template nor a machine size");
        return Err(CommandError::usage(act)
            .hint(format!("templates are {}; a machine size looks like c2-m4", names.join(", "))));
    }
    Ok(())
}

pub(super) async fn run(context: &Context, args: GenerateArgs) -> Result<(), CommandError> {
    let GenerateArgs { name, template, cluster, output } = args;
    preflight::cluster_name(&name)?;
    check_others(&cluster)?;
    let text = text(&template).await?;
    let read = LoadedTemplate::new(&text)?;
    let namespace = cluster.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let given = given(context, &name, &namespace, &template, &cluster)?;
    let environment = &context.environment;
    if template.list_variables {
        return list(context, read.template.variables(), &given, output);
    }
    let names = read.template.variables().map(|variable| variable.name.as_str());
    let documents = read.documents(&given.values(names, environment), &namespace)?;
    if text.needs_topology {
        context.ui.note(
            "a cluster with a topology needs a management cluster with Cluster API and the feature gate ClusterTopology",
        );
    }
    print(context, &documents, output)
}

async fn text(args: &TemplateArgs) -> Result<TemplateText, CommandError> {
    match (&args.template, &args.from) {
        (Some(name), _) => {
            // The parser only accepts these names.
            let flavor = flavor::find(name)
                .ok_or_else(|| CommandError::usage(format!("flavor {name} does not exist")))?;
            Ok(source::of_flavor(flavor))
        }
        (None, Some(from)) => source::read(from).await,
        (None, None) => {
            let names: Vec<&str> = source::flavor_names().collect();
            let act = "--list-variables, --variable and --config-file need a template";
            Err(CommandError::usage(act)
                .hint(format!("use --from FILE, or --flavor with one of {}", names.join(", "))))
        }
    }
}

/// Rejects cluster options, which would have no effect on a template.
fn check_others(cluster: &ClusterArgs) -> Result<(), CommandError> {
    let used = ClusterArgs {
        kubernetes_version: cluster.kubernetes_version.clone(),
        control_planes: cluster.control_planes,
        workers: cluster.workers,
        namespace: cluster.namespace.clone(),
        ..ClusterArgs::default()
    };
    if *cluster == used {
        return Ok(());
    }
    Err(CommandError::usage("a template only supports the cluster options --kubernetes-version, --control-planes, --workers and --namespace")
        .hint("use variables instead of the other options; --list-variables lists them"))
}

fn given(
    context: &Context,
    name: &str,
    namespace: &str,
    args: &TemplateArgs,
    cluster: &ClusterArgs,
) -> Result<Variables, CommandError> {
    let mut options = BTreeMap::from([
        ("CLUSTER_NAME".to_owned(), name.to_owned()),
        ("NAMESPACE".to_owned(), namespace.to_owned()),
    ]);
    let version = cluster.kubernetes_version.as_deref().map(cluster_args::with_v);
    for (variable, value) in [
        ("KUBERNETES_VERSION", version),
        ("CONTROL_PLANE_MACHINE_COUNT", cluster.control_planes.map(|count| count.to_string())),
        ("WORKER_MACHINE_COUNT", cluster.workers.map(|count| count.to_string())),
    ] {
        options.extend(value.map(|value| (variable.to_owned(), value)));
    }
    let file = match &args.config_file {
        Some(file) => Some(file.clone()),
        None => context.environment.clusterctl_config().filter(|file| file.is_file()),
    };
    let configured = match file {
        Some(file) => values::configured(&file)?,
        None => BTreeMap::new(),
    };
    Ok(Variables { options, variables: args.variables.iter().cloned().collect(), configured })
}

/// Lists required variables, and optional ones with their defaults.
fn list<'a>(
    context: &Context,
    variables: impl Iterator<Item = &'a Variable>,
    given: &Variables,
    output: Option<Format>,
) -> Result<(), CommandError> {
    // Variables set by an option are not listed as required.
    let variables: Vec<Variable> = variables
        .cloned()
        .map(|variable| match given.options.get(&variable.name) {
            Some(value) => Variable { required: false, default: Some(value.clone()), ..variable },
            None => variable,
        })
        .collect();
    match output {
        Some(Format::Json) => return context.ui.data(&output::json(&variables)?),
        Some(Format::Yaml) => return context.ui.data(&output::yaml(&variables)?),
        Some(Format::Name) => {
            let names: String = variables.iter().map(|v| format!("{}\n", v.name)).collect();
            return context.ui.data(&names);
        }
        None | Some(Format::Table | Format::Wide) => {}
    }
    let (required, optional): (Vec<_>, Vec<_>) = variables.iter().partition(|v| v.required);
    if !required.is_empty() {
        context.ui.data("Required Variables:\n")?;
        let mut table = Table::new(["  NAME", "KIND", "DESCRIPTION"]);
        for variable in required {
            table.row([
                format!("  {}", variable.name),
                variable.kind.to_string(),
                variable.description.clone(),
            ]);
        }
        context.ui.table(&table)?;
        context.ui.data("\n")?;
    }
    if !optional.is_empty() {
        context.ui.data("Optional Variables:\n")?;
        let mut table = Table::new(["  NAME", "KIND", "DEFAULT", "DESCRIPTION"]);
        for variable in optional {
            table.row([
                format!("  {}", variable.name),
                variable.kind.to_string(),
                variable.default.clone().unwrap_or_default(),
                variable.description.clone(),
            ]);
        }
        context.ui.table(&table)?;
    }
    Ok(())
}
