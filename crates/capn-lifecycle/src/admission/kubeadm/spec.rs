//! What can be wrong with the spec of a KubeadmConfig, wherever it stands.

use std::collections::BTreeSet;

use capi_api::bootstrap::{Arg, FileContentFormat, Format, KubeadmConfigSpec};

use super::super::Problem;

/// Checks a spec that stands at `at`.
pub(super) fn check(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    let mut problems = files(at, spec);
    problems.extend(users(at, spec));
    problems.extend(format(at, spec));
    problems.extend(disks(at, spec));
    problems.extend(arguments(at, spec));
    let discovery = spec.join_configuration.as_ref().and_then(|join| join.discovery.as_ref());
    let file = discovery.and_then(|discovery| discovery.file.as_ref());
    let user = file.and_then(|file| file.kube_config.as_ref()).map(|kubeconfig| &kubeconfig.user);
    if user.is_some_and(|user| user.auth_provider.is_some() == user.exec.is_some()) {
        problems.push(Problem::new(
            format!("{at}.joinConfiguration.discovery.file.kubeConfig.user"),
            "set one of authProvider and exec",
        ));
    }
    problems
}

fn files(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut paths = BTreeSet::new();
    for (index, file) in spec.files.iter().enumerate() {
        let at = format!("{at}.files[{index}]");
        if file.content.is_some() && file.content_from.is_some() {
            problems.push(Problem::new(&at, "set only one of content and contentFrom"));
        }
        if !paths.insert(&file.path) {
            problems.push(Problem::new(
                format!("{at}.path"),
                format!("{} is written by another file already", file.path),
            ));
        }
        if file.content_format == Some(FileContentFormat::Template) {
            problems.push(Problem::new(
                format!("{at}.contentFormat"),
                "Template is not supported; use Raw",
            ));
        }
    }
    problems
}

fn users(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    let both = spec
        .users
        .iter()
        .enumerate()
        .filter(|(_, user)| user.passwd.is_some() && user.passwd_from.is_some());
    both.map(|(index, _)| {
        Problem::new(format!("{at}.users[{index}]"), "set only one of passwd and passwdFrom")
    })
    .collect()
}

fn format(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.format == Some(Format::Ignition) {
        problems.push(Problem::new(
            format!("{at}.format"),
            "ignition is not supported; use cloud-config",
        ));
    }
    if spec.ignition.is_some() {
        problems.push(Problem::new(format!("{at}.ignition"), "ignition is not supported"));
    }
    problems
}

fn disks(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    let partitions = spec.disk_setup.iter().flat_map(|disks| &disks.partitions);
    let mut problems = Vec::new();
    for (index, partition) in partitions.enumerate() {
        let at = format!("{at}.diskSetup.partitions[{index}]");
        if partition.layout.is_some() != partition.disk_layout.is_empty() {
            problems.push(Problem::new(&at, "set one of layout and diskLayout"));
        }
        let total: i32 = partition.disk_layout.iter().map(|part| part.percentage).sum();
        if total > 100 {
            problems.push(Problem::new(
                format!("{at}.diskLayout"),
                format!("{total} percent in all is more than there is"),
            ));
        }
    }
    problems
}

/// Kubernetes reads arguments of one name as one list, except where it does not; upstream allows
/// each name once.
fn arguments(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    let mut lists: Vec<(String, &[Arg])> = Vec::new();
    if let Some(cluster) = &spec.cluster_configuration {
        let at = format!("{at}.clusterConfiguration");
        if let Some(server) = &cluster.api_server {
            lists.push((format!("{at}.apiServer.extraArgs"), &server.extra_args));
        }
        for (name, component) in
            [("controllerManager", &cluster.controller_manager), ("scheduler", &cluster.scheduler)]
        {
            if let Some(component) = component {
                lists.push((format!("{at}.{name}.extraArgs"), &component.extra_args));
            }
        }
        if let Some(local) = cluster.etcd.as_ref().and_then(|etcd| etcd.local.as_ref()) {
            lists.push((format!("{at}.etcd.local.extraArgs"), &local.extra_args));
        }
    }
    let init = spec.init_configuration.as_ref().and_then(|init| init.node_registration.as_ref());
    let join = spec.join_configuration.as_ref().and_then(|join| join.node_registration.as_ref());
    for (name, node) in [("initConfiguration", init), ("joinConfiguration", join)] {
        if let Some(node) = node {
            let at = format!("{at}.{name}.nodeRegistration.kubeletExtraArgs");
            lists.push((at, &node.kubelet_extra_args));
        }
    }
    let mut problems = Vec::new();
    for (at, list) in lists {
        let mut names = BTreeSet::new();
        for argument in list {
            if !names.insert(&argument.name) {
                problems.push(Problem::new(&at, format!("{} is given twice", argument.name)));
            }
        }
    }
    problems
}
