//! Helm chart with the same objects.

use serde_json::{Value, json};

use crate::{
    File, PackageError, Release, components,
    yaml::{self, Slot, Texts},
};

/// Name of the chart and of its directory.
pub const CHART: &str = "capn";

/// Returns all files of the chart; paths begin with `capn/`.
///
/// # Errors
/// Returns [`PackageError::Write`], which does not happen in practice.
pub fn chart(release: &Release) -> Result<Vec<File>, PackageError> {
    let mut files = vec![
        File::new("Chart.yaml", chart_yaml(release)?),
        File::new("values.yaml", values(release)),
        File::new("templates/NOTES.txt", NOTES),
    ];
    for definition in components::definitions()? {
        let name = definition.pointer("/spec/names/plural").and_then(Value::as_str);
        let path = format!("crds/{}.yaml", name.unwrap_or("definition"));
        files.push(File::new(path, yaml::document(&definition)?));
    }
    for object in components::manager()? {
        files.push(template(&object, None)?);
    }
    files.push(template(&components::network_policy()?, Some("networkPolicy.enabled"))?);
    for object in components::monitoring()? {
        files.push(template(&object, Some("serviceMonitor.enabled"))?);
    }
    for file in &mut files {
        file.path = format!("{CHART}/{}", file.path);
    }
    Ok(files)
}

fn template(object: &components::Object, condition: Option<&str>) -> Result<File, PackageError> {
    let mut text = yaml::fill(yaml::document(&object.value)?, &texts());
    if let Some(condition) = condition {
        text = format!("{{{{- if .Values.{condition} }}}}\n{text}{{{{- end }}}}\n");
    }
    Ok(File::new(format!("templates/{}.yaml", object.file), text))
}

fn chart_yaml(release: &Release) -> Result<String, PackageError> {
    yaml::document(&json!({
        "apiVersion": "v2",
        "name": CHART,
        "description": "Cluster API infrastructure provider for Incus and LXD.",
        "type": "application",
        "version": release.version(),
        "appVersion": release.tag(),
        "keywords": ["cluster-api", "incus", "lxd"],
    }))
}

fn texts() -> Box<Texts> {
    let text = |slot, text: &str| (slot, text.to_owned());
    Box::new([
        text(Slot::Image, "{{ toJson .Values.image }}"),
        text(Slot::ImagePullPolicy, "{{ .Values.imagePullPolicy }}"),
        text(Slot::Namespace, "{{ .Release.Namespace }}"),
        text(Slot::Replicas, "{{ .Values.replicas }}"),
        text(Slot::DiagnosticsAddress, "{{ .Values.diagnostics.address }}"),
        text(Slot::InsecureDiagnostics, "{{ .Values.diagnostics.insecure }}"),
        text(Slot::Verbosity, "{{ .Values.verbosity }}"),
        text(Slot::RunAsNonRoot, "{{ .Values.runAsNonRoot }}"),
        text(Slot::RunAsUser, "{{ .Values.runAsUser }}"),
        text(Slot::Volumes, "{{ toJson .Values.volumes }}"),
        text(Slot::VolumeMounts, "{{ toJson .Values.volumeMounts }}"),
        text(Slot::Resources, "{{ toJson .Values.resources }}"),
        text(Slot::NodeSelector, "{{ toJson .Values.nodeSelector }}"),
        text(Slot::Tolerations, "{{ toJson .Values.tolerations }}"),
        text(Slot::LocalSocketNamespaces, "{{ .Values.localSocketNamespaces }}"),
    ])
}

/// Handwritten, since users read its comments.
fn values(release: &Release) -> String {
    let image = Value::from(release.image());
    format!(
        "# The image of the manager.\n\
         image: {image}\n\
         imagePullPolicy: IfNotPresent\n\
         # Replicas other than the leader are on standby.\n\
         replicas: 1\n\
         # Log level: 0 errors and warnings, 2 steps, 4 debugging, 6 requests.\n\
         verbosity: 2\n\
         diagnostics:\n  \
           # Address of the metrics, for clients that are allowed to read /metrics.\n  \
           address: \":8443\"\n  \
           # Without TLS and without authorization.\n  \
           insecure: false\n\
         # To use the server's Unix socket, set false and 0, and add a hostPath volume with its mount.\n\
         runAsNonRoot: true\n\
         runAsUser: 65532\n\
         volumes: []\n\
         volumeMounts: []\n\
         # Namespaces whose identities may use that socket, separated by commas; \"\" for none.\n\
         localSocketNamespaces: default\n\
         # Responses of servers and workload clusters take up to about 150 MiB at once.\n\
         resources:\n  \
           requests: {{cpu: 10m, memory: 64Mi}}\n  \
           limits: {{memory: 256Mi}}\n\
         nodeSelector: {{}}\n\
         tolerations:\n\
         - key: node-role.kubernetes.io/control-plane\n  \
           effect: NoSchedule\n\
         # The manager may use DNS and ports 443, 6443, 8443 and 16443. Policies are additive: add your\n\
         # own to allow more.\n\
         networkPolicy:\n  \
           enabled: true\n\
         # Requires the CRDs of the Prometheus Operator, and cert-manager for the certificate.\n\
         serviceMonitor:\n  \
           enabled: false\n"
    )
}

const NOTES: &str = "capn {{ .Chart.AppVersion }} runs in namespace {{ .Release.Namespace }}.\n\
    It needs the Cluster API core, bootstrap and control plane providers (contract v1beta2).\n\
    Helm does not upgrade CRDs; upgrade them with: kubectl apply --server-side -f crds/\n\
    Create the Secret for your server with: capn identity create NAME\n";

#[cfg(test)]
mod tests;
