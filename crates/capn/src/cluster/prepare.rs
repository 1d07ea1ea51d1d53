//! Turns the command line into a validated request. Checks everything that needs no server.

use std::str::FromStr as _;

use camino::Utf8Path;
use capn_image::binaries::{KubernetesDirectory, RuntimeDirectory};
use capn_plan::{families, id_map, versions};

use super::Existing;
use crate::Context;
use crate::commands::cluster_args::ClusterArgs;
use crate::error::{CommandError, Doing as _};
use crate::identity::{self, Identity};
use crate::images;
use crate::manifest::Secrets;
use crate::manifest::pool::MAX_POOLS;
use crate::manifest::request::{KubeProxyMode, Timeouts};
use crate::manifest::{
    Bootstrap, ClusterRequest, Cni, Difference, Document, Isolation, LoadBalancer, Pool,
    differences, documents,
};
use crate::preflight::{self, KubernetesVersion};
use crate::text_file;

/// A validated request.
pub(super) struct Prepared {
    pub(super) request: ClusterRequest,
    pub(super) identity: Identity,
    /// Secret values that objects need and that must not be part of the request.
    pub(super) secrets: Secrets,
    pub(super) binaries: Option<KubernetesDirectory>,
    pub(super) runtime: Option<RuntimeDirectory>,
}

impl Prepared {
    /// Manifests of the cluster.
    pub(super) fn documents(&self) -> Vec<Document> {
        documents(&self.request, &self.identity, &self.secrets)
    }
}

/// Fills in defaults and validates.
///
/// # Errors
///
/// Returns a usage error, or an error if a directory of binaries is invalid, no server is found, or
/// a different cluster with that name exists.
pub(super) async fn prepare(
    context: &Context,
    name: &str,
    args: &ClusterArgs,
    existing: Option<&Existing>,
) -> Result<Prepared, CommandError> {
    preflight::cluster_name(name)?;
    let recorded = match existing {
        None => None,
        Some(existing) => Some(recorded(existing, name)?),
    };
    let wants_binaries = args.bootstrap.or(recorded.map(|r| r.bootstrap)) != Some(Bootstrap::None)
        && args.image.is_none()
        && !args.install_kubeadm;
    let binaries = match wants_binaries {
        true => images::binaries(context, args.kubernetes_binaries.as_deref()).await?,
        false => None,
    };
    let runtime = match args.image.is_none() && !args.install_kubeadm {
        true => images::runtime(context, args.runtime_binaries.as_deref()).await?,
        false => None,
    };
    let version = binaries.as_ref().map_or(images::NEWEST_KNOWN, KubernetesDirectory::version);
    let mut request = args.request(name, recorded, Some(version));
    if recorded.is_none() {
        request.image_servers = images::entries(&request.image_servers, &context.environment);
    }
    check(&request)?;
    unambiguous(args, &request)?;
    for note in kept_pools(args, recorded) {
        context.ui.note(note);
    }
    if recorded.is_none() {
        flannel(&request, binaries.as_ref())?;
        if let Some(note) = kube_vip(&request, binaries.as_ref()) {
            context.ui.note(note);
        }
    }
    if let Some(recorded) = recorded {
        same(recorded, &request)?;
    }
    let identity = match existing.and_then(|existing| existing.identity.clone()) {
        Some(identity) if args.remote.is_none() && args.project.is_none() => identity,
        known => {
            let asked = identity::resolve(
                &context.environment,
                args.remote.as_deref(),
                args.project.as_deref(),
            )?;
            match known {
                Some(known) if known.server != asked.server || known.project != asked.project => {
                    return Err(CommandError::new(format!(
                        "cluster `{name}` exists on {}, not on {}",
                        known.server, asked.server
                    ))
                    .hint("omit --remote and --project to continue there"));
                }
                _ => asked,
            }
        }
    };
    if args.bootstrap_data.is_some() && request.bootstrap == Bootstrap::Kubeadm {
        return Err(CommandError::usage(
            "`--bootstrap-data` requires `--bootstrap none`: with kubeadm, capn generates the \
             bootstrap data",
        )
        .hint("put additional commands and files into a configuration file: `capn up -f FILE` (docs/reference/config-file.md)"));
    }
    let bootstrap_data = match &args.bootstrap_data {
        None => None,
        Some(path) => Some(
            text_file::read(path, BOOTSTRAP_DATA)
                .doing(format!("cannot read the bootstrap data {path}"))?,
        ),
    };
    let registries = credentials(&request, existing.is_some())?;
    let secrets = Secrets { bootstrap_data, registries };
    Ok(Prepared { request, identity, secrets, binaries, runtime })
}

