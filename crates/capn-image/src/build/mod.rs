//! `capn image build`: makes an image on this machine and imports it into a server.
//!
//! The work is done in stages, each cached under the cache folder by a hash of what went into
//! it. Stages that need root's view of a file system run in a mount and process namespace of
//! their own that dies with this process, so that nothing stays mounted whatever happens to it.

mod content;
mod error;
mod host;
mod import;
mod layers;
mod pack;
mod plan;
mod request;
mod root;
mod step;
mod workspace;

use std::time::Instant;

use incus_client::Client;

pub use error::BuildError;
pub use request::{Base, BuildRequest, BuiltImage, Event, Kind, Stage};

use self::{
    import::OnServer, pack::PackedImage, plan::Plan, root::Root, step::Progress,
    workspace::Workspace,
};

/// Builds the image and imports it, unless the server has it from the same inputs already.
///
/// # Guarantees
///
/// The alias exists afterwards and points at an image with this request's recipe. An alias of
/// somebody else's image is never touched. A former image of ours under the alias is deleted
/// once the new one has taken it over.
///
/// # Assumptions
///
/// Root, the tools of [`BuildError::MissingTools`] and a Debian mirror are needed only when
/// there is something to build. The same inputs give the same bytes as long as the mirror holds
/// the same packages, except for the database of the container images, which holds times.
///
/// # Cancellation
///
/// Dropping the future (or killing the process) stops what it runs. Finished stages stay in the
/// cache folder and are used by the next build; unfinished ones are removed by it.
///
/// # Errors
///
/// [`BuildError`]; [`BuildError::hint`] says what the user can do.
pub async fn build(
    request: &BuildRequest,
    client: &Client,
    progress: &mut (dyn FnMut(Event) + Send),
) -> Result<BuiltImage, BuildError> {
    let started = Instant::now();
    let plan = Plan::new(request).await?;
    let on_server = import::look(client, &plan.alias, plan.kind(), &plan.recipe).await?;
    let reusable = on_server.same_recipe.as_ref().filter(|_| !request.rebuild);
    let (fingerprint, reused) = match reusable {
        Some(image) => (image.fingerprint.clone(), true),
        None => (make(request, &plan, client, progress).await?, false),
    };
    let OnServer { aliased, .. } = on_server;
    import::point_alias(client, &plan.alias, aliased.as_ref(), &fingerprint).await?;
    let image = client.image(&fingerprint).await.map_err(import::failed("read the image"))?;
    Ok(plan.into_built(fingerprint, image.map_or(0, |image| image.size), reused, started.elapsed()))
}

/// Makes what is not cached and uploads it; the fingerprint.
async fn make(
    request: &BuildRequest,
    plan: &Plan,
    client: &Client,
    progress: &mut Progress<'_>,
) -> Result<String, BuildError> {
    let path = workspace::packed(&request.cache_dir, plan.kind(), &plan.recipe);
    let packed = if path.exists() && !request.rebuild {
        for stage in plan.stages() {
            layers::cached(stage, progress);
        }
        PackedImage::at(&path)
    } else {
        host::check_tools()?;
        let workspace = Workspace::open(&request.cache_dir).await?;
        let packed = pack(&workspace, request, plan, &path, progress).await?;
        workspace.close().await?;
        packed
    };
    let started = layers::start(Stage::Import, progress);
    let fingerprint = import::upload(client, &packed, &plan.properties, progress).await?;
    layers::finish(Stage::Import, started, progress);
    Ok(fingerprint)
}

async fn pack(
    workspace: &Workspace,
    request: &BuildRequest,
    plan: &Plan,
    path: &camino::Utf8Path,
    progress: &mut Progress<'_>,
) -> Result<PackedImage, BuildError> {
    let layers = layers::role_layers(workspace, &plan.inputs, request.rebuild, progress).await?;
    let started = layers::start(Stage::Configuration, progress);
    let root = Root::over(workspace, "image", layers.folders).await?;
    content::configure(workspace, &plan.inputs.role, &root, progress).await?;
    layers::finish(Stage::Configuration, started, progress);
    if let Some(stage) = plan.content_stage() {
        let started = layers::start(stage, progress);
        content::add(workspace, &plan.content, plan.inputs.architecture, &root, progress).await?;
        layers::finish(stage, started, progress);
    }
    let started = layers::start(Stage::Pack, progress);
    let packed = pack::pack(workspace, &root, &plan.metadata(layers.epoch), path, progress).await?;
    layers::finish(Stage::Pack, started, progress);
    Ok(packed)
}
