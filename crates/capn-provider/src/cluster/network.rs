//! The network of one cluster: observes it, applies the plan, and returns the outcome.

use std::time::Duration;

use capn_api::{LXCCluster, NetworkMode};
use capn_plan::{
    Owner, Ownership, Role,
    families::Family,
    network::{self, DesiredNetwork, Plan, Step, SubnetHistory, nic, plan},
};
use incus_api::Network;
use kube::{Api, runtime::events::EventType};
use serde_json::json;

use super::{MAX_STEPS, observe::References, report, validate};
use crate::{
    context::Context,
    events::publish,
    failure::Failure,
    patch,
    references::{self, namespace},
    remote::Remote,
};

/// Maximum number of host interfaces whose addresses are queried.
const INTERFACES: usize = 64;
/// Number of checks for a network whose creation has started. A server needs a second or two. If
/// the client disconnects, the server aborts the creation without recording it.
const LOOKS: u32 = 15;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Error text of a server that finds no free subnet.
const FINDS_NONE: &str = "automatically find an unused";

/// Ensures that the network of the cluster's instances exists. `None`: they use the network of
/// their profiles.
///
/// # Errors
///
/// Failures of the server, and a final failure for a network that cannot be created. The condition
/// shows them too.
pub(crate) async fn advance(
    ctx: &Context,
    remote: &Remote,
    cluster: &mut LXCCluster,
    found: &References,
) -> Result<Option<String>, Failure> {
    let settled = match cluster.spec.network_mode() {
        NetworkMode::Shared => return Ok(None),
        NetworkMode::Existing => existing(remote, cluster).await,
        NetworkMode::Own => own(ctx, remote, cluster, found).await,
    };
    match settled {
        Ok(name) => {
            report::network::available(ctx, cluster, &name).await?;
            Ok(Some(name))
        }
        Err(failure) => {
            report::network::failed(ctx, cluster, &failure).await;
            Err(failure)
        }
    }
}

/// Returns the existing network that the user set.
async fn existing(remote: &Remote, cluster: &LXCCluster) -> Result<String, Failure> {
    let name = cluster.spec.network_name().unwrap_or_default().to_owned();
    if known(cluster) == Some(name.as_str()) {
        return Ok(name);
    }
    let found = probe(remote, &name).await?;
    let message = match found {
        None => format!(
            "the network {name} in spec.network.name does not exist on the server; create it, or set another name"
        ),
        Some(found) => {
            let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
            match nic::foreign(&found, uid) {
                None => return Ok(name),
                Some(message) => message,
            }
        }
    };
    Err(Failure::Invalid { message })
}

async fn own(
    ctx: &Context,
    remote: &Remote,
    cluster: &mut LXCCluster,
    found: &References,
) -> Result<String, Failure> {
    if remote.facts().clustered {
        return Err(Failure::Invalid {
            message: "spec.network.mode own creates a bridge on a single member, but the server is clustered; omit spec.network, or use mode existing with an OVN network".to_owned(),
        });
    }
    // The name is recorded before the network is created, so that an interrupted creation is found
    // again.
    let name = recorded(ctx, cluster).await?;
    let wanted = wanted(cluster, found, &name);
    if !wanted.is_used {
        guard(remote, &wanted).await?;
    }
    let mut history = SubnetHistory::default();
    for _ in 0..MAX_STEPS {
        let observed = probe(remote, &name).await?;
        let message = match plan(&wanted, &history, observed.as_ref()) {
            Plan::Do(step) => {
                apply(ctx, remote, cluster, &name, step, &mut history).await?;
                continue;
            }
            Plan::Ready => return Ok(name),
            Plan::Pending if !history.abandoned => {
                history.abandoned = !is_finished(remote, &name).await?;
                continue;
            }
            Plan::Pending => {
                return Err(Failure::Unfinished {
                    message: format!(
                        "the server is creating network {name}; if the server was killed in the meantime, run `incus network delete {name}` to start over"
                    ),
                });
            }
            Plan::Refuse(message) => message,
            Plan::Broken(status) => {
                format!(
                    "network {name} has the status {} because the server could not set it up; check the server's log, and restart the server to retry",
                    status.to_lowercase()
                )
            }
            Plan::NoSubnet => format!(
                "no private subnet is free for network {name}; create a network yourself and use it with spec.network.mode existing"
            ),
            Plan::InUse(_) | Plan::Gone => break,
        };
        return Err(Failure::Invalid { message });
    }
    Err(Failure::Invalid {
        message: format!("network {name} has no suitable subnet after {MAX_STEPS} attempts"),
    })
}

