//! Validation of the spec of a KubeadmConfig, wherever it is embedded.

use std::collections::BTreeSet;

use capi_api::bootstrap::{Arg, Encoding, Format, KubeadmConfigSpec};

use super::super::Problem;

/// Validates a spec at the path `at`.
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
                format!("{} is already written by another file", file.path),
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

/// Rejects fields that Ignition does not support, like upstream.
fn format(at: &str, spec: &KubeadmConfigSpec) -> Vec<Problem> {
    const NOT_WITH: &str = "cannot be used with format ignition";
    let mut problems = Vec::new();
    if spec.format != Some(Format::Ignition) {
        if spec.ignition.is_some() {
            problems.push(Problem::new(
                format!("{at}.format"),
                "set format: ignition, or remove the field ignition",
            ));
        }
        return problems;
    }
    let mut refuse = |field: String| problems.push(Problem::new(format!("{at}.{field}"), NOT_WITH));
    for (index, user) in spec.users.iter().enumerate() {
        if user.inactive == Some(true) {
            refuse(format!("users[{index}].inactive"));
        }
    }
    for (index, file) in spec.files.iter().enumerate() {
        if matches!(file.encoding, Some(Encoding::Gzip | Encoding::GzipBase64)) {
            refuse(format!("files[{index}].encoding"));
        }
    }
    if !spec.boot_commands.is_empty() {
        refuse("bootCommands".to_owned());
    }
    let disks = spec.disk_setup.clone().unwrap_or_default();
    for (index, partition) in disks.partitions.iter().enumerate() {
        if partition.table_type.as_deref().is_some_and(|kind| !kind.is_empty() && kind != "gpt") {
            refuse(format!("diskSetup.partitions[{index}].tableType"));
        }
        if !partition.disk_layout.is_empty() {
            refuse(format!("diskSetup.partitions[{index}].diskLayout"));
        }
    }
    for (index, filesystem) in disks.filesystems.iter().enumerate() {
        for (field, value) in
            [("replaceFS", &filesystem.replace_fs), ("partition", &filesystem.partition)]
        {
            if value.as_deref().is_some_and(|value| !value.is_empty()) {
                refuse(format!("diskSetup.filesystems[{index}].{field}"));
            }
        }
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
        let total: i64 = partition.disk_layout.iter().map(|part| i64::from(part.percentage)).sum();
        if total > 100 {
            problems.push(Problem::new(
                format!("{at}.diskLayout"),
                format!("the partitions use {total} percent of the disk"),
            ));
        }
    }
    problems
}

/// Kubernetes treats repeated arguments as a list, with exceptions. Like upstream, each name is
/// allowed only once.
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
                problems.push(Problem::new(&at, format!("{} is set twice", argument.name)));
            }
        }
    }
    problems
}