/// Returns the registry credentials: each file has one line `USER:PASSWORD` and must be private.
/// Files of an existing cluster may be gone, since its Secret has the credentials.
fn credentials(
    request: &ClusterRequest,
    is_there: bool,
) -> Result<Vec<(String, String)>, CommandError> {
    let mut found = Vec::new();
    for registry in &request.settings.registries {
        let Some(path) = &registry.credentials_file else { continue };
        let doing =
            || format!("cannot use the credentials of registry {} in {path}", registry.host);
        match credential(path) {
            Ok(text) => found.push((registry.host.clone(), text)),
            Err(_) if is_there => {}
            Err(error) => return Err(error.while_doing(doing())),
        }
    }
    Ok(found)
}

/// Maximum size of a credentials file, in bytes.
const CREDENTIAL: u64 = 4 << 10;
/// Maximum size of bootstrap data in bytes, which is that of a Secret.
const BOOTSTRAP_DATA: u64 = 1 << 20;

fn credential(path: &Utf8Path) -> Result<String, CommandError> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    let file = std::fs::File::open(path).doing("cannot open the file")?;
    let mode = file.metadata().doing("cannot read the file's metadata")?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(CommandError::new("the file is readable by other users")
            .hint(format!("`chmod 600 {path}`")));
    }
    let mut text = String::new();
    file.take(CREDENTIAL).read_to_string(&mut text).doing("cannot read the file")?;
    let line = text.trim_end_matches(['\n', '\r']);
    let is_fine = line.contains(':') && !line.chars().any(char::is_control);
    match is_fine {
        true => Ok(line.to_owned()),
        false => Err(CommandError::new("the file must contain one line USER:PASSWORD")),
    }
}

/// Returns the request that created a cluster, if it can be continued.
fn recorded<'a>(existing: &'a Existing, name: &str) -> Result<&'a ClusterRequest, CommandError> {
    if existing.is_leaving {
        return Err(CommandError::new(format!("cluster `{name}` is being deleted"))
            .hint(format!("finish that first: `capn delete cluster {name}`")));
    }
    existing.request.as_ref().ok_or_else(|| {
        CommandError::new(format!("cluster `{name}` exists and was created from manifests"))
            .hint("change it with `capn apply -f FILE`, or choose another name")
    })
}

/// Rejects a number of workers that does not say which pool it is for.
fn unambiguous(args: &ClusterArgs, request: &ClusterRequest) -> Result<(), CommandError> {
    if !args.is_ambiguous(request) {
        return Ok(());
    }
    let names: Vec<String> = request.pools().into_iter().map(|pool| pool.name).collect();
    let act = match names.as_slice() {
        [] => "`--workers`: the cluster has no worker pool".to_owned(),
        names => format!("`--workers` is ambiguous: the cluster has pools {}", names.join(", ")),
    };
    let name = &request.name;
    Err(CommandError::usage(act).hint(match names.first() {
        None => format!("`capn create pool NAME --cluster {name} --workers N`"),
        Some(first) => format!("select one: `capn scale {name} --pool {first} --workers N`"),
    }))
}

/// Notes on existing pools that the request no longer lists. They are not deleted.
fn kept_pools(args: &ClusterArgs, recorded: Option<&ClusterRequest>) -> Vec<String> {
    let (Some(given), Some(recorded)) = (&args.pools, recorded) else { return Vec::new() };
    let is_left_out = |pool: &Pool| given.iter().all(|given| given.name != pool.name);
    let left_out = recorded.pools().into_iter().filter(is_left_out);
    left_out
        .map(|pool| {
            let (pool, cluster) = (pool.name, &recorded.name);
            format!(
                "pool `{pool}` is no longer requested and is kept; to delete it: `capn delete pool {pool} --cluster {cluster}`"
            )
        })
        .collect()
}

/// Rejects node settings that need a bootstrap provider.
fn settings(request: &ClusterRequest) -> Result<(), CommandError> {
    request.settings.check().map_err(CommandError::usage)?;
    if request.bootstrap == Bootstrap::None && !request.settings.is_empty() {
        return Err(CommandError::usage(
            "kubelet, apiServer, containerd, registries, proxy, files and commands require `bootstrap: kubeadm`",
        )
        .hint("without kubeadm, put them into the bootstrap data: `bootstrapData`"));
    }
    Ok(())
}