/// Waits until the server has finished creating a network whose creation another process started.
/// Returns whether it finished.
async fn is_finished(remote: &Remote, name: &str) -> Result<bool, Failure> {
    for _ in 0..LOOKS {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        if probe(remote, name).await?.is_none_or(|found| found.status != "Pending") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the cluster's own network once it is unused. Returns a message about what still uses it.
pub(crate) async fn remove(
    ctx: &Context,
    cluster: &LXCCluster,
    found: &References,
) -> Result<Option<String>, Failure> {
    let own = cluster.spec.network_mode() == NetworkMode::Own;
    let Some(name) = cluster.spec.network_name().filter(|_| own) else { return Ok(None) };
    let remote = super::observe::remote(ctx, cluster).await?;
    let wanted = DesiredNetwork { deleting: true, ..wanted(cluster, found, name) };
    for _ in 0..MAX_STEPS {
        let observed = probe(&remote, name).await?;
        match plan(&wanted, &SubnetHistory::default(), observed.as_ref()) {
            Plan::Do(step) => {
                apply(ctx, &remote, cluster, name, step, &mut SubnetHistory::default()).await?;
            }
            Plan::InUse(users) => {
                let users: Vec<_> =
                    users.iter().map(|user| user.trim_start_matches("/1.0/")).collect();
                return Ok(Some(format!("network {name} is still used by {}", users.join(", "))));
            }
            _ => {
                delete_rules(&remote, &wanted).await?;
                return Ok(None);
            }
        }
    }
    Ok(Some(format!("network {name} exists again after it was deleted")))
}

/// Ensures that the ACL of a network exists, if it needs one.
async fn guard(remote: &Remote, wanted: &DesiredNetwork) -> Result<(), Failure> {
    let Some(acl) = network::guard(wanted) else { return Ok(()) };
    let what = format!("network ACL {}", acl.name);
    let failure = |act| Failure::network(act, what.clone());
    match remote.client.network_acl(&acl.name).await.map_err(failure("look for"))? {
        Some(found) => match wanted.owner.of(&found.config, true) {
            Ownership::Foreign(whose) => Err(Failure::Invalid {
                message: format!(
                    "{what} cannot be created: an ACL with that name exists and {whose}; rename or delete that ACL"
                ),
            }),
            Ownership::Ours | Ownership::Adoptable(_) => Ok(()),
        },
        None => match remote.client.create_network_acl(&acl).await {
            Ok(()) => Ok(()),
            // The request was interrupted, and another one has created it.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(failure("create")(error)),
        },
    }
}

/// Deletes the ACL of a deleted network.
async fn delete_rules(remote: &Remote, wanted: &DesiredNetwork) -> Result<(), Failure> {
    let what = format!("network ACL {}", wanted.name);
    let found = match remote.client.network_acl(&wanted.name).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(()),
        Err(error) => return Err(Failure::network("look for", what)(error)),
    };
    if let Ownership::Foreign(_) = wanted.owner.of(&found.config, true) {
        return Ok(());
    }
    match remote.client.delete_network_acl(&wanted.name).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(Failure::network("delete", what)(error)),
    }
}

/// Returns the name in the spec, setting it first if it is empty.
async fn recorded(ctx: &Context, cluster: &mut LXCCluster) -> Result<String, Failure> {
    if let Some(name) = cluster.spec.network_name() {
        return Ok(name.to_owned());
    }
    let name = network::name(cluster.metadata.uid.as_deref().unwrap_or_default());
    let api = Api::namespaced(ctx.client.clone(), namespace(&cluster.metadata));
    let change = json!({ "metadata": {}, "spec": { "network": { "name": name } } });
    *cluster = patch::merge(&api, cluster, change).await?;
    Ok(name)
}

/// Returns the network that the status records.
fn known(cluster: &LXCCluster) -> Option<&str> {
    cluster.status.as_ref()?.network.as_deref()
}

