//! The host IDs of a node, and other instances with the same IDs.

use incus_client::api::{Config, Instance};
use serde::Deserialize;

use super::report::Mode;

/// A range of host IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First id on the host.
    pub first: u64,
    /// Number of IDs.
    pub count: u64,
}

impl Range {
    fn overlaps(self, other: Self) -> bool {
        self.first < other.first + other.count && other.first < self.first + self.count
    }
}

/// An id map in `volatile.idmap.current`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    isuid: bool,
    hostid: u64,
    maprange: u64,
}

/// Returns the isolation mode of an instance, from its configuration.
pub(crate) fn mode(config: &Config) -> Mode {
    let is = |key: &str| config.get(key).is_some_and(|value| value == "true" || value == "1");
    if is("security.privileged") {
        Mode::Privileged
    } else if is("security.idmap.isolated") {
        Mode::Isolated
    } else {
        Mode::Shared
    }
}

/// Returns the host user IDs of an instance; empty for a privileged one, or when the server does
/// not report them.
pub fn ranges(config: &Config) -> Vec<Range> {
    let text = config.get("volatile.idmap.current").or(config.get("volatile.idmap.next"));
    let entries: Vec<Entry> =
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let users = entries.into_iter().filter(|entry| entry.isuid);
    users.map(|entry| Range { first: entry.hostid, count: entry.maprange }).collect()
}

/// Notes about the host IDs of a node.
pub(crate) fn notes(node: &Instance, all: &[Instance]) -> Vec<String> {
    let mode = mode(&node.expanded_config);
    let own = ranges(&node.config);
    let other_server: Vec<&str> = all
        .iter()
        .filter(|other| (&other.name, &other.project) != (&node.name, &node.project))
        .filter(|other| {
            let theirs = ranges(&other.config);
            own.iter().any(|own| theirs.iter().any(|their| own.overlaps(*their)))
        })
        .map(|other| other.name.as_str())
        .collect();
    match mode {
        Mode::Privileged => vec![
            "a privileged node uses the host's IDs: root in it is root on the host, and open \
             vectors are expected"
                .to_owned(),
        ],
        Mode::Shared if other_server.is_empty() => Vec::new(),
        Mode::Shared => vec![format!(
            "shares its host IDs with {}: per-user limits (keys, inotify, processes) are shared, \
             and an escape from one node has the IDs of the others; `--isolation isolated` \
             gives each node its own",
            listed(&other_server)
        )],
        Mode::Isolated if other_server.is_empty() => vec![match own.first() {
            Some(range) => format!(
                "is the only node with the host IDs {} to {}",
                range.first,
                range.first + range.count - 1
            ),
            None => "the server does not report its host IDs".to_owned(),
        }],
        // The shared range begins where the isolated ones are taken from it.
        Mode::Isolated => vec![format!(
            "its host IDs are also in the range of {}: nodes that are not isolated use the whole \
             range; make them isolated too",
            listed(&other_server)
        )],
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [first, second, third, _, ..] => {
            format!("{first}, {second}, {third} and {} more", names.len() - 3)
        }
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, settings: &[(&str, &str)], first: u64, count: u64) -> Instance {
        let map = format!(
            r#"[{{"Isuid":true,"Isgid":false,"Hostid":{first},"Nsid":0,"Maprange":{count}}},
                {{"Isuid":false,"Isgid":true,"Hostid":{first},"Nsid":0,"Maprange":{count}}}]"#
        );
        let mut config: Config =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let expanded_config = config.clone();
        config.insert("volatile.idmap.current".into(), map);
        Instance { name: name.into(), config, expanded_config, ..Instance::default() }
    }

    const ISOLATED: &[(&str, &str)] = &[("security.idmap.isolated", "true")];

    #[test]
    fn isolated_nodes_have_disjoint_ranges() {
        let a = instance("a", ISOLATED, 1_065_536, 65_536);
        let b = instance("b", ISOLATED, 1_131_072, 65_536);
        assert_eq!(ranges(&a.config), [Range { first: 1_065_536, count: 65_536 }]);
        assert_eq!(
            notes(&a, &[a.clone(), b]),
            ["is the only node with the host IDs 1065536 to \
                                                 1131071"]
        );
    }

    #[test]
    fn a_shared_node_lists_the_nodes_it_shares_ids_with() {
        let a = instance("a", &[], 1_000_000, 1_000_000_000);
        let others: Vec<Instance> =
            ["b", "c", "d", "e"].map(|name| instance(name, &[], 1_000_000, 1_000_000_000)).into();
        assert!(notes(&a, std::slice::from_ref(&a)).is_empty());
        let text = notes(&a, &others).join("");
        assert!(text.contains("with b, c, d and 1 more"), "{text}");
    }

    #[test]
    fn an_isolated_node_beside_shared_ones_is_noted() {
        let a = instance("a", ISOLATED, 1_065_536, 65_536);
        let shared = instance("old", &[], 1_000_000, 1_000_000_000);
        let text = notes(&a, &[shared]).join("");
        assert!(text.contains("also in the range of old"), "{text}");
    }

    #[test]
    fn the_mode_is_read_from_the_configuration() {
        let cases: [(&[(&str, &str)], Mode); 4] = [
            (&[], Mode::Shared),
            (&[("security.privileged", "false")], Mode::Shared),
            (ISOLATED, Mode::Isolated),
            (
                &[("security.privileged", "true"), ("security.idmap.isolated", "true")],
                Mode::Privileged,
            ),
        ];
        for (settings, expected) in cases {
            assert_eq!(mode(&instance("a", settings, 0, 0).expanded_config), expected);
        }
    }
}