/// Rejects invalid pools.
fn pools(request: &ClusterRequest) -> Result<(), CommandError> {
    let pools = request.pools();
    if pools.len() > MAX_POOLS {
        return Err(CommandError::usage(format!(
            "{} pools are requested, but a cluster can have at most {MAX_POOLS}",
            pools.len()
        )));
    }
    for (index, pool) in pools.iter().enumerate() {
        pool.check(&request.name).map_err(CommandError::usage)?;
        if pools.iter().take(index).any(|other| other.name == pool.name) {
            return Err(CommandError::usage(format!("pool `{}` is listed twice", pool.name)));
        }
        if request.bootstrap == Bootstrap::None && pool.marks_nodes() {
            return Err(CommandError::usage(format!(
                "pool `{}` has labels or taints, which need a bootstrap provider: with `--bootstrap none` capn sets none on nodes",
                pool.name
            ))
            .hint("omit them, or use `--bootstrap kubeadm`"));
        }
    }
    Ok(())
}

fn proxy_mode(request: &ClusterRequest) -> Result<(), CommandError> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let known = version.parse().is_ok_and(versions::has_nftables_proxy);
    if request.kube_proxy_mode == KubeProxyMode::Nftables && !known {
        return Err(CommandError::usage(format!(
            "kube-proxy of Kubernetes {version} does not support mode `nftables`"
        ))
        .hint("`nftables` requires v1.31.0 or later; use `--kube-proxy-mode iptables`"));
    }
    Ok(())
}

/// Rejects timeouts for versions before kubeadm's v1beta4 API.
fn timeouts(request: &ClusterRequest) -> Result<(), CommandError> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let known = version.parse().is_ok_and(versions::has_kubeadm_timeouts);
    if request.timeouts != Timeouts::Default && !known {
        return Err(CommandError::usage(format!(
            "kubeadm of Kubernetes {version} has no configurable timeouts"
        ))
        .hint("timeouts require v1.31.0 or later; omit `--timeouts`"));
    }
    Ok(())
}

/// Rejects options that contradict each other or cannot be fulfilled.
fn check(request: &ClusterRequest) -> Result<(), CommandError> {
    if let Some(version) = &request.kubernetes_version {
        KubernetesVersion::from_str(version).map_err(|problem| {
            CommandError::usage(problem)
                .hint("releases are listed at https://kubernetes.io/releases/; `capn image list` shows versions with an image on this server")
        })?;
    }
    if request.bootstrap == Bootstrap::Kubeadm {
        preflight::control_planes(request.control_planes)?;
        proxy_mode(request)?;
        timeouts(request)?;
    } else if request.install_kubeadm {
        return Err(CommandError::usage("`--install-kubeadm` requires `--bootstrap kubeadm`"));
    }
    max_pods(request)?;
    pools(request)?;
    settings(request)?;
    preflight::flavor(request.load_balancer_flavor.as_deref())?;
    for pool in request.pools() {
        preflight::flavor(request.of_pool(&pool).flavor.as_deref())?;
    }
    preflight::flavor(request.flavor.as_deref())?;
    preflight::balancer_options(request)?;
    images::parse_servers(&request.image_servers)?;
    for (option, cidr) in
        [("--pod-cidr", &request.pod_cidr), ("--service-cidr", &request.service_cidr)]
    {
        families::parse(cidr).map_err(|problem| {
            CommandError::usage(format!("invalid `{option}`: {problem}")).hint(
                "specify one range, or one per address family with the preferred one first: \
                 `10.244.0.0/16` or `10.244.0.0/16,fd00:10:244::/56`",
            )
        })?;
    }
    families::fit(&request.pod_cidrs(), &request.service_cidrs()).map_err(|problem| {
        CommandError::usage(problem)
            .hint("to use the default ranges, omit `--pod-cidr` and `--service-cidr`")
            .hint("for dual-stack: `--pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/12,fd00:10:96::/112`")
    })?;
    let nodes = request.control_planes.saturating_add(request.workers);
    families::room(&request.pod_cidrs(), nodes).map_err(|problem| {
        CommandError::usage(problem).hint("give pods a larger range: `--pod-cidr 10.244.0.0/16`")
    })
}

/// Rejects `--cni flannel` without a flannel binary in the directory.
fn flannel(
    request: &ClusterRequest,
    binaries: Option<&KubernetesDirectory>,
) -> Result<(), CommandError> {
    let Some(dir) = binaries.filter(|_| request.cni == Cni::Flannel) else { return Ok(()) };
    match dir.optional("flanneld") {
        Some(_) => Ok(()),
        None => Err(CommandError::new(format!(
            "`--cni flannel` needs the binary `flanneld` in {}",
            dir.path()
        ))
        .hint("build it from the Go module github.com/flannel-io/flannel (v0.28.4) without cgo and put it there (docs/understand/pod-network.md)")
        .hint("or use the built-in network: `--cni bridge`")),
    }
}

