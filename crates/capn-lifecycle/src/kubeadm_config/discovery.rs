//! Discovery of the control plane by a joining machine: fields that the user omits are filled in
//! and written back, so that the token stays the same after an interruption.

use capi_api::bootstrap::{BootstrapTokenDiscovery, Discovery, JoinConfiguration};
use capi_api::core::ApiEndpoint;

use super::token::Token;
use crate::kubeconfig::host_and_port;
use crate::pki;

/// Returns the complete discovery of a join. Pure; `fresh` is used if there is no token yet.
///
/// Discovery by file is not changed: its file is rendered, not written back.
///
/// # Errors
///
/// [`pki::Error::ReadCertificate`] if the CA certificate is invalid.
pub(super) fn complete(
    join: Option<&JoinConfiguration>,
    endpoint: Option<&ApiEndpoint>,
    authority: &str,
    fresh: &Token,
) -> Result<Discovery, pki::Error> {
    let mut discovery = join.and_then(|join| join.discovery.clone()).unwrap_or_default();
    if discovery.file.is_some() {
        return Ok(discovery);
    }
    let given = discovery.bootstrap_token.take().unwrap_or_default();
    let mut hashes = given.ca_cert_hashes;
    if hashes.is_empty() {
        hashes = pki::public_key_hashes(authority)?;
    }
    discovery.bootstrap_token = Some(BootstrapTokenDiscovery {
        token: Some(given.token.unwrap_or_else(|| fresh.to_string())),
        api_server_endpoint: given.api_server_endpoint.or_else(|| endpoint.map(host_and_port)),
        unsafe_skip_ca_verification: given
            .unsafe_skip_ca_verification
            .or_else(|| hashes.is_empty().then_some(true)),
        ca_cert_hashes: hashes,
    });
    Ok(discovery)
}