fn wanted(cluster: &LXCCluster, found: &References, name: &str) -> DesiredNetwork {
    let owner = found.cluster.as_ref();
    let network = owner.and_then(|owner| owner.spec.cluster_network.as_ref());
    let ranges = network.map(|network| [&network.pods, &network.services]);
    let ranges = ranges.into_iter().flatten().flatten().flat_map(|it| it.cidr_blocks.clone());
    let families = owner.map(references::families).unwrap_or_default();
    DesiredNetwork {
        name: name.to_owned(),
        owner: Owner { role: Role::Network, ..validate::owner(cluster, found) },
        ranges: ranges.collect(),
        ipv6: families.contains(&Family::V6),
        is_used: known(cluster) == Some(name),
        deleting: false,
    }
}

async fn probe(remote: &Remote, name: &str) -> Result<Option<Network>, Failure> {
    let found = remote.client.network(name).await;
    Ok(found.map_err(Failure::network("look for", format!("network {name}")))?.map(|it| it.value))
}

/// Executes one step.
///
/// # Cancellation
///
/// The step can be repeated.
async fn apply(
    ctx: &Context,
    remote: &Remote,
    cluster: &LXCCluster,
    name: &str,
    step: Step,
    history: &mut SubnetHistory,
) -> Result<(), Failure> {
    let what = format!("network {name}");
    let failure = |act| Failure::network(act, what.clone());
    let client = &remote.client;
    let (reason, note) = match step {
        Step::Create(post) => {
            match client.create_network(&post).await {
                Ok(()) => {}
                // The request was interrupted, and another one has created it; it is observed
                // again.
                Err(error) if error.is_conflict() => return Ok(()),
                Err(error) if finds_none(&error) => return none_found(remote, history).await,
                Err(error) => return Err(failure("create")(error)),
            }
            history.choices = history.choices.saturating_add(1);
            history.abandoned = false;
            ("NetworkCreated", format!("created {what}"))
        }
        Step::Move(config) => {
            history.choices = history.choices.saturating_add(1);
            if history.chooses() {
                history.taken = taken(remote).await?;
            }
            match client.patch_network(name, &config).await {
                Ok(()) => return Ok(()),
                Err(error) if finds_none(&error) => return none_found(remote, history).await,
                Err(error) => return Err(failure("choose another subnet for")(error)),
            }
        }
        Step::Adopt(missing) => {
            client.patch_network(name, &missing).await.map_err(failure("adopt"))?;
            ("NetworkAdopted", format!("adopted {what}"))
        }
        Step::Delete => {
            match client.delete_network(name).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => return Ok(()),
                // Something started to use it. The next observation shows it.
                Err(error) => return Err(failure("delete")(error)),
            }
            ("NetworkDeleted", format!("deleted {what}"))
        }
    };
    publish(ctx, cluster, EventType::Normal, reason, note).await;
    Ok(())
}

fn finds_none(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains(FINDS_NONE))
}

async fn none_found(remote: &Remote, history: &mut SubnetHistory) -> Result<(), Failure> {
    history.finds_none = true;
    history.taken = taken(remote).await?;
    Ok(())
}

/// Returns the subnets of the server's networks and of the host's interfaces.
async fn taken(remote: &Remote) -> Result<Vec<String>, Failure> {
    let failure = || Failure::network("look for", "a free subnet");
    let networks = remote.client.networks().await.map_err(failure())?;
    let mut taken = Vec::new();
    for network in &networks {
        for key in ["ipv4.address", "ipv6.address", "ipv4.routes", "ipv6.routes"] {
            let ranges = network.config.get(key).into_iter().flat_map(|value| value.split(','));
            taken.extend(ranges.map(|range| range.trim().to_owned()));
        }
    }
    for interface in networks.iter().filter(|network| !network.managed).take(INTERFACES) {
        let state = remote.client.network_state(&interface.name).await;
        let addresses = state.map_err(failure())?.map(|state| state.addresses).unwrap_or_default();
        let global = addresses.iter().filter(|address| address.scope != "link");
        taken.extend(global.map(|address| format!("{}/{}", address.address, address.netmask)));
    }
    Ok(taken)
}
