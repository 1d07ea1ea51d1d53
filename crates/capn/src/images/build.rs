//! Builds an image and shows the stages as steps.

use camino::Utf8PathBuf;
use capn_image::build::{BuildError, BuildRequest, BuiltImage, Event, Stage};
use incus_client::Client;

use crate::error::CommandError;
use crate::ui::{Step, Ui};

/// Returns the cache of completed build stages. Builds run as root, so it is a system directory.
pub fn cache_dir() -> Utf8PathBuf {
    Utf8PathBuf::from("/var/cache/capn")
}

/// Builds an image, with one step per stage. Cached stages are not shown.
///
/// # Errors
///
/// Same as [`capn_image::build`]; completed stages are kept.
pub async fn build_image(
    ui: &Ui,
    client: &Client,
    request: &BuildRequest,
) -> Result<BuiltImage, BuildError> {
    let name = request.alias.clone().unwrap_or_else(|| request.kind.alias());
    let mut shown = BuildProgress::new(ui, &name);
    capn_image::build(request, client, &mut |event: Event| shown.event(event)).await
}

/// Returns the command error for a failed image build.
pub fn failed(error: BuildError, alias: &str) -> CommandError {
    let hint = error.hint();
    CommandError::caused(format!("cannot build image `{alias}`"), error).hints(hint)
}

/// Progress of a build, shown as steps.
pub struct BuildProgress {
    ui: Ui,
    name: String,
    current: Option<(Stage, Step)>,
}

impl BuildProgress {
    /// Progress of building the image with this alias.
    pub fn new(ui: &Ui, alias: &str) -> Self {
        Self { ui: ui.clone(), name: alias.to_owned(), current: None }
    }

    /// Updates the progress.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::StageStarted { stage } => {
                let step = self.ui.step(format!("image {}: {}", self.name, stage.describe()));
                self.current = Some((stage, step));
            }
            Event::Notice { text } => self.ui.note(text),
            Event::Line { text, .. } => self.detail(&text),
            Event::Percent { percent, .. } => self.detail(&format!("{percent} %")),
            Event::StageFinished { stage, cached, .. } => {
                if let Some((current, step)) = self.current.take()
                    && current == stage
                    && !cached
                {
                    step.done(format!("image {}: {}", self.name, stage.describe()));
                }
            }
        }
    }

    fn detail(&self, text: &str) {
        if let Some((_, step)) = &self.current {
            let short: String = text.chars().take(60).collect();
            step.detail(&short);
        }
    }
}
