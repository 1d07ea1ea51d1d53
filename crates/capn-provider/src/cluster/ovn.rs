//! A load balancer of an OVN network: observes it, applies the plan, and returns the outcome.

use std::{collections::BTreeSet, net::IpAddr};

use capn_api::LXCCluster;
use capn_plan::balancer::ovn::{Plan, Step, plan};
use incus_api::NetworkLoadBalancer;
use kube::runtime::events::EventType;

use super::{
    MAX_STEPS,
    addresses::{self, Addresses, NetworkKey},
    observe::References,
    validate::{self, ValidOvnCluster},
};
use crate::{context::Context, events::publish, failure::Failure, remote::Remote};

const BALANCERS: &str = "network_load_balancer";
const HEALTH_CHECKS: &str = "network_load_balancer_health_check";

/// Outcome of a reconcile.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The load balancer forwards from this address.
    Serving(IpAddr),
    /// The address belongs to another load balancer. Holds the message.
    Refused(String),
    /// No load balancer is left.
    Gone,
    /// The maximum number of steps was reached.
    Unsettled,
}

/// Creates the load balancer and keeps it up to date.
pub(crate) async fn advance(
    ctx: &Context,
    remote: &Remote,
    known: &Addresses,
    cluster: &LXCCluster,
    found: &References,
    valid: &ValidOvnCluster,
) -> Result<Outcome, Failure> {
    if !supports(remote, BALANCERS).await? {
        return Err(Failure::Invalid {
            message: format!(
                "a load balancer of type ovn needs a server with the API extension {BALANCERS}, which {} does not have; use another type of spec.loadBalancer",
                remote.client.endpoint()
            ),
        });
    }
    let health_checks = supports(remote, HEALTH_CHECKS).await?;
    let mut refused = BTreeSet::new();
    for _ in 0..MAX_STEPS {
        let address = match valid.address {
            Some(address) => address,
            None => free_address(ctx, remote, known, found, valid, &refused).await?,
        };
        let observed = probe(remote, valid, address).await?;
        let wanted = validate::wanted_of_ovn(valid, found, address, health_checks);
        match plan(&wanted, observed.as_ref()) {
            Plan::Do(step) => {
                let used_addresses = apply(ctx, remote, cluster, valid, address, step).await?;
                if let AddressClaim::ByOthers(failure) = used_addresses {
                    if valid.address.is_some() {
                        return Err(failure);
                    }
                    // The network reports that the address is in use, but its user cannot be
                    // listed.
                    refused.insert(address);
                }
            }
            Plan::Serving => return Ok(Outcome::Serving(address)),
            Plan::Refuse(_) if valid.address.is_none() => {
                refused.insert(address);
            }
            Plan::Refuse(message) => return Ok(Outcome::Refused(message)),
            Plan::Gone => return Ok(Outcome::Gone),
        }
    }
    Ok(Outcome::Unsettled)
}

/// Deletes all load balancers of the network that belong to the cluster.
pub(crate) async fn advance_deletion(
    ctx: &Context,
    remote: &Remote,
    cluster: &LXCCluster,
    found: &References,
    valid: &ValidOvnCluster,
) -> Result<Outcome, Failure> {
    if !supports(remote, BALANCERS).await? {
        return Ok(Outcome::Gone);
    }
    let all = match list(remote, valid).await {
        // A bridge has no load balancers.
        Err(Failure::Network { source, .. }) if has_none(&source) => Vec::new(),
        other => other?,
    };
    for observed in all {
        let Ok(address) = observed.listen_address.parse() else { continue };
        let wanted = validate::wanted_of_ovn(valid, found, address, false);
        if let Plan::Do(step) = plan(&wanted, Some(&observed)) {
            apply(ctx, remote, cluster, valid, address, step).await?;
        }
    }
    Ok(Outcome::Gone)
}

