//! Load balancers of OVN networks, and the members of a cluster of servers: both are only stored.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use incus_api::{ClusterMember, NetworkLoadBalancer, NetworkLoadBalancersPost};
use serde_json::{Value, json};

use super::{Path, Sim};
use crate::refusal::{Answer, Refusal, check_tag, empty, sync, tagged};
use crate::world::{Simulator, World};

const BALANCERS: &str = "load-balancers";
pub(super) const MEMBERS: &str = "cluster-members";
pub(super) const EXTENSIONS: &str = "extensions";

impl Simulator {
    /// Gives the server more API extensions.
    pub fn add_extensions(&self, names: &[&str]) {
        let mut world = self.lock();
        for name in names {
            world.things.insert((EXTENSIONS, String::new(), (*name).to_owned()), Value::Null);
        }
    }

    /// Makes the server a member of a cluster with these members; without any it stands alone.
    pub fn set_members(&self, members: &[ClusterMember]) {
        let mut world = self.lock();
        world.things.retain(|(kind, _, _), _| *kind != MEMBERS);
        for member in members {
            let key = (MEMBERS, String::new(), member.server_name.clone());
            world.things.insert(key, json!(member));
        }
    }
}

/// Things of one kind, in order of their names.
pub(super) fn all<'a>(world: &'a World, wanted: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
    world.things.iter().filter(move |((kind, _, _), _)| *kind == wanted).map(|(_, value)| value)
}

pub(crate) async fn members(State(simulator): Sim) -> Answer {
    Ok(sync(all(&simulator.lock(), MEMBERS).cloned().collect::<Vec<_>>()))
}

fn on_ovn(world: &World, network: &str) -> Result<(), Refusal> {
    let found = world.things.get(&("networks", String::new(), network.to_owned()));
    let kind = found.ok_or_else(|| Refusal::not_found("Network"))?["type"].as_str();
    match kind.unwrap_or("bridge") {
        "ovn" => Ok(()),
        kind => {
            Err(Refusal::bad(format!("Network driver {kind:?} does not support load balancers")))
        }
    }
}

/// Each port has to lead to backends of the load balancer (seen on Incus 6.0.4 with OVN 23.03).
fn leads(balancer: &Value, doing: &str) -> Result<(), Refusal> {
    let failed = |why: String| Refusal::failed(format!("Failed {doing} load balancer: {why}"));
    let entries = |field: &str| balancer[field].as_array().cloned().unwrap_or_default();
    let backends: Vec<Value> =
        entries("backends").iter().map(|backend| backend["name"].clone()).collect();
    for (n, port) in entries("ports").iter().enumerate() {
        let targets = port["target_backend"].as_array().cloned().unwrap_or_default();
        if targets.is_empty() {
            return Err(failed("Failed applying OVN load balancer: Missing VIP target(s)".into()));
        }
        if let Some(target) = targets.iter().find(|target| !backends.contains(target)) {
            let why = format!("Invalid target backend name {target} in port specification {n}");
            return Err(failed(why));
        }
    }
    Ok(())
}

pub(crate) async fn list(State(simulator): Sim, path: Path<String>) -> Answer {
    let world = simulator.lock();
    on_ovn(&world, &path.0)?;
    let found: Vec<_> = world
        .things
        .iter()
        .filter(|((kind, network, _), _)| *kind == BALANCERS && *network == path.0)
        .map(|(_, value)| value)
        .collect();
    Ok(sync(found))
}

pub(crate) async fn create(
    State(simulator): Sim,
    path: Path<String>,
    Json(post): Json<NetworkLoadBalancersPost>,
) -> Answer {
    let mut world = simulator.lock();
    on_ovn(&world, &path.0)?;
    let key = (BALANCERS, path.0, post.listen_address.clone());
    if world.things.contains_key(&key) {
        return Err(Refusal::conflict("A load balancer for that listen address"));
    }
    let NetworkLoadBalancersPost { listen_address, put } = post;
    let made = json!(NetworkLoadBalancer { listen_address, location: String::new(), put });
    leads(&made, "creating")?;
    world.things.insert(key, made);
    Ok(empty())
}

pub(crate) async fn one(State(simulator): Sim, path: Path<(String, String)>) -> Answer {
    let (network, address) = path.0;
    let world = simulator.lock();
    let found = world.things.get(&(BALANCERS, network, address));
    found.map(tagged).ok_or_else(|| Refusal::not_found("Network load balancer"))
}

pub(crate) async fn put(
    State(simulator): Sim,
    path: Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let (network, address) = path.0;
    let mut world = simulator.lock();
    let found = world.things.get_mut(&(BALANCERS, network, address));
    let found = found.ok_or_else(|| Refusal::not_found("Network load balancer"))?;
    check_tag(&headers, &*found)?;
    leads(&body, "updating")?;
    for (field, value) in body.as_object().into_iter().flatten() {
        found[field] = value.clone();
    }
    Ok(empty())
}

pub(crate) async fn delete(State(simulator): Sim, path: Path<(String, String)>) -> Answer {
    let (network, address) = path.0;
    let removed = simulator.lock().things.remove(&(BALANCERS, network, address));
    removed.map(|_| empty()).ok_or_else(|| Refusal::not_found("Network load balancer"))
}
