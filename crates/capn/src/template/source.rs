//! Sources of templates.

use camino::Utf8Path;
use capn_image::simplestreams::{HttpOptions, Source};
use capn_template::{Flavor, flavor};

use crate::error::{CommandError, Doing as _};
use crate::text_file;

/// Text of a template, and its name in errors.
#[derive(Clone, Debug)]
pub struct TemplateText {
    /// The text.
    pub text: String,
    /// `the template of flavor ovn`, or the file or URL.
    pub shown: String,
    /// Whether its clusters need Cluster API's topology controller.
    pub needs_topology: bool,
}

/// Returns a built-in template.
pub fn of_flavor(flavor: &Flavor) -> TemplateText {
    TemplateText {
        text: flavor.template.to_owned(),
        shown: format!("the template of flavor {}", flavor.name),
        needs_topology: flavor.class.is_some(),
    }
}

/// Reads a template from a file, a URL, or standard input (`-`).
///
/// # Errors
///
/// Returns an error if it cannot be read.
pub async fn read(from: &str) -> Result<TemplateText, CommandError> {
    let (text, shown) = match from {
        url if url.starts_with("https://") || url.starts_with("http://") => {
            (fetched(url).await?, url.to_owned())
        }
        path => {
            let shown = match path {
                "-" => "the template from stdin".to_owned(),
                _ => path.to_owned(),
            };
            let text = text_file::read(Utf8Path::new(path), text_file::MANIFESTS)
                .doing(format!("cannot read {shown}"))?;
            (text, shown)
        }
    };
    let needs_topology = text.lines().any(|line| line.trim_start().starts_with("topology:"));
    Ok(TemplateText { text, shown, needs_topology })
}

async fn fetched(url: &str) -> Result<String, CommandError> {
    let act = || format!("cannot read the template {url}");
    let (dir, file) = url.rsplit_once('/').unwrap_or((url, ""));
    let source = Source::http(dir, &HttpOptions::default()).doing(act())?;
    source.text(file).await.doing(act())
}

/// Names of the flavors, for the command line.
pub fn flavor_names() -> impl Iterator<Item = &'static str> {
    flavor::FLAVORS.iter().map(|flavor| flavor.name)
}
