//! The network of one cluster: looks at it, carries out what the plan says, and says what came of
//! it.

use std::time::Duration;

use capn_api::{LXCCluster, NetworkMode};
use capn_plan::{
    Owner, Ownership, Role,
    families::Family,
    network::{self, Learnt, Plan, Step, Wanted, card, plan},
};
use incus_api::Network;
use kube::{Api, runtime::events::EventType};
use serde_json::json;

use super::{MAX_STEPS, observe::References, report, validate};
use crate::{
    context::Context,
    failure::Failure,
    notice::tell,
    patch,
    references::{self, namespace},
    remote::Remote,
};

/// Interfaces of a host whose addresses are asked for, at most.
const INTERFACES: usize = 64;
/// How long a server has for a network that is begun. One takes it a second or two; it gives up when who
/// asked is gone, and says so nowhere.
const LOOKS: u32 = 15;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// What a server says that finds no free subnet by itself.
const FINDS_NONE: &str = "automatically find an unused";

/// Makes sure of the network that the cluster's instances are on. `None`: that of their profiles.
///
/// # Errors
///
/// Those of the server; final ones for what it cannot have. They are in the condition too.
pub(crate) async fn settle(
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

/// The network that the user named.
async fn existing(remote: &Remote, cluster: &LXCCluster) -> Result<String, Failure> {
    let name = cluster.spec.network_name().unwrap_or_default().to_owned();
    if known(cluster) == Some(name.as_str()) {
        return Ok(name);
    }
    let found = look(remote, &name).await?;
    let message = match found {
        None => format!(
            "there is no network {name} on the server, which spec.network.name wants; make it, or name another"
        ),
        Some(found) => {
            let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
            match card::foreign(&found, uid) {
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
            message: "spec.network.mode own makes a bridge, which is on one member only, and the server is clustered; leave spec.network out, or name an OVN network with mode existing".to_owned(),
        });
    }
    // Written down before it is made, so that what was begun is found again.
    let name = recorded(ctx, cluster).await?;
    let wanted = wanted(cluster, found, &name);
    if !wanted.is_used {
        guard(remote, &wanted).await?;
    }
    let mut learnt = Learnt::default();
    for _ in 0..MAX_STEPS {
        let seen = look(remote, &name).await?;
        let message = match plan(&wanted, &learnt, seen.as_ref()) {
            Plan::Do(step) => {
                apply(ctx, remote, cluster, &name, step, &mut learnt).await?;
                continue;
            }
            Plan::Ready => return Ok(name),
            Plan::Pending if !learnt.abandoned => {
                learnt.abandoned = !is_finished(remote, &name).await?;
                continue;
            }
            Plan::Pending => {
                return Err(Failure::Unfinished {
                    message: format!(
                        "the server is making network {name}; if it was killed meanwhile, `incus network delete {name}` lets it begin again"
                    ),
                });
            }
            Plan::Refuse(message) => message,
            Plan::Broken(status) => {
                format!(
                    "network {name} is {} on the server, which could not set it up; its log says why, and a restart of the server tries again",
                    status.to_lowercase()
                )
            }
            Plan::NoSubnet => format!(
                "no private subnet is free for network {name}; make a network yourself and name it with spec.network.mode existing"
            ),
            Plan::InUse(_) | Plan::Gone => break,
        };
        return Err(Failure::Invalid { message });
    }
    Err(Failure::Invalid {
        message: format!("network {name} has no subnet that does, after {MAX_STEPS} tries"),
    })
}

/// Waits for the server to finish a network that somebody began: this process asks for one and waits, so
/// that it was one that was killed. Whether it did.
async fn is_finished(remote: &Remote, name: &str) -> Result<bool, Failure> {
    for _ in 0..LOOKS {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        if look(remote, name).await?.is_none_or(|found| found.status != "Pending") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the cluster's own network, once nothing is on it. What still is, in words.
pub(crate) async fn remove(
    ctx: &Context,
    cluster: &LXCCluster,
    found: &References,
) -> Result<Option<String>, Failure> {
    let own = cluster.spec.network_mode() == NetworkMode::Own;
    let Some(name) = cluster.spec.network_name().filter(|_| own) else { return Ok(None) };
    let remote = super::observe::remote(ctx, cluster).await?;
    let wanted = Wanted { deleting: true, ..wanted(cluster, found, name) };
    for _ in 0..MAX_STEPS {
        let seen = look(&remote, name).await?;
        match plan(&wanted, &Learnt::default(), seen.as_ref()) {
            Plan::Do(step) => {
                apply(ctx, &remote, cluster, name, step, &mut Learnt::default()).await?;
            }
            Plan::InUse(users) => {
                let users: Vec<_> =
                    users.iter().map(|user| user.trim_start_matches("/1.0/")).collect();
                return Ok(Some(format!("network {name} is still used by {}", users.join(", "))));
            }
            _ => {
                unguard(&remote, &wanted).await?;
                return Ok(None);
            }
        }
    }
    Ok(Some(format!("network {name} is there again after it was deleted")))
}

/// Makes sure of the rules of a network that has some.
async fn guard(remote: &Remote, wanted: &Wanted) -> Result<(), Failure> {
    let Some(acl) = network::guard(wanted) else { return Ok(()) };
    let what = format!("network ACL {}", acl.name);
    let failure = |act| Failure::network(act, what.clone());
    match remote.client.network_acl(&acl.name).await.map_err(failure("look for"))? {
        Some(found) => match wanted.owner.of(&found.config, true) {
            Ownership::Foreign(whose) => Err(Failure::Invalid {
                message: format!(
                    "{what} cannot be made: there is one of that name, and {whose}; rename or delete that one"
                ),
            }),
            Ownership::Ours | Ownership::Adoptable(_) => Ok(()),
        },
        None => match remote.client.create_network_acl(&acl).await {
            Ok(()) => Ok(()),
            // Made by a request that was not waited for.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(failure("create")(error)),
        },
    }
}

/// Deletes the rules of a network that is gone.
async fn unguard(remote: &Remote, wanted: &Wanted) -> Result<(), Failure> {
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

/// The name in the spec, which is filled in if there is none.
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

/// The network that the status says is there.
fn known(cluster: &LXCCluster) -> Option<&str> {
    cluster.status.as_ref()?.network.as_deref()
}

fn wanted(cluster: &LXCCluster, found: &References, name: &str) -> Wanted {
    let owner = found.cluster.as_ref();
    let network = owner.and_then(|owner| owner.spec.cluster_network.as_ref());
    let ranges = network.map(|network| [&network.pods, &network.services]);
    let ranges = ranges.into_iter().flatten().flatten().flat_map(|it| it.cidr_blocks.clone());
    let families = owner.map(references::families).unwrap_or_default();
    Wanted {
        name: name.to_owned(),
        owner: Owner { role: Role::Network, ..validate::owner(cluster, found) },
        ranges: ranges.collect(),
        ipv6: families.contains(&Family::V6),
        is_used: known(cluster) == Some(name),
        deleting: false,
    }
}

async fn look(remote: &Remote, name: &str) -> Result<Option<Network>, Failure> {
    let found = remote.client.network(name).await;
    Ok(found.map_err(Failure::network("look for", format!("network {name}")))?.map(|it| it.value))
}

/// Carries out one step.
///
/// # Cancellation
///
/// The same step can be taken again.
async fn apply(
    ctx: &Context,
    remote: &Remote,
    cluster: &LXCCluster,
    name: &str,
    step: Step,
    learnt: &mut Learnt,
) -> Result<(), Failure> {
    let what = format!("network {name}");
    let failure = |act| Failure::network(act, what.clone());
    let client = &remote.client;
    let (reason, note) = match step {
        Step::Create(post) => {
            match client.create_network(&post).await {
                Ok(()) => {}
                // Made by a request that was not waited for; it is looked at again.
                Err(error) if error.is_conflict() => return Ok(()),
                Err(error) if finds_none(&error) => return none_found(remote, learnt).await,
                Err(error) => return Err(failure("create")(error)),
            }
            learnt.choices = learnt.choices.saturating_add(1);
            learnt.abandoned = false;
            ("NetworkCreated", format!("created {what}"))
        }
        Step::Move(config) => {
            learnt.choices = learnt.choices.saturating_add(1);
            if learnt.chooses() {
                learnt.taken = taken(remote).await?;
            }
            match client.patch_network(name, &config).await {
                Ok(()) => return Ok(()),
                Err(error) if finds_none(&error) => return none_found(remote, learnt).await,
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
                // Something came to use it, which shows when it is looked at again.
                Err(error) => return Err(failure("delete")(error)),
            }
            ("NetworkDeleted", format!("deleted {what}"))
        }
    };
    tell(ctx, cluster, EventType::Normal, reason, note).await;
    Ok(())
}

fn finds_none(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains(FINDS_NONE))
}

async fn none_found(remote: &Remote, learnt: &mut Learnt) -> Result<(), Failure> {
    learnt.finds_none = true;
    learnt.taken = taken(remote).await?;
    Ok(())
}

/// Subnets of the server's networks, and of the interfaces of its host.
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
