//! Renders the bootstrap data of a machine from resolved inputs. Pure.

use capi_api::bootstrap::{Format, JoinConfiguration, NodeRegistrationOptions};
use capi_api::core::NetworkRanges;
use capi_api::{Cluster, KubeadmConfig, Machine, labels};
use kube::ResourceExt as _;

use super::render::cloud_config::{Command, TextFile, UserData};
use super::render::documents::{self, ClusterFacts, with_taint};
use super::render::{Error, discovery, ignition};
use super::validate::Valid;
use crate::kubeconfig;
use crate::pki::Purpose;
use crate::pki::set::{Set, Wanted};

/// The text a machine boots with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BootstrapData {
    /// The text, in the format of the KubeadmConfig.
    pub(super) text: String,
    /// Doubtful parts of the user's Container Linux Config.
    pub(super) warnings: Vec<String>,
}

/// Renders the bootstrap data of the machine that initializes the control plane.
pub(super) fn init(
    config: &KubeadmConfig,
    machine: &Machine,
    cluster: &Cluster,
    certificates: &Set,
    valid: &Valid,
) -> Result<BootstrapData, Error> {
    let spec = &config.spec;
    let init = spec.init_configuration.as_ref();
    let documents = vec![
        documents::cluster_configuration(
            valid.api,
            spec.cluster_configuration.as_ref(),
            &facts(cluster, machine.spec.version.clone()),
            init.and_then(|init| init.timeouts.as_ref()),
        )?,
        documents::init_configuration(valid.api, init)?,
    ];
    let mut files = certificate_files(config, certificates);
    files.extend(valid.files.iter().cloned());
    user_data(config, Command::Init, documents, files, valid)
}

/// Renders the bootstrap data of a machine that joins. `discovery` in `join` is complete.
pub(super) fn join(
    config: &KubeadmConfig,
    cluster: &Cluster,
    certificates: &Set,
    valid: &Valid,
    mut join: JoinConfiguration,
    control_plane: bool,
) -> Result<BootstrapData, Error> {
    let mut files = Vec::new();
    if control_plane {
        join.control_plane.get_or_insert_default();
        files = certificate_files(config, certificates);
    } else {
        // Only in the rendered data: the taint is removed once the machine has been matched to its
        // node.
        let options: NodeRegistrationOptions = with_taint(
            join.node_registration.as_ref(),
            labels::NODE_UNINITIALIZED_TAINT,
            "NoSchedule",
        );
        join.node_registration = Some(options);
    }
    files.extend(valid.files.iter().cloned());
    if let Some(file) = join.discovery.as_ref().and_then(|discovery| discovery.file.as_ref()) {
        let server = cluster.endpoint().map(kubeconfig::server).unwrap_or_default();
        let authority = certificates.get(&Purpose::ClusterCa);
        let authority = authority.map_or("", |pair| pair.certificate.as_str());
        files.extend(discovery::kubeconfig_file(file, &server, authority)?);
    }
    let document = documents::join_configuration(valid.api, &join)?;
    user_data(config, Command::Join, vec![document], files, valid)
}

fn user_data(
    config: &KubeadmConfig,
    command: Command,
    documents: Vec<String>,
    files: Vec<TextFile>,
    valid: &Valid,
) -> Result<BootstrapData, Error> {
    let spec = &config.spec;
    let data = UserData {
        files,
        command,
        documents,
        verbosity: spec.verbosity,
        boot_commands: &spec.boot_commands,
        pre_kubeadm_commands: &spec.pre_kubeadm_commands,
        post_kubeadm_commands: &spec.post_kubeadm_commands,
        ntp: spec.ntp.as_ref(),
        users: valid.users.clone(),
        disk_setup: spec.disk_setup.as_ref(),
        mounts: &spec.mounts,
    };
    match spec.format.unwrap_or_default() {
        Format::CloudConfig => {
            Ok(BootstrapData { text: data.to_string(), ..BootstrapData::default() })
        }
        Format::Ignition => {
            let settings =
                spec.ignition.as_ref().and_then(|all| all.container_linux_config.as_ref());
            let ignition::Rendered { text, warnings } = ignition::render(&data, settings)?;
            Ok(BootstrapData { text, warnings })
        }
    }
}

fn certificate_files(config: &KubeadmConfig, certificates: &Set) -> Vec<TextFile> {
    let wanted = Wanted::of(config.spec.cluster_configuration.as_ref());
    let mut files = Vec::new();
    for purpose in wanted.purposes() {
        let Some(pair) = certificates.get(&purpose) else { continue };
        let (public, private) = wanted.node_files(purpose);
        let halves = [(Some(public), &pair.certificate), (private, &pair.private_key)];
        for (file, content) in halves {
            if let Some(file) = file {
                files.push(TextFile {
                    path: file.path,
                    owner: Some("root:root".to_owned()),
                    permissions: Some(file.permissions.to_owned()),
                    content: content.clone(),
                    ..TextFile::default()
                });
            }
        }
    }
    files
}

/// Returns what kubeadm must know about a cluster.
pub(crate) fn facts(cluster: &Cluster, kubernetes_version: Option<String>) -> ClusterFacts {
    let network = cluster.spec.cluster_network.as_ref();
    let ranges = |ranges: Option<&NetworkRanges>| {
        ranges.map(|ranges| ranges.cidr_blocks.join(",")).filter(|text| !text.is_empty())
    };
    ClusterFacts {
        name: cluster.name_any(),
        endpoint: cluster.endpoint().map(kubeconfig::host_and_port),
        kubernetes_version,
        service_subnet: ranges(network.and_then(|network| network.services.as_ref())),
        pod_subnet: ranges(network.and_then(|network| network.pods.as_ref())),
        dns_domain: network.and_then(|network| network.service_domain.clone()),
    }
}
