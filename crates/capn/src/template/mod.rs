//! Cluster templates: from a flavor or a file, with variables, to manifests.
//!
//! | module | is |
//! |---|---|
//! | [`source`] | where a template comes from |
//! | [`values`] | where the values of its variables come from |
//! | `namespace` | which namespace the objects get |

mod namespace;
pub mod source;
pub mod values;

use std::collections::BTreeMap;

use capn_template::{Template, TemplateError, flavor};

use crate::error::{CommandError, Doing as _};
use crate::manifest::{Document, from_yaml};
use source::TemplateText;

/// A template that was read, with the name by which errors tell of it.
#[derive(Debug)]
pub struct Read {
    /// The template.
    pub template: Template,
    shown: String,
}

impl Read {
    /// Reads the text of a template.
    ///
    /// # Errors
    ///
    /// With the line that is no substitution.
    pub fn new(text: &TemplateText) -> Result<Self, CommandError> {
        let shown = text.shown.clone();
        let template = Template::new(&text.text).doing(format!("cannot read {shown}"))?;
        Ok(Self { template, shown })
    }

    /// The manifests, in the namespace, after those of a class that they use and capn has.
    ///
    /// # Errors
    ///
    /// When variables are missing or of the wrong kind, or what comes out is no manifest.
    pub fn documents(
        &self,
        values: &BTreeMap<String, String>,
        namespace: &str,
    ) -> Result<Vec<Document>, CommandError> {
        let text = self.template.render(values).map_err(|error| self.refused(&error))?;
        let documents = from_yaml(&text).map_err(|error| {
            error
                .while_doing(format!("{} does not render to manifests", self.shown))
                .hint("a value with : # @ or quotes in it may need quotes around it in YAML")
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
            TemplateError::Wrong(_) => "the same command with --list-variables tells what each is",
        };
        CommandError::usage(error.to_string())
            .while_doing(format!("cannot render {}", self.shown))
            .hint(hint)
    }
}

/// Classes that clusters use and that are not among the documents.
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
