//! The manager's Deployment.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{
            Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
            ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            SeccompProfile, SecurityContext,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use serde_json::{Value, json};

use super::{
    CERTIFICATE, DEPLOYMENT, DIAGNOSTICS_PORT, HEALTH_PORT, Object, SERVICE_ACCOUNT, metadata,
    pod_labels,
};
use crate::{PackageError, yaml::Slot};

/// Non-text fields and the slots that fill them.
const SLOTS: [(&str, Slot); 9] = [
    ("/spec/replicas", Slot::Replicas),
    ("/spec/template/spec/securityContext/runAsNonRoot", Slot::RunAsNonRoot),
    ("/spec/template/spec/volumes", Slot::Volumes),
    ("/spec/template/spec/nodeSelector", Slot::NodeSelector),
    ("/spec/template/spec/tolerations", Slot::Tolerations),
    ("/spec/template/spec/containers/0/securityContext/runAsUser", Slot::RunAsUser),
    ("/spec/template/spec/containers/0/securityContext/runAsGroup", Slot::RunAsUser),
    ("/spec/template/spec/containers/0/volumeMounts", Slot::VolumeMounts),
    ("/spec/template/spec/containers/0/resources", Slot::Resources),
];

/// Grace period of the manager in seconds. It can be killed at any time; its successor continues.
const GRACE_SECONDS: i64 = 10;

pub(super) fn object() -> Result<Object, PackageError> {
    let labels = pod_labels();
    let deployment = Deployment {
        metadata: ObjectMeta { labels: Some(labels.clone()), ..metadata(DEPLOYMENT) },
        spec: DeploymentSpec {
            replicas: Some(0),
            selector: LabelSelector { match_labels: Some(labels.clone()), ..Default::default() },
            template: PodTemplateSpec { metadata: Some(pod_metadata(labels)), spec: Some(pod()) },
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    };
    let mut object = Object::new("deployment", &deployment)?;
    for (pointer, slot) in SLOTS {
        put(&mut object.value, pointer, slot);
    }
    Ok(object)
}

/// Sets a field by JSON pointer. The last segment may be absent.
fn put(value: &mut Value, pointer: &str, slot: Slot) {
    if let Some((parent, field)) = pointer.rsplit_once('/')
        && let Some(parent) = value.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        parent.insert(field.to_owned(), json!(slot.mark()));
    }
}

fn pod_metadata(labels: BTreeMap<String, String>) -> ObjectMeta {
    let annotation = ("kubectl.kubernetes.io/default-container", "manager");
    ObjectMeta {
        labels: Some(labels),
        annotations: Some([annotation].map(super::owned).into()),
        ..ObjectMeta::default()
    }
}

fn pod() -> PodSpec {
    PodSpec {
        containers: vec![container()],
        service_account_name: Some(SERVICE_ACCOUNT.to_owned()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn container() -> Container {
    Container {
        // clusterctl looks for this container name.
        name: "manager".to_owned(),
        image: Some(Slot::Image.mark()),
        image_pull_policy: Some(Slot::ImagePullPolicy.mark()),
        args: Some(vec![
            "--leader-elect".to_owned(),
            format!("--diagnostics-address={}", Slot::DiagnosticsAddress.mark()),
            format!("--insecure-diagnostics={}", Slot::InsecureDiagnostics.mark()),
            format!("--diagnostics-certificate-secret={CERTIFICATE}"),
            format!("--local-socket-namespaces={}", Slot::LocalSocketNamespaces.mark()),
            format!("--v={}", Slot::Verbosity.mark()),
        ]),
        env: Some(vec![
            from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_UID", "metadata.uid"),
        ]),
        ports: Some(vec![port("healthz", HEALTH_PORT), port("metrics", DIAGNOSTICS_PORT)]),
        liveness_probe: Some(probe("/healthz")),
        readiness_probe: Some(probe("/readyz")),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn from_field(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("healthz".to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}
