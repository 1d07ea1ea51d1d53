//! A load balancer of an OVN network: looks at it, carries out what the plan says, and says what
//! came of it.

use std::{collections::BTreeSet, net::IpAddr};

use capn_api::LXCCluster;
use capn_plan::balancer::ovn::{Plan, Step, plan};
use incus_api::NetworkLoadBalancer;
use kube::runtime::events::EventType;

use super::{
    MAX_STEPS,
    addresses::{self, Addresses},
    observe::References,
    validate::{self, OvnSubject},
};
use crate::{context::Context, failure::Failure, notice::tell, remote::Remote};

const BALANCERS: &str = "network_load_balancer";
const HEALTH_CHECKS: &str = "network_load_balancer_health_check";

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It forwards from this address.
    Serving(IpAddr),
    /// Somebody else's has the address; the text says whose.
    Refused(String),
    /// There is none left.
    Gone,
    /// Step after step was taken, and still there is one to take.
    Unsettled,
}

/// Makes the load balancer and keeps it as wanted.
pub(crate) async fn settle(
    ctx: &Context,
    remote: &Remote,
    known: &Addresses,
    cluster: &LXCCluster,
    found: &References,
    subject: &OvnSubject,
) -> Result<Outcome, Failure> {
    if !supports(remote, BALANCERS).await? {
        return Err(Failure::Invalid {
            message: format!(
                "a load balancer of type ovn needs a server with the API extension {BALANCERS}, and {} does not have it; use another type of spec.loadBalancer",
                remote.client.endpoint()
            ),
        });
    }
    let health_checks = supports(remote, HEALTH_CHECKS).await?;
    let mut refused = BTreeSet::new();
    for _ in 0..MAX_STEPS {
        let address = match subject.address {
            Some(address) => address,
            None => free_address(ctx, remote, known, found, subject, &refused).await?,
        };
        let seen = look(remote, subject, address).await?;
        let wanted = validate::wanted_of_ovn(subject, found, address, health_checks);
        match plan(&wanted, seen.as_ref()) {
            Plan::Do(step) => {
                let taken = apply(ctx, remote, cluster, subject, address, step).await?;
                if let Taken::ByOthers(failure) = taken {
                    if subject.address.is_some() {
                        return Err(failure);
                    }
                    // The network knows of users of the address that cannot be listed.
                    refused.insert(address);
                }
            }
            Plan::Serving => return Ok(Outcome::Serving(address)),
            Plan::Refuse(_) if subject.address.is_none() => {
                refused.insert(address);
            }
            Plan::Refuse(message) => return Ok(Outcome::Refused(message)),
            Plan::Gone => return Ok(Outcome::Gone),
        }
    }
    Ok(Outcome::Unsettled)
}

/// Deletes every load balancer of the network that is the cluster's.
pub(crate) async fn settle_deletion(
    ctx: &Context,
    remote: &Remote,
    cluster: &LXCCluster,
    found: &References,
    subject: &OvnSubject,
) -> Result<Outcome, Failure> {
    if !supports(remote, BALANCERS).await? {
        return Ok(Outcome::Gone);
    }
    let all = match list(remote, subject).await {
        // Whoever named a bridge has no load balancer there.
        Err(Failure::Network { source, .. }) if has_none(&source) => Vec::new(),
        other => other?,
    };
    for seen in all {
        let Ok(address) = seen.listen_address.parse() else { continue };
        let wanted = validate::wanted_of_ovn(subject, found, address, false);
        if let Plan::Do(step) = plan(&wanted, Some(&seen)) {
            apply(ctx, remote, cluster, subject, address, step).await?;
        }
    }
    Ok(Outcome::Gone)
}

async fn supports(remote: &Remote, extension: &str) -> Result<bool, Failure> {
    let failure = Failure::network("look at what is possible on", remote.client.endpoint());
    remote.client.supports(extension).await.map_err(failure)
}

async fn look(
    remote: &Remote,
    subject: &OvnSubject,
    address: IpAddr,
) -> Result<Option<NetworkLoadBalancer>, Failure> {
    let found = remote.client.load_balancer(&subject.network, &address.to_string()).await;
    Ok(found.map_err(Failure::network("look for", what(subject, address)))?.map(|it| it.value))
}

/// The load balancers of the network; none of a network that is not there.
async fn list(remote: &Remote, subject: &OvnSubject) -> Result<Vec<NetworkLoadBalancer>, Failure> {
    match remote.client.load_balancers(&subject.network).await {
        Ok(found) => Ok(found),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => {
            let what = format!("load balancers of network {}", subject.network);
            Err(Failure::network("look for", what)(error))
        }
    }
}

/// The address of the load balancer that is ours already, else a free one.
async fn free_address(
    ctx: &Context,
    remote: &Remote,
    known: &Addresses,
    found: &References,
    subject: &OvnSubject,
    refused: &BTreeSet<IpAddr>,
) -> Result<IpAddr, Failure> {
    let mut taken = addresses::endpoints(ctx, &subject.owner.uid).await?;
    taken.extend(refused);
    for balancer in list(remote, subject).await? {
        let Ok(address) = balancer.listen_address.parse::<IpAddr>() else { continue };
        let wanted = validate::wanted_of_ovn(subject, found, address, false);
        if wanted.owns(&balancer.put.config).is_ok() {
            return Ok(address);
        }
        taken.insert(address);
    }
    let free = known.take(remote, &subject.owner.uid, &subject.ranges, taken)?;
    free.first().copied().ok_or_else(|| Failure::NoAddress {
        message: "spec.loadBalancer.ovn.ranges has no address".to_owned(),
    })
}

/// Whether an address could be taken.
enum Taken {
    ByUs,
    ByOthers(Failure),
}

async fn apply(
    ctx: &Context,
    remote: &Remote,
    cluster: &LXCCluster,
    subject: &OvnSubject,
    address: IpAddr,
    step: Step,
) -> Result<Taken, Failure> {
    let (client, network) = (&remote.client, &subject.network);
    let (what, at) = (what(subject, address), address.to_string());
    let (reason, note) = match step {
        Step::Create(post) => {
            match client.create_load_balancer(network, &post).await {
                Ok(()) => {}
                Err(error) if error.is_conflict() || overlaps(&error) => {
                    return Ok(Taken::ByOthers(Failure::network("create", what)(error)));
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
    tell(ctx, cluster, EventType::Normal, reason, note).await;
    Ok(Taken::ByUs)
}

fn has_none(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains("does not support load balancers"))
}

fn overlaps(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains("overlaps with"))
}

fn what(subject: &OvnSubject, address: IpAddr) -> String {
    format!("load balancer {address} of network {}", subject.network)
}
