//! The clusterctl repository of the provider, as on a release page.

use crate::{
    File, PackageError, Release, components,
    components::NAMESPACE,
    yaml::{self, Slot, Texts},
};

/// Provider name in clusterctl: `infrastructure-incus`.
pub const PROVIDER: &str = components::PROVIDER_LABEL.1;

/// Returns all files of a release: `metadata.yaml`, `infrastructure-components.yaml`, the optional
/// `service-monitor.yaml`, and the given `templates` (`cluster-template*.yaml` and
/// `clusterclass-*.yaml`) by name.
///
/// Paths begin with `infrastructure-incus/vX.Y.Z/`, the layout of a local repository.
///
/// # Errors
/// Returns [`PackageError::Write`], which does not happen in practice.
pub fn repository(release: &Release, templates: &[File]) -> Result<Vec<File>, PackageError> {
    let mut files = vec![
        File::new("metadata.yaml", release.metadata()?),
        File::new("infrastructure-components.yaml", components(release)?),
        File::new("service-monitor.yaml", service_monitor(release)?),
    ];
    files.extend(templates.iter().cloned());
    let dir = format!("{PROVIDER}/{}", release.tag());
    for file in &mut files {
        file.path = format!("{dir}/{}", file.path);
    }
    Ok(files)
}

/// `infrastructure-components.yaml` with variables for clusterctl.
///
/// # Errors
/// Returns [`PackageError::Write`], which does not happen in practice.
pub fn components(release: &Release) -> Result<String, PackageError> {
    let mut values = vec![components::namespace()?.value];
    values.extend(components::definitions()?);
    values.push(components::network_policy()?.value);
    values.extend(components::manager()?.into_iter().map(|object| object.value));
    Ok(yaml::fill(yaml::stream(&values)?, &texts(release)))
}

fn service_monitor(release: &Release) -> Result<String, PackageError> {
    let objects = components::monitoring()?;
    let text = yaml::stream(objects.iter().map(|object| &object.value))?;
    Ok(yaml::fill(text, &texts(release)))
}

/// Variable names match those of the Go provider.
fn texts(release: &Release) -> Box<Texts> {
    let text = |slot, text: &str| (slot, text.to_owned());
    Box::new([
        text(Slot::Image, release.image()),
        text(Slot::ImagePullPolicy, "IfNotPresent"),
        text(Slot::Namespace, NAMESPACE),
        text(Slot::Replicas, "1"),
        text(Slot::DiagnosticsAddress, "${CAPI_DIAGNOSTICS_ADDRESS:=:8443}"),
        text(Slot::InsecureDiagnostics, "${CAPI_INSECURE_DIAGNOSTICS:=false}"),
        text(Slot::Verbosity, "2"),
        text(Slot::RunAsNonRoot, "${CAPN_RUN_AS_NON_ROOT:=true}"),
        text(Slot::RunAsUser, "${CAPN_RUN_AS_USER:=65532}"),
        text(Slot::Volumes, "${CAPN_VOLUMES:=[]}"),
        text(Slot::VolumeMounts, "${CAPN_VOLUME_MOUNTS:=[]}"),
        text(Slot::LocalSocketNamespaces, "${CAPN_LOCAL_SOCKET_NAMESPACES:=default}"),
        // Responses of servers and workload clusters take up to about 150 MiB at once.
        text(Slot::Resources, "{requests: {cpu: 10m, memory: 64Mi}, limits: {memory: 256Mi}}"),
        text(Slot::NodeSelector, "{}"),
        text(
            Slot::Tolerations,
            "[{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]",
        ),
    ])
}

#[cfg(test)]
mod tests;