/// Returns a note that kube-vip's image comes from a registry unless its binary is in the
/// directory.
fn kube_vip(request: &ClusterRequest, binaries: Option<&KubernetesDirectory>) -> Option<String> {
    let dir = binaries.filter(|_| request.load_balancer == LoadBalancer::KubeVip)?;
    let is_pulled = dir.optional("kube-vip").is_none();
    is_pulled.then(|| {
        format!(
            "nodes pull {}; to avoid the registry, put `kube-vip` into {} (docs/reference/load-balancers.md)",
            capn_image::KUBE_VIP_IMAGE,
            dir.path()
        )
    })
}

fn same(recorded: &ClusterRequest, request: &ClusterRequest) -> Result<(), CommandError> {
    let found = differences(recorded, request);
    if found.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = found
        .iter()
        .map(|Difference { option, is, asked }| format!("{option} is {is}, not {asked}"))
        .collect();
    let name = &recorded.name;
    let mut error = CommandError::caused(
        format!("cluster `{name}` exists with different options"),
        list.join("; "),
    );
    if found.iter().any(|difference| difference.option.contains(" of pool ")) {
        error = error.hint(format!(
            "use another pool for different machines: `capn create pool NEW --cluster {name}`, then `capn delete pool OLD --cluster {name}`"
        ));
    }
    let version = found.iter().find(|difference| difference.option == "--kubernetes-version");
    if let Some(Difference { is, asked, .. }) = version {
        error = error.hint(match newer(is, asked) {
            true => format!("`capn upgrade {name} --kubernetes-version {asked}`"),
            false => format!("Kubernetes cannot be downgraded from {is} to {asked}"),
        });
    }
    Err(error.hint("omit those options to keep the cluster unchanged").hint(format!(
        "or choose another name, or delete the cluster first: `capn delete cluster {name}`"
    )))
}

fn newer(is: &str, asked: &str) -> bool {
    let read = |text: &str| text.parse::<KubernetesVersion>().ok();
    read(is) < read(asked)
}

/// Returns the number of pods with user namespaces that an isolated node has IDs for.
fn pods_with_namespaces(request: &ClusterRequest) -> u64 {
    let config = request.machine_config();
    id_map::pods_of(id_map::size(config.get(id_map::SIZE_KEY).map(String::as_str)))
}

/// Rejects a pod limit that contradicts the rest of the request.
fn max_pods(request: &ClusterRequest) -> Result<(), CommandError> {
    let Some(pods) = request.max_pods else { return Ok(()) };
    if request.bootstrap == Bootstrap::None {
        return Err(CommandError::usage("`--max-pods` requires `--bootstrap kubeadm`").hint(
            "without kubeadm, capn does not configure kubelet; set the IDs of isolated \
                   instances with `--config security.idmap.size=N`",
        ));
    }
    if request.isolation == Isolation::Isolated && pods_with_namespaces(request) < u64::from(pods) {
        let needed = id_map::size_for(pods);
        return Err(CommandError::usage(format!(
            "`--config {}` gives a node too few IDs for `--max-pods {pods}`, which needs {needed}",
            id_map::SIZE_KEY
        ))
        .hint("omit that key: `--max-pods` sets it"));
    }
    Ok(())
}

