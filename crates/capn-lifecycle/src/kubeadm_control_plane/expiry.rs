//! Expiry of the certificates of control plane machines.
//!
//! kubeadm creates them with a validity of one year. The expiry is read from each machine's API
//! server and stored in an annotation of its KubeadmConfig, from which it is copied to the status
//! of the Machine. It is read once: a user who renews certificates on a node must remove the
//! annotation.

use capi_api::{Cluster, KubeadmConfig, labels};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;

use super::health::View;
use super::observe::{Observed, OwnedMachine};
use super::step::Action;
use crate::Context;
use crate::error::{Failure, chain, is_not_found};
use crate::objects::annotation;
use crate::workload::serving::ApiServerAddress;
use crate::workload::serving_expiry;

/// Default port of an API server.
const PORT: u16 = 6443;

/// Returns the actions to read unknown expiry times, of machines with a node. Pure.
pub(super) fn unknown(observed: &Observed) -> Vec<Action> {
    if !matches!(observed.view, View::Reachable(_)) {
        return Vec::new();
    }
    let unknown = |owned: &&OwnedMachine| {
        !owned.is_deleting()
            && annotation(owned.machine.meta(), labels::CERTIFICATES_EXPIRY).is_none()
    };
    let read = |owned: &OwnedMachine| {
        let config = owned.config.as_ref()?;
        if annotation(config.meta(), labels::CERTIFICATES_EXPIRY).is_some() {
            return None;
        }
        let node = owned.machine.node_name()?.to_owned();
        Some(Action::NoteExpiry { config: config.name_any(), node, port: port(config) })
    };
    observed.machines.iter().filter(unknown).filter_map(read).collect()
}

fn port(config: &KubeadmConfig) -> u16 {
    let init = config.spec.init_configuration.as_ref();
    let join = config.spec.join_configuration.as_ref();
    let endpoint = match join {
        Some(join) => join.control_plane.as_ref().and_then(|part| part.local_api_endpoint.as_ref()),
        None => init.and_then(|init| init.local_api_endpoint.as_ref()),
    };
    let port = endpoint.and_then(|endpoint| endpoint.bind_port);
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(PORT)
}

/// Reads the expiry time from an API server and stores it. Returns whether the API server
/// responded. Nothing depends on the result.
pub(super) async fn note(
    ctx: &Context,
    cluster: &Cluster,
    client: &Client,
    config: &str,
    node: &str,
    port: u16,
) -> Result<bool, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let asked = ApiServerAddress {
        namespace: namespace.clone(),
        cluster: cluster.name_any(),
        node: node.to_owned(),
        port,
    };
    let end = match serving_expiry(ctx, client, asked).await {
        Ok(end) => end,
        Err(error) => {
            let error = chain(&error);
            tracing::debug!(namespace, node, error, "cannot read the expiry of the certificates");
            return Ok(false);
        }
    };
    let api: Api<KubeadmConfig> = Api::namespaced(ctx.client.clone(), &namespace);
    let text = end.to_string();
    let change = json!({ "metadata": { "annotations": { labels::CERTIFICATES_EXPIRY: text } } });
    match api.patch(config, &PatchParams::default(), &Patch::Merge(&change)).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(true),
        Err(error) => Err(Failure::api_named("patch", "KubeadmConfig", &namespace, config)(error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn port_of(spec: Value) -> u16 {
        let config = json!({ "metadata": { "name": "a" }, "spec": spec });
        port(&serde_json::from_value(config).unwrap())
    }

    #[test]
    fn the_port_is_that_of_the_configuration() {
        let endpoint = |port: i32| json!({ "localAPIEndpoint": { "bindPort": port } });
        assert_eq!(port_of(json!({})), 6443);
        assert_eq!(port_of(json!({ "initConfiguration": endpoint(7443) })), 7443);
        assert_eq!(port_of(json!({ "initConfiguration": endpoint(70_000) })), 6443);
        let join = json!({ "joinConfiguration": { "controlPlane": endpoint(8443) } });
        assert_eq!(port_of(join), 8443);
    }
}
