//! Images of the project's image server.

use std::time::Duration;

use capn_image::catalog::IMAGE_SERVER;
use incus_client::Client;
use incus_client::api::{ImagesPost, ImagesPostSource};

use crate::error::{CommandError, Doing as _};
use crate::ui::Ui;

/// Some hundred MB over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(30 * 60);

/// Lets the server fetch an image of the project's image server, so that it is there when the
/// first instance wants it. An image that the server has is not fetched again.
pub(super) async fn fetch(ui: &Ui, client: &Client, name: &str) -> Result<(), CommandError> {
    let step = ui.step(format!("image {name} from {IMAGE_SERVER}"));
    let post = ImagesPost {
        source: ImagesPostSource {
            kind: "image".to_owned(),
            mode: "pull".to_owned(),
            server: IMAGE_SERVER.trim_end_matches('/').to_owned(),
            protocol: "simplestreams".to_owned(),
            alias: name.to_owned(),
            image_type: "container".to_owned(),
            ..ImagesPostSource::default()
        },
        ..ImagesPost::default()
    };
    let doing = || format!("the server cannot fetch {name} from {IMAGE_SERVER}");
    let operation = client.copy_image(&post).await.doing(doing())?;
    operation.wait(DOWNLOAD).await.doing(doing())?;
    step.done(format!("image {name} from {IMAGE_SERVER}"));
    Ok(())
}
