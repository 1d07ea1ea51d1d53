//! Defaults and validation of the kubeadm kinds.

mod control_plane;
mod immutable;
mod spec;

#[cfg(test)]
mod tests;

use capi_api::KubeadmConfig;
use serde_json::Value;

use super::fields::typed;
use super::{Admission, Mutate, Problem, Validate};

const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";

pub(super) fn admission() -> Vec<Admission> {
    let of = |group, kind, mutate, validate| Admission { group, kind, mutate, validate };
    vec![
        of(BOOTSTRAP, "KubeadmConfig", nothing as Mutate, config as Validate),
        of(BOOTSTRAP, "KubeadmConfigTemplate", nothing, template),
        of(CONTROL_PLANE, "KubeadmControlPlane", control_plane::mutate, control_plane::validate),
    ]
}

fn nothing(_: &mut Value, _: Option<&Value>) {}

fn config(new: &Value, _: Option<&Value>) -> Vec<Problem> {
    match typed::<KubeadmConfig>(new) {
        Ok(config) => spec::check("spec", &config.spec),
        Err(problems) => problems,
    }
}

fn template(new: &Value, _: Option<&Value>) -> Vec<Problem> {
    match typed::<capi_api::KubeadmConfigTemplate>(new) {
        Ok(template) => {
            let inner = template.spec.template.spec.unwrap_or_default();
            spec::check("spec.template.spec", &inner)
        }
        Err(problems) => problems,
    }
}
