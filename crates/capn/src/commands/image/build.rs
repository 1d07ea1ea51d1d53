//! `capn image build`

use camino::Utf8PathBuf;
use capn_image::build::{
    Architecture, Base, BuildRequest, BuiltImage, Kind, RuntimeVersions, remove_validation,
};
use clap::Args;
use serde::Serialize;

use super::{ServerArgs, stock, validation};
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::output::{self, Format, OutputArgs};
use crate::signal::Interrupt;
use crate::{identity, images, preflight};

/// Kind of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageKind {
    /// Nodes with Kubernetes, from a directory of binaries
    Kubeadm,
    /// Nodes without Kubernetes, for `--bootstrap none`
    Node,
    /// Load balancers
    Haproxy,
}

/// Base distribution of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BaseSystem {
    /// Also boots on hosts with cgroup v1
    Debian12,
    /// Requires a host with cgroup v2
    Debian13,
    /// Also boots on hosts with cgroup v1; includes containerd 2
    #[value(name = "ubuntu24.04")]
    Ubuntu2404,
}

/// Architecture of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageArchitecture {
    /// x86_64
    Amd64,
    /// aarch64
    Arm64,
}

/// Options of `image build`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `sudo capn image build kubeadm --kubernetes-binaries DIR`. Needs root and the packages debootstrap and squashfs-tools. Completed build stages are cached."
)]
pub struct BuildArgs {
    /// Kind of the image [default: kubeadm if Kubernetes binaries exist, otherwise node]
    #[arg(value_enum)]
    pub kind: Option<ImageKind>,
    /// Directory with the Kubernetes binaries (kubeadm, kubelet, etcd and others) [default:
    /// $CAPN_KUBERNETES_BINARIES, or /var/lib/capn/kubernetes]
    #[arg(long, value_name = "DIR")]
    pub kubernetes_binaries: Option<Utf8PathBuf>,
    /// Directory with containerd, containerd-shim-runc-v2, ctr, runc and optionally crictl
    /// [default: $CAPN_RUNTIME_BINARIES, or /var/lib/capn/runtime, or the distribution's packages
    /// if they are recent, or the official downloads]
    #[arg(long, value_name = "DIR")]
    pub runtime_binaries: Option<Utf8PathBuf>,
    /// Kubernetes version that the binaries must have
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// Alias of the image [default: capn/kubeadm/VERSION, capn/node or capn/haproxy]
    #[arg(long, value_name = "ALIAS")]
    pub alias: Option<String>,
    /// Base distribution [default: the newest one that boots on this host]
    #[arg(long, value_enum, value_name = "BASE")]
    pub base: Option<BaseSystem>,
    /// Build a kubeadm image on the server from this stock image of Debian or Ubuntu: an alias, or
    /// ubuntu:24.04, debian:13; requires internet access
    #[arg(long, value_name = "NAME", conflicts_with_all = ["base", "mirror", "kubernetes_binaries", "runtime_binaries"])]
    pub base_image: Option<String>,
    /// URL of VERSION/bin/linux/ARCH/NAME, for `--base-image` [default: the official downloads]
    #[arg(long, value_name = "URL", requires = "base_image")]
    pub kubernetes_url: Option<String>,
    /// Architecture of the image; only this machine's architecture is supported [default: this
    /// machine's]
    #[arg(long, value_enum, value_name = "ARCH")]
    pub architecture: Option<ImageArchitecture>,
    /// Mirror of the distribution [default: the mirror of this machine, or the public one]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Directory for completed build stages
    #[arg(long, value_name = "DIR", default_value_t = images::cache_dir())]
    pub cache_dir: Utf8PathBuf,
    /// Write a manifest of the image (packages, digests) to this file as JSON; `-` writes to stdout
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<Utf8PathBuf>,
    /// Before setting the alias, launch the image unprivileged and privileged and check both
    /// instances
    #[arg(long)]
    pub validate: bool,
    /// Build again even if the server already has the same image
    #[arg(long)]
    pub rebuild: bool,
    /// Server that gets the image.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Built {
    alias: String,
    fingerprint: String,
    kind: &'static str,
    recipe: String,
    reused: bool,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<RuntimeVersions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    validated: Vec<capn_image::build::Validated>,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: BuildArgs,
) -> Result<(), CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let here = match args.base_image {
        None => Some(request(context, &args).await?),
        Some(_) => None,
    };
    let identity = identity::resolve(
        &context.environment,
        args.server.remote.as_deref(),
        args.server.project.as_deref(),
    )?;
    let client = identity.client()?;
    preflight::contact(&identity, &client).await?;
    let Some(mut request) = here else {
        let name = args.base_image.as_deref().unwrap_or_default();
        let request = stock::request(&args, name, &client).await?;
        let built = tokio::select! {
            built = stock::build(context, &client, &request) => {
                built.map_err(|error| images::failed(error, &request.alias))?
            }
            () = interrupt.wait() => {
                remove_validation(&client, &request.alias).await.doing("cannot clean up")?;
                return Err(CommandError::interrupted(format!(
                    "the build of image `{}` was interrupted",
                    request.alias
                )));
            }
        };
        validation::show(&context.ui, &built.validated);
        return print(context, &built, args.output.format());
    };
    if args.validate {
        request.validate = validation::cases(&client, &request.kind).await?;
    }
    let alias = request.alias.clone().unwrap_or_else(|| request.kind.alias());
    let built = tokio::select! {
        built = images::build_image(&context.ui, &client, &request) => {
            built.map_err(|error| images::failed(error, &alias))?
        }
        () = interrupt.wait() => {
            if args.validate {
                remove_validation(&client, &alias).await.doing("cannot clean up")?;
            }
            return Err(CommandError::interrupted(format!("the build of image `{alias}` was interrupted"))
                .hint("completed stages are kept; run the same command again to continue"));
        }
    };
    if let Some((file, text)) = args.manifest.as_deref().zip(built.manifest.as_deref()) {
        if file == "-" {
            return context.ui.data(text);
        }
        tokio::fs::write(file, text).await.doing(format!("cannot write {file}"))?;
    }
    validation::show(&context.ui, &built.validated);
    print(context, &built, args.output.format())
}