async fn supports(remote: &Remote, extension: &str) -> Result<bool, Failure> {
    let failure = Failure::network("check the API extensions of", remote.client.endpoint());
    remote.client.supports(extension).await.map_err(failure)
}

async fn probe(
    remote: &Remote,
    valid: &ValidOvnCluster,
    address: IpAddr,
) -> Result<Option<NetworkLoadBalancer>, Failure> {
    let found = remote.client.load_balancer(&valid.network, &address.to_string()).await;
    Ok(found.map_err(Failure::network("look for", what(valid, address)))?.map(|it| it.value))
}

/// Lists the load balancers of the network. Empty if the network does not exist.
async fn list(
    remote: &Remote,
    valid: &ValidOvnCluster,
) -> Result<Vec<NetworkLoadBalancer>, Failure> {
    match remote.client.load_balancers(&valid.network).await {
        Ok(found) => Ok(found),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => {
            let what = format!("load balancers of network {}", valid.network);
            Err(Failure::network("look for", what)(error))
        }
    }
}

/// Returns the address of our existing load balancer, or else a free one.
async fn free_address(
    ctx: &Context,
    remote: &Remote,
    known: &Addresses,
    found: &References,
    valid: &ValidOvnCluster,
    refused: &BTreeSet<IpAddr>,
) -> Result<IpAddr, Failure> {
    let mut used_addresses = addresses::endpoints(ctx, &valid.owner).await?;
    used_addresses.extend(refused);
    for balancer in list(remote, valid).await? {
        let Ok(address) = balancer.listen_address.parse::<IpAddr>() else { continue };
        let wanted = validate::wanted_of_ovn(valid, found, address, false);
        if wanted.owns(&balancer.put.config).is_ok() {
            return Ok(address);
        }
        used_addresses.insert(address);
    }
    // The server checks addresses that several networks share.
    let at = NetworkKey::new(remote, remote.client.project().unwrap_or_default(), &valid.network);
    let free = known.take(&at, &valid.owner.uid, &valid.ranges, used_addresses)?;
    free.first().copied().ok_or_else(|| Failure::NoAddress {
        message: "spec.loadBalancer.ovn.ranges contains no address".to_owned(),
    })
}

/// Result of claiming an address.
enum AddressClaim {
    ByUs,
    ByOthers(Failure),
}

async fn apply(
    ctx: &Context,
    remote: &Remote,
    cluster: &LXCCluster,
    valid: &ValidOvnCluster,
    address: IpAddr,
    step: Step,
) -> Result<AddressClaim, Failure> {
    let (client, network) = (&remote.client, &valid.network);
    let (what, at) = (what(valid, address), address.to_string());
    let (reason, note) = match step {
        Step::Create(post) => {
            match client.create_load_balancer(network, &post).await {
                Ok(()) => {}
                Err(error) if error.is_conflict() || overlaps(&error) => {
                    return Ok(AddressClaim::ByOthers(Failure::network("create", what)(error)));
                }
                Err(error) => return Err(Failure::network("create", what)(error)),
            }
            ("LoadBalancerCreated", format!("created {what}"))
        }
        Step::Update(put) => {
            let count = put.backends.len();
            client
                .put_load_balancer(network, &at, &put, None)
                .await
                .map_err(Failure::network("change", what.as_str()))?;
            ("LoadBalancerConfigured", format!("{what} forwards to {count} control planes"))
        }
        Step::Delete => {
            match client.delete_load_balancer(network, &at).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(Failure::network("delete", what)(error)),
            }
            ("LoadBalancerDeleted", format!("deleted {what}"))
        }
    };
    publish(ctx, cluster, EventType::Normal, reason, note).await;
    Ok(AddressClaim::ByUs)
}

fn has_none(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains("does not support load balancers"))
}

fn overlaps(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains("overlaps with"))
}

fn what(valid: &ValidOvnCluster, address: IpAddr) -> String {
    format!("load balancer {address} of network {}", valid.network)
}
