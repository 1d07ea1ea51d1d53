//! `capn image build --base-image`: builds a node image on the server from a stock image.

use capn_image::build::{BuildError, BuiltImage, Kind, StockRequest, build_from_stock};
use capn_image::install::InstallScript;
use capn_image::name::{ImageServers, resolve};
use capn_image::{ImageFields, ImageSource, ServerFlavor, catalog};
use incus_client::Client;
use incus_client::api::{Config, InstanceSource};

use super::build::{BuildArgs, ImageKind};
use super::validation;
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::images;

/// Returns the build request.
///
/// # Errors
///
/// Returns a usage error, or an error if a name is invalid or the server does not respond.
pub(super) async fn request(
    args: &BuildArgs,
    name: &str,
    client: &Client,
) -> Result<StockRequest, CommandError> {
    if args.kind.is_some_and(|kind| kind != ImageKind::Kubeadm) {
        return Err(CommandError::usage("`--base-image` requires a kubeadm image"));
    }
    if args.manifest.is_some() {
        return Err(CommandError::usage("`--manifest` is not supported with `--base-image`")
            .hint("omit --base-image and set a distribution: `--base ubuntu24.04`"));
    }
    let version = match args.kubernetes_version.as_deref() {
        Some(version) => format!("v{}", version.trim_start_matches('v')),
        None => images::NEWEST_KNOWN.to_owned(),
    };
    let server = client.server().await.doing("cannot read the server's information")?;
    let flavor = ServerFlavor::from_server_name(&server.environment.server);
    let fields = ImageFields { name, ..ImageFields::default() };
    let source = resolve(&fields, Some(&version), flavor, &ImageServers::default())
        .map_err(|error| CommandError::usage(error.to_string()))?
        .ok_or_else(|| CommandError::usage("`--base-image` is empty"))?;
    let mut script = InstallScript::new(version.as_str());
    if let Some(url) = &args.kubernetes_url {
        script.kubernetes_url = url.trim_end_matches('/').to_owned();
    }
    let alias = args.alias.clone().unwrap_or_else(|| catalog::kubeadm_alias(&version));
    Ok(StockRequest {
        source: instance_source(source),
        source_name: name.to_owned(),
        script,
        alias,
        config: Config::from([("security.nesting".to_owned(), "true".to_owned())]),
        cache_dir: args.cache_dir.clone(),
        rebuild: args.rebuild,
        validate: match args.validate {
            true => validation::cases(client, &Kind::Node).await?,
            false => Vec::new(),
        },
    })
}

/// Builds it, with one step per stage.
pub(super) async fn build(
    context: &Context,
    client: &Client,
    request: &StockRequest,
) -> Result<BuiltImage, BuildError> {
    let mut shown = images::BuildProgress::new(&context.ui, &request.alias);
    build_from_stock(request, client, &mut |event| shown.event(event)).await
}

fn instance_source(image: ImageSource) -> InstanceSource {
    match image {
        ImageSource::Alias(alias) => InstanceSource::alias(alias),
        ImageSource::Fingerprint(fingerprint) => InstanceSource::fingerprint(fingerprint),
        ImageSource::Remote { server, protocol, image, by_fingerprint } => {
            let mut source = InstanceSource {
                kind: "image".to_owned(),
                mode: "pull".to_owned(),
                server,
                protocol: protocol.as_str().to_owned(),
                ..InstanceSource::default()
            };
            match by_fingerprint {
                true => source.fingerprint = image,
                false => source.alias = image,
            }
            source
        }
    }
}
