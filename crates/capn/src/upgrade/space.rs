//! Disk space for the machines that an upgrade creates.
//!
//! A new machine is created before an old one is deleted, so a storage pool that is nearly full
//! blocks an upgrade halfway. The pools are those that the nodes of the cluster use now.

use std::collections::BTreeSet;

use capn_api::keys;
use incus_client::api::{Instance, InstanceFilter};

use super::plan::{Plan, Rollout, Step};
use crate::error::CommandError;
use crate::etcd::size;

/// Space for a node image in a pool, and for a machine if the pool copies the image: `capn doctor`
/// requires 3 GiB for two nodes.
const IMAGE_BYTES: u64 = 1536 << 20;
/// Space for a machine that shares the blocks of its image.
const CLONE_BYTES: u64 = 256 << 20;
/// Drivers whose volumes share the blocks of their image.
const CLONING: &[&str] = &["btrfs", "ceph", "linstor", "lvm", "lvmcluster", "powerflex", "zfs"];

/// A storage pool that nodes use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    name: String,
    driver: String,
    free_bytes: u64,
}

/// Checks that the storage pools of a cluster's nodes have space for the machines of a plan.
///
/// Nothing is checked if the server does not report the space: pools that the identity may not
/// read, pools without a size, and clusters of servers, where each member has its own space.
///
/// # Errors
///
/// Returns an error with the pool that lacks space, or if the server does not respond.
pub(super) async fn check(
    server: &incus_client::Client,
    namespace: &str,
    cluster: &str,
    plan: &Plan,
) -> Result<(), CommandError> {
    let failed = |error| CommandError::caused("cannot read the storage pools of the server", error);
    let filter = InstanceFilter::new()
        .config(keys::INSTANCE_CLUSTER_NAME, cluster)
        .config(keys::INSTANCE_CLUSTER_NAMESPACE, namespace);
    let instances = server.instances(&filter).await.map_err(failed)?;
    let names = pools_of(&instances, namespace, cluster);
    if names.is_empty() {
        return Ok(());
    }
    let known = match server.storage_pools().await {
        Ok(known) => known,
        Err(error) if error.is_forbidden() => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for found in known.into_iter().filter(|pool| names.contains(&pool.name)) {
        let resources = match server.storage_pool_resources(&found.name).await {
            Ok(resources) => resources,
            Err(error) if error.is_forbidden() || error.is_not_found() => continue,
            Err(error) => return Err(failed(error)),
        };
        // A pool that does not know its size reports zero of zero.
        if resources.space.total > 0 {
            let free_bytes = resources.free_bytes();
            judge(&Pool { name: found.name, driver: found.driver, free_bytes }, plan)?;
        }
    }
    Ok(())
}

/// Returns the names of the pools with the root disks of a cluster's nodes; none on a cluster of
/// servers.
fn pools_of(instances: &[Instance], namespace: &str, cluster: &str) -> BTreeSet<String> {
    let is_of_cluster = |instance: &&Instance| {
        let key = |key: &str| instance.config.get(key).map_or("", String::as_str);
        key(keys::INSTANCE_CLUSTER_NAME) == cluster
            && key(keys::INSTANCE_CLUSTER_NAMESPACE) == namespace
            && matches!(instance.location.as_str(), "" | "none")
    };
    let roots = instances.iter().filter(is_of_cluster).filter_map(|instance| {
        let mut disks = instance.expanded_devices.values();
        disks.find(|device| {
            let is = |key: &str, value: &str| device.get(key).is_some_and(|found| found == value);
            is("type", "disk") && is("path", "/")
        })
    });
    roots.filter_map(|disk| disk.get("pool").cloned()).collect()
}

fn judge(pool: &Pool, plan: &Plan) -> Result<(), CommandError> {
    let images = plan.steps.iter().filter(|step| matches!(step, Step::Image { .. })).count();
    let [images, machines] =
        [images, beside(plan)].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
    let of_machine = match CLONING.contains(&pool.driver.as_str()) {
        true => CLONE_BYTES,
        false => IMAGE_BYTES,
    };
    let needed =
        images.saturating_mul(IMAGE_BYTES).saturating_add(machines.saturating_mul(of_machine));
    if pool.free_bytes >= needed {
        return Ok(());
    }
    let count = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    };
    Err(CommandError::new(format!(
        "storage pool `{}` has {} free, and the upgrade needs about {}: for {}, and for {} that \
         are created before old ones are deleted",
        pool.name,
        size(pool.free_bytes),
        size(needed),
        count(images, "node image"),
        count(machines, "machine"),
    ))
    .hint("free space: `capn image list` and `incus list` show what can be deleted"))
}