async fn request(context: &Context, args: &BuildArgs) -> Result<BuildRequest, CommandError> {
    let kind = kind(context, args).await?;
    let base = args.base.map(|base| match base {
        BaseSystem::Debian12 => Base::Debian12,
        BaseSystem::Debian13 => Base::Debian13,
        BaseSystem::Ubuntu2404 => Base::Ubuntu2404,
    });
    let runtime = match kind {
        Kind::Haproxy if args.runtime_binaries.is_some() => {
            return Err(CommandError::usage("a load balancer image has no container runtime")
                .hint("omit --runtime-binaries"));
        }
        Kind::Haproxy => None,
        Kind::Kubeadm(_) | Kind::Node => {
            let dir = images::runtime(context, args.runtime_binaries.as_deref()).await?;
            images::runtime_for(&context.ui, dir.as_ref(), base).await
        }
    };
    Ok(BuildRequest {
        alias: args.alias.clone(),
        base,
        runtime,
        architecture: args.architecture.map(|architecture| match architecture {
            ImageArchitecture::Amd64 => Architecture::Amd64,
            ImageArchitecture::Arm64 => Architecture::Arm64,
        }),
        mirror: args.mirror.clone(),
        rebuild: args.rebuild,
        manifest: args.manifest.is_some(),
        ..BuildRequest::new(kind, args.cache_dir.clone())
    })
}

async fn kind(context: &Context, args: &BuildArgs) -> Result<Kind, CommandError> {
    let wanted = match args.kind {
        Some(ImageKind::Node) => return Ok(Kind::Node),
        Some(ImageKind::Haproxy) => return Ok(Kind::Haproxy),
        other => other,
    };
    match images::binaries(context, args.kubernetes_binaries.as_deref()).await? {
        Some(dir) => {
            let asked = args.kubernetes_version.as_deref().map(|v| v.trim_start_matches('v'));
            let found = dir.version().trim_start_matches('v');
            match asked {
                Some(asked) if asked != found => Err(CommandError::new(format!(
                    "the binaries in {} have Kubernetes version {}, not v{asked}",
                    dir.path(),
                    dir.version()
                ))
                .hint("use a directory with that version: `--kubernetes-binaries DIR`")),
                _ => Ok(Kind::Kubeadm(dir)),
            }
        }
        None if wanted.is_none() && args.kubernetes_version.is_none() => Ok(Kind::Node),
        None => Err(CommandError::new("no Kubernetes binaries found for a node image")
            .hint("put kubeadm, kubelet, kubectl, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy and etcd into a directory: `--kubernetes-binaries DIR`")
            .hint("or build an image without Kubernetes: `capn image build node`")),
    }
}

fn print(context: &Context, built: &BuiltImage, format: Format) -> Result<(), CommandError> {
    let BuiltImage { kind, alias, fingerprint, recipe, reused, size_bytes, .. } = built.clone();
    let out = Built {
        alias,
        fingerprint,
        kind,
        recipe,
        reused,
        size_bytes,
        kubernetes_version: built.kubernetes_version.clone(),
        etcd_version: built.etcd_version.clone(),
        runtime: built.runtime.clone(),
        validated: built.validated.clone(),
    };
    match format {
        Format::Json => context.ui.data(&output::json(&out)?),
        Format::Yaml => context.ui.data(&output::yaml(&out)?),
        Format::Name => context.ui.data(&format!("{}\n", out.alias)),
        Format::Table | Format::Wide => {
            let short: String = out.fingerprint.chars().take(12).collect();
            let how = if out.reused { "is up to date" } else { "built" };
            context.ui.data(&format!(
                "image {} {how}: {short}, {} MiB\n",
                out.alias,
                out.size_bytes / (1024 * 1024)
            ))
        }
    }
}
