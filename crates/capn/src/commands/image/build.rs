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

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageKind {
    /// Nodes with Kubernetes, from a folder of binaries
    Kubeadm,
    /// Nodes without Kubernetes, for `--bootstrap none`
    Node,
    /// Load balancers
    Haproxy,
}

/// The distribution under an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BaseSystem {
    /// Boots also on hosts with cgroup v1
    Debian12,
    /// Needs a host with cgroup v2
    Debian13,
    /// Boots also on hosts with cgroup v1; with containerd 2
    #[value(name = "ubuntu24.04")]
    Ubuntu2404,
}

/// What machines an image is for.
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
    after_help = "Needs root and the packages debootstrap and squashfs-tools. Finished stages are kept and used again."
)]
pub struct BuildArgs {
    /// What the image is for [default: kubeadm if there are binaries, else node]
    #[arg(value_enum)]
    pub kind: Option<ImageKind>,
    /// Folder with kubeadm, kubelet, etcd and the others
    /// [default: $CAPN_KUBERNETES_BINARIES, else /var/lib/capn/kubernetes]
    #[arg(long, value_name = "DIR")]
    pub kubernetes_binaries: Option<Utf8PathBuf>,
    /// Folder with containerd, containerd-shim-runc-v2, ctr and runc, optionally crictl
    /// [default: $CAPN_RUNTIME_BINARIES, else /var/lib/capn/runtime, else the base's packages if they
    /// are current, else the official downloads]
    #[arg(long, value_name = "DIR")]
    pub runtime_binaries: Option<Utf8PathBuf>,
    /// Kubernetes version that the binaries must be of
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// Alias of the image [default: capn/kubeadm/VERSION, capn/node or capn/haproxy]
    #[arg(long, value_name = "ALIAS")]
    pub alias: Option<String>,
    /// Distribution under the image [default: the newest that boots on this host]
    #[arg(long, value_enum, value_name = "BASE")]
    pub base: Option<BaseSystem>,
    /// Stock image of Debian or Ubuntu to make a kubeadm image from, on the server and with the
    /// internet: an alias there, or ubuntu:24.04, debian:13
    #[arg(long, value_name = "NAME", conflicts_with_all = ["base", "mirror", "kubernetes_binaries", "runtime_binaries"])]
    pub base_image: Option<String>,
    /// Where VERSION/bin/linux/ARCH/NAME is, for `--base-image` [default: the official downloads]
    #[arg(long, value_name = "URL", requires = "base_image")]
    pub kubernetes_url: Option<String>,
    /// Architecture of the image; only this machine's can be built [default: this machine's]
    #[arg(long, value_enum, value_name = "ARCH")]
    pub architecture: Option<ImageArchitecture>,
    /// Mirror of the distribution [default: this machine's, else the public one]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Folder where finished stages are kept
    #[arg(long, value_name = "DIR", default_value_t = images::cache_dir())]
    pub cache_dir: Utf8PathBuf,
    /// Write what is inside (packages, digests) to a file as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<Utf8PathBuf>,
    /// Launch the image unprivileged and privileged, and check both, before it gets its alias
    #[arg(long)]
    pub validate: bool,
    /// Build again even if the server has the same image
    #[arg(long)]
    pub rebuild: bool,
    /// Which server gets it.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Form of the output.
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
                .hint("the same command continues: finished stages are kept"));
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
                .hint("leave out --runtime-binaries"));
        }
        Kind::Haproxy => None,
        Kind::Kubeadm(_) | Kind::Node => {
            let folder = images::runtime(context, args.runtime_binaries.as_deref()).await?;
            images::runtime_for(&context.ui, folder.as_ref(), base).await
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
        Some(folder) => {
            let asked = args.kubernetes_version.as_deref().map(|v| v.trim_start_matches('v'));
            let found = folder.version().trim_start_matches('v');
            match asked {
                Some(asked) if asked != found => Err(CommandError::new(format!(
                    "the binaries in {} are of Kubernetes {}, not v{asked}",
                    folder.path(),
                    folder.version()
                ))
                .hint("name a folder of that version: `--kubernetes-binaries DIR`")),
                _ => Ok(Kind::Kubeadm(folder)),
            }
        }
        None if wanted.is_none() && args.kubernetes_version.is_none() => Ok(Kind::Node),
        None => Err(CommandError::new("there are no Kubernetes binaries to build a node image from")
            .hint("put kubeadm, kubelet, kubectl, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy and etcd into a folder: `--kubernetes-binaries DIR`")
            .hint("an image without Kubernetes: `capn image build node`")),
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
