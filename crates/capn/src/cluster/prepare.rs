//! From the command line to a request, with everything checked that needs no server.

use std::str::FromStr as _;

use capn_image::binaries::{KubernetesFolder, RuntimeFolder};
use capn_plan::{families, id_map, versions};

use super::Existing;
use crate::Context;
use crate::commands::cluster_args::ClusterArgs;
use crate::error::{CommandError, Doing as _};
use crate::identity::{self, Identity};
use crate::images;
use crate::manifest::request::{KubeProxyMode, Timeouts};
use crate::manifest::{
    Bootstrap, ClusterRequest, Cni, Difference, Document, Isolation, LoadBalancer, differences,
    documents,
};
use crate::preflight::{self, KubernetesVersion};

/// A request that can be carried out.
pub(super) struct Prepared {
    pub(super) request: ClusterRequest,
    pub(super) identity: Identity,
    /// What instances run with `--bootstrap none`.
    pub(super) bootstrap_data: Option<String>,
    pub(super) binaries: Option<KubernetesFolder>,
    pub(super) runtime: Option<RuntimeFolder>,
}

impl Prepared {
    /// The manifests of the cluster.
    pub(super) fn documents(&self) -> Vec<Document> {
        documents(&self.request, &self.identity, self.bootstrap_data.as_deref())
    }
}

/// Fills in what is not given, and checks it.
///
/// # Errors
///
/// Wrong usage, a folder of binaries that cannot be used, no server, or a cluster of that name
/// that is something else.
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
    let version = binaries.as_ref().map_or(images::NEWEST_KNOWN, KubernetesFolder::version);
    let mut request = args.request(name, recorded, Some(version));
    if recorded.is_none() {
        request.image_servers = images::entries(&request.image_servers, &context.environment);
    }
    check(&request)?;
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
                    .hint("leave out --remote and --project to continue with it there"));
                }
                _ => asked,
            }
        }
    };
    let bootstrap_data = match &args.bootstrap_data {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(path)
                .doing(format!("cannot read the bootstrap data {path}"))?,
        ),
    };
    Ok(Prepared { request, identity, bootstrap_data, binaries, runtime })
}

/// The request a cluster was made from, if it can be continued.
fn recorded<'a>(existing: &'a Existing, name: &str) -> Result<&'a ClusterRequest, CommandError> {
    if existing.is_leaving {
        return Err(CommandError::new(format!("cluster `{name}` is being deleted"))
            .hint(format!("finish that first: `capn delete cluster {name}`")));
    }
    existing.request.as_ref().ok_or_else(|| {
        CommandError::new(format!("there is a cluster `{name}` that was made from manifests"))
            .hint("change it with `capn apply -f FILE`, or choose another name")
    })
}

fn proxy_mode(request: &ClusterRequest) -> Result<(), CommandError> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let known = version.parse().is_ok_and(versions::has_nftables_proxy);
    if request.kube_proxy_mode == KubeProxyMode::Nftables && !known {
        return Err(CommandError::usage(format!(
            "kube-proxy of Kubernetes {version} has no mode `nftables`"
        ))
        .hint("it has since v1.31.0; older ones run with `--kube-proxy-mode iptables`"));
    }
    Ok(())
}

/// kubeadm's configuration has had timeouts since v1beta4.
fn timeouts(request: &ClusterRequest) -> Result<(), CommandError> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let known = version.parse().is_ok_and(versions::has_kubeadm_timeouts);
    if request.timeouts != Timeouts::Default && !known {
        return Err(CommandError::usage(format!(
            "kubeadm of Kubernetes {version} has no timeouts to be set"
        ))
        .hint("it has since v1.31.0; leave out `--timeouts`"));
    }
    Ok(())
}

/// Refuses options that contradict each other or cannot be carried out.
fn check(request: &ClusterRequest) -> Result<(), CommandError> {
    if let Some(version) = &request.kubernetes_version {
        KubernetesVersion::from_str(version).map_err(|problem| {
            CommandError::usage(problem)
                .hint("releases are listed at https://kubernetes.io/releases/; `capn image list` shows those with an image here")
        })?;
    }
    if request.bootstrap == Bootstrap::Kubeadm {
        preflight::control_planes(request.control_planes)?;
        proxy_mode(request)?;
        timeouts(request)?;
    } else if request.install_kubeadm {
        return Err(CommandError::usage("`--install-kubeadm` is for `--bootstrap kubeadm`"));
    }
    max_pods(request)?;
    preflight::balancer_options(request)?;
    images::parse_servers(&request.image_servers)?;
    for (option, cidr) in
        [("--pod-cidr", &request.pod_cidr), ("--service-cidr", &request.service_cidr)]
    {
        families::parse(cidr).map_err(|problem| {
            CommandError::usage(format!("{problem}, which `{option}` takes")).hint(
                "write one range, or one of each family with the preferred one first: `10.244.0.0/16` or `10.244.0.0/16,fd00:10:244::/56`",
            )
        })?;
    }
    families::fit(&request.pod_cidrs(), &request.service_cidrs()).map_err(|problem| {
        CommandError::usage(problem)
            .hint("for both families: `--pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/12,fd00:10:96::/112`")
    })?;
    let nodes = request.control_planes.saturating_add(request.workers);
    families::room(&request.pod_cidrs(), nodes).map_err(|problem| {
        CommandError::usage(problem).hint("give pods a larger range: `--pod-cidr 10.244.0.0/16`")
    })
}

