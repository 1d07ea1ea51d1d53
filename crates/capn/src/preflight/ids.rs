//! Checks that the host has enough user IDs for isolated nodes.
//!
//! A server allocates a separate range of root's subordinate IDs for each isolated instance, and
//! fails if there is no gap left. The allocation of Incus 6.0 and LXD 5.0: the first 65536 IDs stay
//! unused, each instance takes 65536 IDs or `security.idmap.size`, and a range must end before the
//! last id.

use capn_plan::id_map::{IDS_OF_ONE, SIZE_KEY, size, size_for};
use incus_client::Client;
use incus_client::api::Instance;

use crate::error::CommandError;
use crate::manifest::{ClusterRequest, Isolation, LoadBalancer};

/// The highest usable id; the very last one is invalid.
const LAST_ID: u64 = 4_294_967_294;

/// A range of host IDs: start and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids {
    first: u64,
    count: u64,
}

impl Ids {
    fn end(self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// Checks that the host has an id range for each isolated node that will be created.
///
/// The host's range comes from `/etc/subuid` and `/etc/subgid` if the server is local, otherwise
/// from an instance that shares the whole range. If neither is available, nothing is checked: the
/// server will refuse, and the machine's condition reports it.
///
/// # Errors
///
/// Returns an error if the IDs do not suffice or the server does not respond.
pub async fn isolated_ids(
    client: &Client,
    request: &ClusterRequest,
    is_local: bool,
) -> Result<(), CommandError> {
    if request.isolation != Isolation::Isolated {
        return Ok(());
    }
    let instances = client
        .instances_of_all_projects()
        .await
        .map_err(|error| CommandError::caused("cannot list the instances on the server", error))?;
    let hosts = if is_local { local_ranges(&instances) } else { shared_ranges(&instances) };
    judge(&hosts, &instances, request)
}

fn judge(
    hosts: &[Ids],
    instances: &[Instance],
    request: &ClusterRequest,
) -> Result<(), CommandError> {
    let size = size(request.machine_config().get(SIZE_KEY).map(String::as_str));
    let is_ours = |instance: &&Instance| {
        let key = |key: &str| instance.config.get(key).map_or("", String::as_str);
        key(capn_api::keys::INSTANCE_CLUSTER_NAME) == request.name
            && key(capn_api::keys::INSTANCE_CLUSTER_NAMESPACE) == request.namespace
            && is_isolated(instance)
    };
    let made = u64::try_from(instances.iter().filter(is_ours).count()).unwrap_or(u64::MAX);
    // The load balancer has the same isolation as the nodes.
    let balancers =
        u32::from(matches!(request.load_balancer, LoadBalancer::Lxc | LoadBalancer::Oci));
    let instances_of_all = request.control_planes + request.workers + balancers;
    let needed = u64::from(instances_of_all).saturating_sub(made);
    let taken: Vec<Ids> = instances.iter().filter_map(taken).collect();
    let Some((host, free)) =
        hosts.iter().map(|host| (*host, free(*host, &taken, size))).min_by_key(|(_, free)| *free)
    else {
        return Ok(());
    };
    if free >= needed {
        return Ok(());
    }
    // One range and the last id stay unused.
    let ranges = u64::try_from(taken.len()).unwrap_or(0) + needed + 1;
    let wanted = ranges.saturating_mul(size.max(IDS_OF_ONE)).saturating_add(1).max(host.count);
    let error = CommandError::new(format!(
        "the host has user IDs for {free} more isolated instances with {size} IDs each, but \
         {needed} are needed; it has {} IDs starting at {}, and these isolated instances use some \
         of them: {}",
        host.count,
        host.first,
        taken.len(),
    ));
    let error = match host.first.checked_add(wanted) {
        Some(end) if end <= LAST_ID => error.hint(format!(
            "give root a larger range in /etc/subuid and /etc/subgid of the server, such as `root:{}:{wanted}`, and restart the daemon",
            host.first,
        )),
        // No host has that many.
        _ => error,
    };
    let error = match request.max_pods.filter(|pods| *pods > 1 && size == size_for(*pods)) {
        Some(pods) => error
            .hint(format!("or reduce `--max-pods`, currently {pods}: each pod reserves 65536 IDs")),
        None => error,
    };
    Err(error
        .hint("or delete unused isolated instances, or request fewer nodes")
        .hint("or share one range among nodes: `--isolation shared`"))
}

fn is_isolated(instance: &Instance) -> bool {
    let key = |key: &str| instance.expanded_config.get(key).or(instance.config.get(key));
    let holds = |name| key(name).is_some_and(|value| matches!(value.as_str(), "true" | "1"));
    holds("security.idmap.isolated") && !holds("security.privileged")
}

/// Returns the host IDs of an isolated instance.
fn taken(instance: &Instance) -> Option<Ids> {
    let first = instance.config.get("volatile.idmap.base")?.parse().ok()?;
    let asked = instance.expanded_config.get(SIZE_KEY).or(instance.config.get(SIZE_KEY));
    is_isolated(instance).then(|| Ids { first, count: size(asked.map(String::as_str)) })
}

/// Returns the number of ranges with `size` IDs that the server can allocate.
fn free(host: Ids, taken: &[Ids], size: u64) -> u64 {
    let mut taken = taken.to_vec();
    taken.sort_by_key(|ids| ids.first);
    let mut next = host.first.saturating_add(IDS_OF_ONE);
    let mut found = 0;
    let mut gap = |from: u64, to: u64| {
        // The server skips a range that would end exactly where the next one begins.
        found += to.saturating_sub(from).saturating_sub(1) / size;
    };
    for ids in taken {
        gap(next, ids.first);
        next = next.max(ids.end());
    }
    gap(next, host.end());
    found
}

/// Returns root's ranges on this machine. If there are several, the server uses the first one.
fn local_ranges(instances: &[Instance]) -> Vec<Ids> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let found: Vec<Ids> = ["/etc/subuid", "/etc/subgid"]
        .into_iter()
        .filter_map(|path| of_root(&read(path)))
        .collect();
    if found.is_empty() { shared_ranges(instances) } else { found }
}

fn of_root(text: &str) -> Option<Ids> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        matches!(fields.next(), Some("root" | "0")).then_some(())?;
        Some(Ids { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? })
    })
}

