//! `capn generate provider`

use std::collections::BTreeMap;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use capn_package::{File, Release, clusterctl};
use capn_template::{Template, flavor};
use clap::Args;

use crate::Context;
use crate::error::{CommandError, Doing as _};

/// Options of `generate provider`.
#[derive(Clone, Debug, Args)]
pub struct ProviderArgs {
    /// Write a clusterctl repository with all templates to this directory instead
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// Image of the manager, without a tag
    #[arg(long, value_name = "IMAGE", default_value = "ghcr.io/capn-rs/capn")]
    pub image: String,
}

pub(super) fn run(context: &Context, args: &ProviderArgs) -> Result<(), CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    let release = Release::new(version, &format!("{}:v{version}", args.image))
        .doing("cannot describe this release")?;
    match &args.out {
        Some(dir) => repository(context, &release, dir),
        None => components(context, &release),
    }
}

/// Returns the components for `kubectl apply`, with variables substituted as clusterctl does.
fn components(context: &Context, release: &Release) -> Result<(), CommandError> {
    let text = clusterctl::components(release).doing("cannot write the components")?;
    let template = Template::new(&text).doing("cannot read the components")?;
    let values: BTreeMap<String, String> = template
        .variables()
        .filter_map(|variable| {
            let value = context.environment.variable(&variable.name)?;
            Some((variable.name.clone(), value.to_owned()))
        })
        .collect();
    let text = template.render(&values).doing("cannot fill in the components")?;
    context.ui.data(&text)
}

fn repository(context: &Context, release: &Release, dir: &Utf8Path) -> Result<(), CommandError> {
    let files =
        clusterctl::repository(release, &templates()).doing("cannot write the repository")?;
    let mut first = None;
    for file in files {
        let path = dir.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).doing(format!("cannot create {parent}"))?;
        }
        fs::write(&path, &file.text).doing(format!("cannot write {path}"))?;
        context.ui.data(&format!("{path}\n"))?;
        if file.path.ends_with("infrastructure-components.yaml") {
            first = Some(camino::absolute_utf8(&path).unwrap_or(path));
        }
    }
    let Some(components) = first else { return Ok(()) };
    context.ui.say("add it to clusterctl.yaml:");
    context.ui.say("  providers:");
    context.ui.say("    - name: incus");
    context.ui.say("      type: InfrastructureProvider");
    context.ui.say(format!("      url: file://{components}"));
    context.ui.say("then run: clusterctl init --infrastructure incus");
    Ok(())
}

/// Templates with the names that clusterctl expects in a repository.
fn templates() -> Vec<File> {
    let clusters = flavor::FLAVORS.iter().map(|flavor| {
        let name = match flavor.name {
            "default" => "cluster-template.yaml".to_owned(),
            name => format!("cluster-template-{name}.yaml"),
        };
        File::new(name, flavor.template)
    });
    let class = File::new(format!("clusterclass-{}.yaml", flavor::CLASS), flavor::CLASS_MANIFESTS);
    clusters.chain([class]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_the_files_that_clusterctl_reads() {
        let names: Vec<String> = templates().into_iter().map(|file| file.path).collect();
        for name in [
            "cluster-template.yaml",
            "cluster-template-development.yaml",
            "cluster-template-kube-vip.yaml",
            "clusterclass-capn-default.yaml",
        ] {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn every_variable_of_the_components_has_a_default() {
        let release = Release::new(env!("CARGO_PKG_VERSION"), "example.org/capn:v0").unwrap();
        let text = clusterctl::components(&release).unwrap();
        let filled = Template::new(&text).unwrap().render(&BTreeMap::new()).unwrap();
        assert!(!filled.contains("${"), "{filled}");
        assert!(filled.contains("image: example.org/capn:v0"), "{filled}");
    }
}