/// Returns the maximum number of machines that exist besides those that they replace.
pub(super) fn beside(plan: &Plan) -> usize {
    let of_step = |step: &Step| match step {
        Step::Image { .. } | Step::Snapshot => 0,
        Step::ControlPlane(Rollout { count, .. }) | Step::Workers(Rollout { count, .. }) => {
            (*count).min(1)
        }
        // All new machines of a pool are created at once.
        Step::Pool(Rollout { count, .. }) => *count,
    };
    plan.steps.iter().map(of_step).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::Source;
    use super::*;
    use crate::preflight::KubernetesVersion;

    fn v(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    /// Returns a plan with this many images, and rollouts of this many machines.
    fn plan(images: usize, workers: usize, pool: usize) -> Plan {
        let rollout = |count| Rollout {
            object: "x".into(),
            from: v("v1.36.1"),
            to: v("v1.37.2"),
            count,
            machines: Vec::new(),
        };
        let image = Step::Image { version: v("v1.37.2"), source: Source::Server };
        let mut steps = vec![image; images];
        steps.push(Step::ControlPlane(rollout(1)));
        steps.push(Step::Workers(rollout(workers)));
        steps.push(Step::Pool(rollout(pool)));
        Plan { from: v("v1.36.1"), to: v("v1.37.2"), steps, skew: 1 }
    }

    #[test]
    fn a_pool_without_space_for_the_new_machines_is_refused() {
        const MIB: u64 = 1 << 20;
        for (driver, free_mib, plan, problem) in [
            ("dir", 3072, plan(1, 5, 0), None),
            (
                "dir",
                3071,
                plan(1, 5, 0),
                Some("needs about 3.0 GiB: for 1 node image, and for 1 machine that"),
            ),
            ("zfs", 1792, plan(1, 5, 0), None),
            (
                "zfs",
                1791,
                plan(1, 5, 0),
                Some("has 1.7 GiB free, and the upgrade needs about 1.7 GiB"),
            ),
            (
                "dir",
                6000,
                plan(1, 1, 4),
                Some("needs about 7.5 GiB: for 1 node image, and for 4 machines that"),
            ),
            ("btrfs", 2560, plan(1, 1, 4), None),
            ("dir", 5000, plan(3, 1, 0), Some("for 3 node images")),
        ] {
            let pool = Pool { name: "p".into(), driver: driver.into(), free_bytes: free_mib * MIB };
            let said = judge(&pool, &plan).err().map(|error| error.to_string());
            match (said, problem) {
                (None, None) => {}
                (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                other => panic!("{driver} {free_mib}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_pools_are_those_of_the_root_disks_of_the_nodes() {
        let instance = |cluster: &str, location: &str, devices: serde_json::Value| -> Instance {
            serde_json::from_value(json!({
                "name": "i", "location": location, "expanded_devices": devices,
                "config": { capn_api::keys::INSTANCE_CLUSTER_NAME: cluster,
                    capn_api::keys::INSTANCE_CLUSTER_NAMESPACE: "default" },
            }))
            .unwrap()
        };
        let disk = |pool: &str| {
            json!({ "root": { "type": "disk", "path": "/", "pool": pool },
            "data": { "type": "disk", "path": "/data", "pool": "other" } })
        };
        for (instances, expected) in [
            (
                vec![instance("demo", "none", disk("a")), instance("demo", "", disk("b"))],
                &["a", "b"][..],
            ),
            (vec![instance("else", "none", disk("a"))], &[]),
            (vec![instance("demo", "member-1", disk("a"))], &[]),
            (vec![instance("demo", "none", json!({ "eth0": { "type": "nic" } }))], &[]),
        ] {
            let found: Vec<_> = pools_of(&instances, "default", "demo").into_iter().collect();
            assert_eq!(found, expected);
        }
    }
}