/// flannel's image is made from a program of the folder.
fn flannel(
    request: &ClusterRequest,
    binaries: Option<&KubernetesFolder>,
) -> Result<(), CommandError> {
    let Some(folder) = binaries.filter(|_| request.cni == Cni::Flannel) else { return Ok(()) };
    match folder.optional("flanneld") {
        Some(_) => Ok(()),
        None => Err(CommandError::new(format!(
            "there is no `flanneld` in {}, from which `--cni flannel` makes its image",
            folder.path()
        ))
        .hint("build it from the Go module github.com/flannel-io/flannel (v0.28.4), without cgo, and put it there: see docs/cni.md")
        .hint("or take the network that needs nothing: `--cni bridge`")),
    }
}

/// Says that kube-vip's image comes from a registry, if it is not made from a program of the folder.
fn kube_vip(request: &ClusterRequest, binaries: Option<&KubernetesFolder>) -> Option<String> {
    let folder = binaries.filter(|_| request.load_balancer == LoadBalancer::KubeVip)?;
    let is_pulled = folder.optional("kube-vip").is_none();
    is_pulled.then(|| {
        format!(
            "nodes pull {}: to do without a registry, put `kube-vip` into {} (docs/load-balancers.md)",
            capn_image::KUBE_VIP_IMAGE,
            folder.path()
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
    let mut error =
        CommandError::caused(format!("cluster `{name}` exists and is different"), list.join("; "));
    if found.iter().any(|difference| difference.option == "--workers") {
        error = error.hint(format!("`capn scale {name} --workers {}`", request.workers));
    }
    if found.iter().any(|difference| difference.option == "--control-planes") {
        error =
            error.hint(format!("`capn scale {name} --control-planes {}`", request.control_planes));
    }
    let version = found.iter().find(|difference| difference.option == "--kubernetes-version");
    if let Some(Difference { is, asked, .. }) = version {
        error = error.hint(match newer(is, asked) {
            true => format!("`capn upgrade {name} --kubernetes-version {asked}`"),
            false => format!("Kubernetes cannot be downgraded from {is} to {asked}"),
        });
    }
    Err(error
        .hint("leave those options out to continue with the cluster as it is")
        .hint(format!("or choose another name, or begin anew: `capn delete cluster {name}`")))
}

fn newer(is: &str, asked: &str) -> bool {
    let read = |text: &str| text.parse::<KubernetesVersion>().ok();
    read(is) < read(asked)
}

/// How many pods with a user namespace of their own an isolated node has ids for.
fn pods_with_namespaces(request: &ClusterRequest) -> u64 {
    let config = request.machine_config();
    id_map::pods_of(id_map::size(config.get(id_map::SIZE_KEY).map(String::as_str)))
}

/// Refuses a limit of pods that would say something else than the rest of the request.
fn max_pods(request: &ClusterRequest) -> Result<(), CommandError> {
    let Some(pods) = request.max_pods else { return Ok(()) };
    if request.bootstrap == Bootstrap::None {
        return Err(CommandError::usage("`--max-pods` is for `--bootstrap kubeadm`")
            .hint("without kubeadm nobody configures a kubelet; ids of isolated instances are set with `--config security.idmap.size=N`"));
    }
    if request.isolation == Isolation::Isolated && pods_with_namespaces(request) < u64::from(pods) {
        let needed = id_map::size_for(pods);
        return Err(CommandError::usage(format!(
            "`--config {}` gives a node too few ids for `--max-pods {pods}`: {needed} are needed",
            id_map::SIZE_KEY
        ))
        .hint("leave that key out: `--max-pods` sets it"));
    }
    Ok(())
}

/// What a person is told about a request before anything is made.
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
            let own = "unprivileged containers, each with user ids of its own";
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
    fn options_that_cannot_be_carried_out_are_wrong_usage() {
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
    fn a_different_cluster_is_refused_with_the_options_and_the_next_command() {
        let asked = ClusterRequest { workers: 3, isolation: Isolation::Isolated, ..demo() };
        let text = same(&demo(), &asked).unwrap_err().render(|_, text| text.to_owned());
        assert!(text.contains("--isolation is shared, not isolated"), "{text}");
        assert!(text.contains("`capn scale demo --workers 3`"), "{text}");
        assert!(same(&demo(), &demo()).is_ok());
    }

    #[test]
    fn another_version_is_the_business_of_upgrade_unless_it_is_older() {
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
    fn a_limit_of_pods_that_contradicts_the_rest_is_refused() {
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
    fn the_summary_of_isolated_nodes_says_for_which_pods_they_have_ids() {
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
