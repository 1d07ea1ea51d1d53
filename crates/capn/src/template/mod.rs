//! Cluster templates: renders a flavor or a file with variables to manifests.
//!
//! | module | content |
//! |---|---|
//! | [`source`] | sources of templates |
//! | [`values`] | values of template variables |
//! | `namespace` | sets the namespace of the objects |

mod namespace;
pub mod source;
pub mod values;

use std::collections::BTreeMap;

use capn_template::{Template, TemplateError, flavor};

use crate::error::{CommandError, Doing as _};
use crate::manifest::{Document, from_yaml};
use source::TemplateText;

/// A parsed template, with its name for errors.
#[derive(Debug)]
pub struct LoadedTemplate {
    /// The template.
    pub template: Template,
    shown: String,
}

impl LoadedTemplate {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// Returns an error with the line of an invalid substitution.
    pub fn new(text: &TemplateText) -> Result<Self, CommandError> {
        let shown = text.shown.clone();
        let template = Template::new(&text.text).doing(format!("cannot read {shown}"))?;
        Ok(Self { template, shown })
    }

    /// Returns the manifests in the namespace, preceded by built-in ClusterClasses that they use.
    ///
    /// # Errors
    ///
    /// Returns an error if variables are missing or invalid, or if the result is not valid
    /// manifests.
    pub fn documents(
        &self,
        values: &BTreeMap<String, String>,
        namespace: &str,
    ) -> Result<Vec<Document>, CommandError> {
        let text = self.template.render(values).map_err(|error| self.refused(&error))?;
        let documents = from_yaml(&text).map_err(|error| {
            error
                .while_doing(format!("{} does not render to manifests", self.shown))
                .hint("quote values that contain : # @ or quotes, as YAML requires")
        })?;
        let mut all = Vec::new();
        for name in classes_to_add(&documents) {
            if let Some(manifests) = flavor::class(name) {
                all.extend(from_yaml(manifests)?);
            }
        }
        all.extend(documents);
        Ok(all.into_iter().map(|document| namespace::put(document, namespace)).collect())
    }

    fn refused(&self, error: &TemplateError) -> CommandError {
        let hint = match error {
            TemplateError::Missing(_) => {
                "set variables in the environment, with --variable NAME=VALUE or in --config-file"
            }
            TemplateError::Wrong(_) => "run the same command with --list-variables to list them",
        };
        CommandError::usage(error.to_string())
            .while_doing(format!("cannot render {}", self.shown))
            .hint(hint)
    }
}

/// Returns the built-in classes that clusters use and that are not among the documents.
fn classes_to_add(documents: &[Document]) -> Vec<&str> {
    let has = |name: &str| documents.iter().any(|d| d.kind() == "ClusterClass" && d.name() == name);
    let mut names: Vec<&str> = documents
        .iter()
        .filter(|document| document.kind() == "Cluster")
        .filter_map(|document| document.value().pointer("/spec/topology/classRef/name")?.as_str())
        .filter(|name| !has(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
