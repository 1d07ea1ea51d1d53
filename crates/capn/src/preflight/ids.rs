//! Whether the host has user ids left for isolated nodes.
//!
//! A server gives each isolated instance a range of its own out of root's subordinate ids, and
//! refuses when there is no gap left. How it looks for one is known from Incus 6.0 and LXD 5.0:
//! the first 65536 ids stay unused, each instance takes 65536 unless `security.idmap.size` says
//! otherwise, and a range has to end before the last id.

use capn_plan::id_map::{IDS_OF_ONE, SIZE_KEY, size, size_for};
use incus_client::Client;
use incus_client::api::Instance;

use crate::error::CommandError;
use crate::manifest::{ClusterRequest, Isolation, LoadBalancer};

/// The kernel has no more; the very last one means none.
const LAST_ID: u64 = 4_294_967_294;

/// Ids of the host: the first, and how many.
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

/// Checks that the host has a range of ids for each isolated node that is still to be made.
///
/// The host's range comes from `/etc/subuid` and `/etc/subgid` of this machine where the server
/// is on it, else from an instance with the shared map, which has the whole of it. Where neither
/// tells, nothing is checked: the server refuses, and the machine's condition says so.
///
/// # Errors
///
/// When the ranges do not suffice, or the server does not answer.
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
        .map_err(|error| CommandError::caused("cannot list the instances of the server", error))?;
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
    // The load balancer is isolated as the nodes are.
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
    // One range stays unused, and one id at the end.
    let ranges = u64::try_from(taken.len()).unwrap_or(0) + needed + 1;
    let wanted = ranges.saturating_mul(size.max(IDS_OF_ONE)).saturating_add(1).max(host.count);
    let error = CommandError::new(format!(
        "the host has user ids for {free} more isolated instances of {size} ids each, but {needed} are to be made; it has {} ids from {}, and isolated instances that have some of them: {}",
        host.count,
        host.first,
        taken.len(),
    ));
    let error = match host.first.checked_add(wanted) {
        Some(end) if end <= LAST_ID => error.hint(format!(
            "give root a larger range in /etc/subuid and /etc/subgid of the server, such as `root:{}:{wanted}`, and restart the daemon",
            host.first,
        )),
        // No host has as many.
        _ => error,
    };
    let error = match request.max_pods.filter(|pods| *pods > 1 && size == size_for(*pods)) {
        Some(pods) => error.hint(format!(
            "or take fewer pods a node, each of which has 65536 ids: `--max-pods` is {pods} now"
        )),
        None => error,
    };
    Err(error
        .hint("or delete isolated instances that nobody needs, or ask for fewer nodes")
        .hint("or let nodes share one range: `--isolation shared`"))
}

fn is_isolated(instance: &Instance) -> bool {
    let key = |key: &str| instance.expanded_config.get(key).or(instance.config.get(key));
    let holds = |name| key(name).is_some_and(|value| matches!(value.as_str(), "true" | "1"));
    holds("security.idmap.isolated") && !holds("security.privileged")
}

/// The ids an isolated instance has.
fn taken(instance: &Instance) -> Option<Ids> {
    let first = instance.config.get("volatile.idmap.base")?.parse().ok()?;
    let asked = instance.expanded_config.get(SIZE_KEY).or(instance.config.get(SIZE_KEY));
    is_isolated(instance).then(|| Ids { first, count: size(asked.map(String::as_str)) })
}

/// How many ranges of `size` the server would find in a host's range.
fn free(host: Ids, taken: &[Ids], size: u64) -> u64 {
    let mut taken = taken.to_vec();
    taken.sort_by_key(|ids| ids.first);
    let mut next = host.first.saturating_add(IDS_OF_ONE);
    let mut found = 0;
    let mut gap = |from: u64, to: u64| {
        // A range that would end exactly at the next one is passed over.
        found += to.saturating_sub(from).saturating_sub(1) / size;
    };
    for ids in taken {
        gap(next, ids.first);
        next = next.max(ids.end());
    }
    gap(next, host.end());
    found
}

/// Root's ranges on this machine. With several, the server uses the first for this.
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

/// The maps of an instance that shares the host's whole range, for users and for groups.
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
            // Maps of the user's own begin elsewhere, or have more entries.
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
    fn ranges_are_counted_as_the_server_gives_them_out() {
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
    fn too_few_ids_are_refused_with_the_line_that_mends_it() {
        let small = Ids { count: 3 * 65536 + 1, ..HOST };
        let request = ClusterRequest { isolation: Isolation::Isolated, workers: 2, ..demo() };
        let error = judge(&[HOST, small], &[], &request).unwrap_err();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("for 2 more isolated instances of 65536 ids each, but 4"), "{text}");
        assert!(text.contains("`root:1000000:327681`"), "{text}");
        assert!(judge(&[HOST], &[], &request).is_ok());
        assert!(judge(&[], &[], &request).is_ok(), "nothing is known");
    }

    #[test]
    fn nodes_of_the_same_cluster_that_are_there_need_no_ids() {
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
    fn a_size_of_the_users_own_counts() {
        let request = ClusterRequest {
            isolation: Isolation::Isolated,
            config: [(SIZE_KEY.to_owned(), "2000000000".to_owned())].into(),
            ..demo()
        };
        let text = judge(&[HOST], &[], &request).unwrap_err().render(|_, text| text.to_owned());
        assert!(!text.contains("root:"), "no host has as many: {text}");
    }

    #[test]
    fn pods_with_user_namespaces_of_their_own_need_ids_too() {
        // A node and the load balancer with 17 times 65536 each, the first range and one id more.
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
        assert!(text.contains("of 1114112 ids each"), "{text}");
        assert!(text.contains("`--max-pods` is 16 now"), "{text}");
        assert!(judge(&[host(3 * 65536 + 1)], &[], &request(None)).is_ok());
        let shared = ClusterRequest { isolation: Isolation::Shared, ..request(Some(16)) };
        assert!(!shared.machine_config().contains_key(SIZE_KEY));
    }

    #[test]
    fn the_range_is_root_s_line_or_an_instance_that_has_all_of_it() {
        assert_eq!(of_root("_lxd:1:2\nroot:1000000:1000000000\n"), Some(HOST));
        assert_eq!(of_root("alice:100000:65536\n"), None);
        let map = r#"[{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":1000000000},{"Isuid":false,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":1000000000}]"#;
        let shared = instance(&[("volatile.idmap.next", map)]);
        let privileged = instance(&[("volatile.idmap.next", "[]")]);
        assert_eq!(shared_ranges(&[privileged, isolated(1_065_536), shared]), [HOST, HOST]);
        assert_eq!(shared_ranges(&[]), []);
    }
}
