//! The ConfigMap `kube-public/cluster-info`, with which a joining machine finds and verifies the
//! API server: it contains a signature for each bootstrap token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use ring::hmac;
use serde_json::json;
use tokio::time::Instant;

use super::token::Token;
use crate::workload::{self, answer};

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
/// The signed key.
const KUBECONFIG: &str = "kubeconfig";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// kubeadm writes it shortly after the ConfigMap that marks the control plane as initialized.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Signs the ConfigMap for a token. kube-controller-manager writes the same signature later, in a
/// new cluster after some seconds; a machine that asks before waits five seconds until it asks
/// again (`DiscoveryRetryInterval` of kubeadm).
///
/// # Guarantees
///
/// Can be repeated and skipped.
///
/// # Errors
///
/// See [`answer`].
pub(super) async fn sign(client: &Client, token: &Token) -> Result<(), workload::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let key = format!("jws-kubeconfig-{}", token.id());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = answer(
            "read the ConfigMap kube-public/cluster-info",
            REQUEST_TIMEOUT,
            api.get_opt(NAME),
        )
        .await?;
        let data = found.and_then(|found| found.data).unwrap_or_default();
        let Some(kubeconfig) = data.get(KUBECONFIG) else {
            if Instant::now() >= deadline {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let signature = signature(kubeconfig, token);
        if data.get(&key) == Some(&signature) {
            return Ok(());
        }
        let change = json!({ "data": { key: signature } });
        let patch = Patch::Merge(&change);
        let params = PatchParams::default();
        let patched = api.patch(NAME, &params, &patch);
        return answer("sign the ConfigMap kube-public/cluster-info", REQUEST_TIMEOUT, patched)
            .await
            .map(drop);
    }
}

/// Returns a detached JSON Web Signature (RFC 7515, appendix F) with HS256, exactly as
/// `k8s.io/cluster-bootstrap/token/jws` writes it: kubeadm compares the text.
fn signature(content: &str, token: &Token) -> String {
    let header = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, token.id());
    let header = URL_SAFE_NO_PAD.encode(header);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret().as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature of a real cluster, as kube-controller-manager v1.37.2 wrote it.
    #[test]
    fn the_signature_is_that_of_kube_controller_manager() {
        let found: serde_json::Value =
            serde_json::from_str(include_str!("testdata/cluster-info.json")).unwrap();
        let kubeconfig = found["kubeconfig"].as_str().unwrap();
        let signatures = found["signatures"].as_object().unwrap();
        assert_eq!(signatures.len(), 2);
        for (token, expected) in signatures {
            assert_eq!(signature(kubeconfig, &Token::parse(token).unwrap()), *expected);
        }
    }
}