/// Returns the user and group ID maps of an instance that shares the host's whole range.
fn shared_ranges(instances: &[Instance]) -> Vec<Ids> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        hostid: u64,
        nsid: u64,
        maprange: u64,
    }
    instances
        .iter()
        .filter(|instance| !is_isolated(instance))
        .find_map(|instance| {
            let text = instance.config.get("volatile.idmap.next")?;
            let map: Vec<Entry> = serde_json::from_str(text).ok()?;
            // Custom maps begin elsewhere or have more entries.
            let whole = map.len() <= 2 && !map.is_empty() && map.iter().all(|e| e.nsid == 0);
            whole.then(|| map.iter().map(|e| Ids { first: e.hostid, count: e.maprange }).collect())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::request::testing::demo;

    const HOST: Ids = Ids { first: 1_000_000, count: 1_000_000_000 };

    fn instance(config: &[(&str, &str)]) -> Instance {
        Instance {
            config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Instance::default()
        }
    }

    fn isolated(base: u64) -> Instance {
        instance(&[("security.idmap.isolated", "true"), ("volatile.idmap.base", &base.to_string())])
    }

    #[test]
    fn id_ranges_are_counted_as_the_server_allocates_them() {
        let slot = |n: u64| Ids { first: 1_000_000 + n * 65536, count: 65536 };
        for (count, taken, size, expected) in [
            (1_000_000_000, &[][..], 65536, 15257),
            (65536, &[], 65536, 0),
            (3 * 65536, &[], 65536, 1),
            (3 * 65536 + 1, &[], 65536, 2),
            (4 * 65536 + 1, &[slot(1)], 65536, 2),
            (4 * 65536 + 1, &[slot(3), slot(1)], 65536, 0),
            (1_000_000_000, &[], 2_000_000_000, 0),
        ] {
            let found = free(Ids { first: 1_000_000, count }, taken, size);
            assert_eq!(found, expected, "{count} {taken:?} {size}");
        }
    }

    #[test]
    fn too_few_ids_are_refused_with_the_subuid_line_to_add() {
        let small = Ids { count: 3 * 65536 + 1, ..HOST };
        let request = ClusterRequest { isolation: Isolation::Isolated, workers: 2, ..demo() };
        let error = judge(&[HOST, small], &[], &request).unwrap_err();
        let text = error.render(|_, text| text.to_owned());
        assert!(
            text.contains("for 2 more isolated instances with 65536 IDs each, but 4"),
            "{text}"
        );
        assert!(text.contains("`root:1000000:327681`"), "{text}");
        assert!(judge(&[HOST], &[], &request).is_ok());
        assert!(judge(&[], &[], &request).is_ok(), "nothing is known");
    }

    #[test]
    fn existing_nodes_of_the_cluster_need_no_more_ids() {
        let small = Ids { count: 4 * 65536 + 1, ..HOST };
        let mut ours = isolated(1_065_536);
        ours.config.extend([
            (capn_api::keys::INSTANCE_CLUSTER_NAME.to_owned(), "demo".to_owned()),
            (capn_api::keys::INSTANCE_CLUSTER_NAMESPACE.to_owned(), "default".to_owned()),
        ]);
        let request = ClusterRequest { isolation: Isolation::Isolated, workers: 1, ..demo() };
        assert!(judge(&[small], &[ours.clone()], &request).is_ok());
        assert!(judge(&[small], &[isolated(1_065_536)], &request).is_err());
    }

    #[test]
    fn a_user_defined_id_range_size_counts() {
        let request = ClusterRequest {
            isolation: Isolation::Isolated,
            config: [(SIZE_KEY.to_owned(), "2000000000".to_owned())].into(),
            ..demo()
        };
        let text = judge(&[HOST], &[], &request).unwrap_err().render(|_, text| text.to_owned());
        assert!(!text.contains("root:"), "no host has as many: {text}");
    }

    #[test]
    fn pods_with_user_namespaces_need_ids_too() {
        // A node and the load balancer with 17 times 65536 IDs each, the unused first range and one
        // more id.
        let enough = 17 * 2 * 65536 + 65536 + 1;
        let request = |max_pods| ClusterRequest {
            isolation: Isolation::Isolated,
            workers: 0,
            max_pods,
            ..demo()
        };
        let host = |count| Ids { count, ..HOST };
        assert!(judge(&[host(enough)], &[], &request(Some(16))).is_ok());
        let error = judge(&[host(enough - 1)], &[], &request(Some(16))).unwrap_err();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("with 1114112 IDs each"), "{text}");
        assert!(text.contains("`--max-pods`, currently 16"), "{text}");
        assert!(judge(&[host(3 * 65536 + 1)], &[], &request(None)).is_ok());
        let shared = ClusterRequest { isolation: Isolation::Shared, ..request(Some(16)) };
        assert!(!shared.machine_config().contains_key(SIZE_KEY));
    }

    #[test]
    fn the_range_comes_from_root_or_from_an_instance_that_maps_all_of_it() {
        assert_eq!(of_root("_lxd:1:2\nroot:1000000:1000000000\n"), Some(HOST));
        assert_eq!(of_root("alice:100000:65536\n"), None);
        let map = r#"[{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":1000000000},{"Isuid":false,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":1000000000}]"#;
        let shared = instance(&[("volatile.idmap.next", map)]);
        let privileged = instance(&[("volatile.idmap.next", "[]")]);
        assert_eq!(shared_ranges(&[privileged, isolated(1_065_536), shared]), [HOST, HOST]);
        assert_eq!(shared_ranges(&[]), []);
    }
}