/// Returns the summary of a request, printed before anything is created.
pub(super) fn summary(request: &ClusterRequest) -> String {
    let count = |n: u32, one: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    };
    let version = match (&request.kubernetes_version, request.bootstrap) {
        (_, Bootstrap::None) => "no Kubernetes".to_owned(),
        (Some(version), _) => format!("Kubernetes {version}"),
        (None, _) => "Kubernetes".to_owned(),
    };
    let isolation = match request.isolation {
        Isolation::Shared => "unprivileged containers".to_owned(),
        Isolation::Isolated => {
            let own = "unprivileged containers, each with its own user IDs";
            match pods_with_namespaces(request) {
                0 => format!("{own} (none for pods with `hostUsers: false`: see `--max-pods`)"),
                pods => format!("{own}, enough for {pods} pods with `hostUsers: false`"),
            }
        }
        Isolation::Privileged => {
            "privileged containers: root in a node is root on the host".to_owned()
        }
    };
    format!(
        "cluster `{}`: {version}, {}, {}, {isolation}",
        request.name,
        count(request.control_planes, "control plane"),
        count(request.workers, "worker"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::manifest::Endpoint;
    use crate::manifest::request::testing::demo;

    #[test]
    fn contradicting_options_are_a_usage_error() {
        let endpoint = Some(Endpoint { host: "a".into(), port: 1 });
        let cases = [
            ClusterRequest { kubernetes_version: Some("v1.2.3".into()), ..demo() },
            ClusterRequest { control_planes: 2, ..demo() },
            ClusterRequest { load_balancer: LoadBalancer::External, ..demo() },
            ClusterRequest { control_plane_endpoint: endpoint, ..demo() },
            ClusterRequest { pod_cidr: "10.244.0.0".into(), ..demo() },
            ClusterRequest { service_cidr: "10.96.0.0/33".into(), ..demo() },
            ClusterRequest { pod_cidr: "10.244.0.0/16,10.245.0.0/16".into(), ..demo() },
            ClusterRequest { service_cidr: "10.96.0.0/12,fd00::/112".into(), ..demo() },
            ClusterRequest { service_cidr: "10.244.0.0/20".into(), ..demo() },
            ClusterRequest { pod_cidr: "10.244.0.0/24".into(), workers: 1, ..demo() },
            ClusterRequest {
                timeouts: Timeouts::Slow,
                kubernetes_version: Some("v1.30.4".into()),
                ..demo()
            },
        ];
        for request in cases {
            assert_eq!(check(&request).unwrap_err().exit(), Exit::Usage, "{request:?}");
        }
        assert!(check(&demo()).is_ok());
        assert!(check(&ClusterRequest { timeouts: Timeouts::Slow, ..demo() }).is_ok());
    }

    #[test]
    fn a_differing_cluster_is_refused_with_options_and_next_command() {
        let gpu = |flavor: &str| {
            demo().with_pools(vec![Pool { flavor: Some(flavor.into()), ..Pool::plain("gpu", 1) }])
        };
        let asked = ClusterRequest { isolation: Isolation::Isolated, ..gpu("c2") };
        let text = same(&gpu("c1"), &asked).unwrap_err().render(|_, text| text.to_owned());
        assert!(text.contains("--isolation is shared, not isolated"), "{text}");
        assert!(text.contains("flavor of pool `gpu` is c1, not c2"), "{text}");
        assert!(text.contains("capn create pool NEW --cluster demo"), "{text}");
        assert!(same(&demo(), &demo()).is_ok());
        assert!(same(&demo(), &ClusterRequest { workers: 3, ..demo() }).is_ok());
    }

    #[test]
    fn a_newer_version_points_to_upgrade() {
        for (version, told) in [
            ("v1.37.0", "Hint: `capn upgrade demo --kubernetes-version v1.37.0`"),
            ("v1.35.9", "Hint: Kubernetes cannot be downgraded from v1.36.0 to v1.35.9"),
        ] {
            let asked = ClusterRequest { kubernetes_version: Some(version.into()), ..demo() };
            let text = same(&demo(), &asked).unwrap_err().render(|_, text| text.to_owned());
            assert!(text.contains(told), "{text}");
        }
    }

    #[test]
    fn a_contradicting_max_pods_is_refused() {
        let key = |size: &str| [(id_map::SIZE_KEY.to_owned(), size.to_owned())].into();
        let isolated =
            ClusterRequest { isolation: Isolation::Isolated, max_pods: Some(16), ..demo() };
        for (request, is_fine) in [
            (isolated.clone(), true),
            (ClusterRequest { config: key("1114112"), ..isolated.clone() }, true),
            (ClusterRequest { config: key("1114111"), ..isolated.clone() }, false),
            (ClusterRequest { isolation: Isolation::Shared, ..isolated.clone() }, true),
            (ClusterRequest { bootstrap: Bootstrap::None, ..isolated.clone() }, false),
        ] {
            assert_eq!(max_pods(&request).is_ok(), is_fine, "{request:?}");
        }
    }

    #[test]
    fn the_summary_of_isolated_nodes_names_the_pods_with_ids() {
        let of = |max_pods| {
            summary(&ClusterRequest { isolation: Isolation::Isolated, max_pods, ..demo() })
        };
        assert!(of(None).ends_with("(none for pods with `hostUsers: false`: see `--max-pods`)"));
        assert!(of(Some(16)).ends_with("enough for 16 pods with `hostUsers: false`"));
    }

    #[test]
    fn the_summary_says_that_nodes_are_unprivileged() {
        assert_eq!(
            summary(&demo()),
            "cluster `demo`: Kubernetes v1.36.0, 1 control plane, 1 worker, unprivileged containers"
        );
    }
}
