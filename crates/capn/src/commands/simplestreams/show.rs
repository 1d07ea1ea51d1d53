//! `capn simplestreams show`, and `capn image list --remote` for an image server.

use capn_image::simplestreams::{Image, ImageType, Source, load};
use clap::Args;

use super::{TypeArg, failed, rows};
use crate::Context;
use crate::error::CommandError;
use crate::output::OutputArgs;

/// Options of `simplestreams show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// URL or directory of an image server
    #[arg(value_name = "URL|DIR")]
    pub source: String,
    /// Image filter.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Filter for images of an image server.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Only list images whose alias, release or product contains this text
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Only list images for this architecture, for example amd64 or aarch64
    #[arg(long, value_name = "ARCHITECTURE")]
    pub architecture: Option<String>,
    /// Only list images of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub image_type: Option<TypeArg>,
    /// List older versions too
    #[arg(long)]
    pub all_versions: bool,
}

impl FilterArgs {
    /// Returns whether no filter is given.
    pub fn is_empty(&self) -> bool {
        let Self { filter, architecture, image_type, all_versions } = self;
        filter.is_none() && architecture.is_none() && image_type.is_none() && !all_versions
    }

    fn wants(&self, image: &Image) -> bool {
        let has = |text: &String| {
            image.product.contains(text.as_str())
                || image.release.contains(text.as_str())
                || image.aliases.iter().any(|alias| alias.contains(text.as_str()))
        };
        self.filter.as_ref().is_none_or(has)
            && self.architecture.as_ref().is_none_or(|name| image.is_of_architecture(name))
            && self.image_type.is_none_or(|wanted| image.image_type == ImageType::from(wanted))
    }

    /// Returns the matching images, sorted by name.
    fn pick<'a>(&self, images: &'a [Image]) -> Vec<&'a Image> {
        let mut picked: Vec<&Image> = Vec::new();
        // Newest first; older versions of the same product are skipped.
        for image in images.iter().filter(|image| self.wants(image)) {
            let is_newest = !picked.iter().any(|other| {
                other.product == image.product
                    && other.image_type == image.image_type
                    && other.version != image.version
            });
            if self.all_versions || is_newest {
                picked.push(image);
            }
        }
        picked.sort_by(|a, b| (&a.aliases, &a.product).cmp(&(&b.aliases, &b.product)));
        picked
    }
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: ShowArgs,
) -> Result<(), CommandError> {
    show(context, &super::source(&args.source)?, &args.filter, args.output).await
}

/// Prints the images of an image server.
pub(in crate::commands) async fn show(
    context: &Context,
    source: &Source,
    filter: &FilterArgs,
    output: OutputArgs,
) -> Result<(), CommandError> {
    let streams = load(source)
        .await
        .map_err(|error| failed(format!("cannot list the images of {source}"), error))?;
    for problem in &streams.problems {
        context.ui.note(problem.to_string());
    }
    let images = filter.pick(&streams.images);
    if images.is_empty() {
        let what = if filter.is_empty() { "no images" } else { "no images of that kind" };
        context.ui.say(format!("{what} on {source}"));
    }
    rows::print(context, &images, output.format())
}
