//! Commands that a message suggests.

/// Subcommands that act on the objects of a namespace.
const NAMESPACED: [&str; 17] = [
    "create",
    "delete",
    "describe",
    "etcd",
    "exec",
    "get",
    "identity",
    "kubeconfig",
    "logs",
    "pause",
    "repair",
    "resume",
    "scale",
    "start",
    "stop",
    "up",
    "upgrade",
];

/// Adds `-n NAMESPACE` to each `` `capn …` `` of a text that lacks it: without it, the command would
/// act on the cluster of that name in the namespace `default`.
pub(crate) fn qualified(text: &str, namespace: &str) -> String {
    if namespace == "default" {
        return text.to_owned();
    }
    // Every second part is in backticks.
    let parts = text.split('`').enumerate().map(|(place, part)| match place % 2 {
        1 => command(part, namespace),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

fn command(text: &str, namespace: &str) -> String {
    let mut words = text.split(' ');
    let is_capn = words.next() == Some("capn");
    let is_namespaced = words.next().is_some_and(|verb| NAMESPACED.contains(&verb));
    // What follows belongs to the command inside a node.
    let (options, inner) = text.split_at(text.find(" -- ").unwrap_or(text.len()));
    let has_one = options.split(' ').any(|word| ["-n", "--namespace", "--help"].contains(&word));
    if !is_capn || !is_namespaced || has_one {
        return text.to_owned();
    }
    format!("{options} -n {namespace}{inner}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_commands_name_the_namespace() {
        for (text, expected) in [
            ("see `capn describe cluster a`", "see `capn describe cluster a -n lab`"),
            ("`capn stop a`, or `capn start a`", "`capn stop a -n lab`, or `capn start a -n lab`"),
            ("`capn exec a -- tail -n 5`", "`capn exec a -n lab -- tail -n 5`"),
            ("`capn identity delete a`", "`capn identity delete a -n lab`"),
            ("`capn delete cluster a -n x --force`", "`capn delete cluster a -n x --force`"),
            ("`capn describe --help`", "`capn describe --help`"),
            ("`capn doctor`; `incus list`; `a`", "`capn doctor`; `incus list`; `a`"),
            ("one ` only capn start a", "one ` only capn start a"),
        ] {
            assert_eq!(qualified(text, "lab"), expected);
            assert_eq!(qualified(text, "default"), text);
        }
    }
}
