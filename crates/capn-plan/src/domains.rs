//! Failure domains of Cluster API, derived from the members and groups of a cluster of servers.

use std::collections::BTreeMap;

use capn_api::FailureDomain;
use incus_api::ClusterMember;

/// The group to which a server adds every member by itself.
const DEFAULT_GROUP: &str = "default";
/// Member config key that controls who may place instances on a member.
const SCHEDULER: &str = "scheduler.instance";
/// Maximum length of a name in Cluster API.
const LONGEST: usize = 100;

/// Returns the failure domains of a cluster of servers, sorted by name.
///
/// Each member is a failure domain. Control planes can be placed on members that are online and
/// accept instances automatically. Each group except the default group is a failure domain for
/// workers, named `@group`. Groups are not offered for control planes: spreading over members and
/// groups at once would use the same members twice.
pub fn of_members(members: &[ClusterMember]) -> Vec<FailureDomain> {
    let mut groups = BTreeMap::<&str, Vec<&str>>::new();
    for member in members {
        for group in &member.groups {
            groups.entry(group).or_default().push(&member.server_name);
        }
    }
    let of_members = members.iter().map(|member| {
        let scheduler = member.config.get(SCHEDULER).map_or("all", String::as_str);
        let mut attributes = BTreeMap::from([
            ("kind".to_owned(), "member".to_owned()),
            ("status".to_owned(), member.status.clone()),
        ]);
        if !member.architecture.is_empty() {
            attributes.insert("architecture".into(), member.architecture.clone());
        }
        if !member.failure_domain.is_empty() && member.failure_domain != "default" {
            attributes.insert("failureDomain".into(), member.failure_domain.clone());
        }
        FailureDomain {
            name: member.server_name.clone(),
            control_plane: Some(member.is_online() && scheduler == "all"),
            attributes,
        }
    });
    let of_groups =
        groups.iter().filter(|(group, _)| **group != DEFAULT_GROUP).map(|(group, members)| {
            FailureDomain {
                name: format!("@{group}"),
                control_plane: Some(false),
                attributes: BTreeMap::from([
                    ("kind".to_owned(), "group".to_owned()),
                    ("members".to_owned(), members.join(",")),
                ]),
            }
        });
    let mut domains: Vec<_> = of_members
        .chain(of_groups)
        .filter(|domain| !domain.name.is_empty() && domain.name.len() <= LONGEST)
        .collect();
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    domains.dedup_by(|a, b| a.name == b.name);
    domains
}

/// Returns where to place an instance: the failure domain of the Machine, which is a member name or
/// `@group`, or else the `target` of its LXCMachine. Empty means that the server chooses.
pub fn place<'a>(failure_domain: Option<&'a str>, target: &'a str) -> &'a str {
    failure_domain.filter(|domain| !domain.is_empty()).unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, status: &str, groups: &[&str], scheduler: &str) -> ClusterMember {
        ClusterMember {
            server_name: name.into(),
            status: status.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            config: [(SCHEDULER.to_owned(), scheduler.to_owned())].into(),
            ..ClusterMember::default()
        }
    }

    #[test]
    fn members_are_for_everybody_and_groups_for_workers() {
        let domains = of_members(&[
            member("n2", "Online", &["default", "gpu"], "all"),
            member("n1", "Online", &["default"], "all"),
            member("n3", "Offline", &["default", "gpu"], "all"),
            member("n4", "Online", &["default"], "manual"),
            member("n5", "Evacuated", &[], "all"),
        ]);
        let named: Vec<_> =
            domains.iter().map(|d| (d.name.as_str(), d.control_plane == Some(true))).collect();
        let expected = [
            ("@gpu", false),
            ("n1", true),
            ("n2", true),
            ("n3", false),
            ("n4", false),
            ("n5", false),
        ];
        assert_eq!(named, expected);
        assert_eq!(domains[0].attributes["members"], "n2,n3");
        assert_eq!(domains[3].attributes["status"], "Offline");
    }

    #[test]
    fn a_standalone_server_has_no_failure_domains() {
        assert_eq!(of_members(&[]), []);
    }

    #[test]
    fn the_failure_domain_wins_over_the_target() {
        for (domain, target, place_) in [
            (Some("n1"), "n2", "n1"),
            (Some("@gpu"), "", "@gpu"),
            (Some(""), "n2", "n2"),
            (None, "@cpu", "@cpu"),
            (None, "", ""),
        ] {
            assert_eq!(place(domain, target), place_);
        }
    }
}
