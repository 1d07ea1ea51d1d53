//! `capn image build`: builds an image on this machine and imports it into a server.
//!
//! The build runs in stages, each cached in the cache directory by a hash of its inputs. Stages
//! that need mounts run in separate mount and process namespaces that end with this process, so
//! that nothing stays mounted in any case.

mod base;
mod content;
mod error;
mod host;
mod import;
mod layers;
mod loading;
mod lock;
mod manifest;
mod normalize;
mod pack;
mod plan;
mod request;
mod root;
mod step;
mod stock;
mod validate;
mod workspace;

use std::time::Instant;

use incus_client::{Client, api::Image};

pub use base::{Architecture, Base};
pub use error::BuildError;
pub use request::{BuildRequest, BuiltImage, Event, Kind, RuntimeVersions, Stage};
pub use stock::{StockRequest, build_from_stock};
pub use validate::{Check, Validated, ValidationCase, remove_validation};

use self::{
    import::ServerImage, pack::PackedImage, plan::Plan, root::Root, step::Progress,
    workspace::Workspace,
};

/// Builds the image and imports it, unless the server already has it from the same inputs.
///
/// # Guarantees
///
/// Afterwards the alias exists and points at an image with this request's recipe. An alias of an
/// image that capn did not build is never changed. A previous image of capn is deleted after the
/// new one has the alias. An image to validate gets the alias only if it passes; otherwise it is
/// deleted, unless the server had it before.
///
/// # Assumptions
///
/// Root, the tools of [`BuildError::MissingTools`] and a mirror are needed only if there is
/// something to build. The same inputs give the same bytes as long as the mirror has the same
/// packages.
///
/// # Cancellation
///
/// Dropping the future, or killing the process, stops all child processes. Completed stages stay in
/// the cache directory for the next build; incomplete ones are removed by it. Instances of a
/// validation stay until [`remove_validation`] or the next validation.
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
    let look = || import::look(client, &plan.alias, plan.kind(), &plan.recipe);
    let mut on_server = look().await?;
    let mut known = known_manifest(request, &plan, on_server.same_recipe.as_ref()).await;
    let builds = reusable(request, &on_server, known.as_ref()).is_none();
    if builds {
        check_host(request, &plan)?;
    }
    let lock = match builds || !request.validate.is_empty() {
        true => Some(lock::acquire(&request.cache_dir, progress).await?),
        false => None,
    };
    if lock.is_some() {
        // Another process may have built it in the meantime.
        on_server = look().await?;
        known = known_manifest(request, &plan, on_server.same_recipe.as_ref()).await;
    }
    let (fingerprint, manifest, reused) = match reusable(request, &on_server, known.as_ref()) {
        Some(image) => (image.fingerprint.clone(), known, true),
        None => {
            let (fingerprint, manifest) = make(request, &plan, client, progress).await?;
            (fingerprint, Some(manifest), false)
        }
    };
    let before: Vec<&Image> =
        [&on_server.aliased, &on_server.same_recipe].into_iter().flatten().collect();
    let (cases, subject) = (&request.validate, plan.subject());
    let validated =
        validate::validate_before_alias(client, &subject, cases, &fingerprint, &before, progress)
            .await?;
    let ServerImage { aliased, .. } = on_server;
    import::point_alias(client, &plan.alias, aliased.as_ref(), &fingerprint).await?;
    drop(lock);
    let image = client.image(&fingerprint).await.map_err(import::failed("read the image"))?;
    let size_bytes = image.map_or(0, |image| image.size);
    Ok(plan.into_built(fingerprint, size_bytes, reused, manifest, validated, started.elapsed()))
}

/// Returns the image of the server that need not be built again.
fn reusable<'a>(
    request: &BuildRequest,
    on_server: &'a ServerImage,
    manifest: Option<&String>,
) -> Option<&'a Image> {
    let is_complete = !request.rebuild && (manifest.is_some() || !request.manifest);
    on_server.same_recipe.as_ref().filter(|_| is_complete)
}

/// Checks that this machine can build the image, unless the cache directory has it.
fn check_host(request: &BuildRequest, plan: &Plan) -> Result<(), BuildError> {
    let packed = workspace::packed(&request.cache_dir, plan.kind(), &plan.recipe);
    if packed.exists() && !request.rebuild {
        return Ok(());
    }
    host::check_architecture(plan.inputs.architecture)?;
    host::check_tools(plan.inputs.base)
}

/// Returns the manifest of the server's image if it was built here, as its digest shows.
async fn known_manifest(
    request: &BuildRequest,
    plan: &Plan,
    image: Option<&Image>,
) -> Option<String> {
    let path = workspace::packed(&request.cache_dir, plan.kind(), &plan.recipe);
    let text = tokio::fs::read_to_string(PackedImage::at(&path).manifest).await.ok()?;
    image.is_some_and(|image| import::has_manifest(image, &manifest::digest(&text))).then_some(text)
}

/// Builds what is not cached and uploads it. Returns the fingerprint and the manifest.
async fn make(
    request: &BuildRequest,
    plan: &Plan,
    client: &Client,
    progress: &mut Progress<'_>,
) -> Result<(String, String), BuildError> {
    let path = workspace::packed(&request.cache_dir, plan.kind(), &plan.recipe);
    let packed = if path.exists() && !request.rebuild {
        for stage in plan.stages() {
            layers::cached(stage, progress);
        }
        PackedImage::at(&path)
    } else {
        let workspace = Workspace::open(&request.cache_dir).await?;
        let packed = pack(&workspace, request, plan, &path, progress).await?;
        workspace.close().await?;
        packed
    };
    let file = &packed.manifest;
    let manifest =
        tokio::fs::read_to_string(file).await.map_err(workspace::failed("read", file))?;
    let started = layers::start(Stage::Import, progress);
    let properties = plan.properties(&manifest);
    let fingerprint = import::upload(client, &packed, &properties, progress).await?;
    layers::finish(Stage::Import, started, progress);
    Ok((fingerprint, manifest))
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
    let root = Root::over(workspace, "image", layers.directories).await?;
    content::configure(workspace, &plan.inputs.role, &root, progress).await?;
    layers::finish(Stage::Configuration, started, progress);
    let mut added = content::Added::default();
    if let Some(stage) = plan.content_stage() {
        let started = layers::start(stage, progress);
        added = content::add(workspace, plan, &root, progress).await?;
        normalize::databases(&root, layers.epoch).await?;
        layers::finish(stage, started, progress);
    }
    let started = layers::start(Stage::Pack, progress);
    let manifest = manifest::write(plan, &root, &added, layers.epoch)?;
    manifest::place(&root, &manifest).await?;
    let metadata = plan.metadata(layers.epoch, &manifest);
    let packed = pack::pack(workspace, &root, &metadata, &manifest, path, progress).await?;
    layers::finish(Stage::Pack, started, progress);
    Ok(packed)
}
