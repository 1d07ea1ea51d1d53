//! Namespaces that may use the local socket of a server.

use std::{collections::BTreeSet, convert::Infallible, fmt, str::FromStr};

/// The namespace in which `capn up` creates clusters.
const USUAL: &str = "default";

/// The namespaces whose identities may use a socket (`unix://`). The connection has the rights of
/// this process, usually root: a user who can write Secrets in one of these namespaces gets these
/// rights on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalSockets {
    /// All namespaces: everyone who can write Secrets is trusted like the owner of this process.
    Everywhere,
    /// These namespaces.
    In(BTreeSet<String>),
}

impl Default for LocalSockets {
    /// Returns the namespace in which clusters are created by default.
    fn default() -> Self {
        Self::In([USUAL.to_owned()].into())
    }
}

impl LocalSockets {
    /// Adds a namespace.
    #[must_use]
    pub fn and(mut self, namespace: &str) -> Self {
        if let Self::In(namespaces) = &mut self {
            namespaces.insert(namespace.to_owned());
        }
        self
    }

    /// Returns whether identities in a namespace may use a socket.
    #[must_use]
    pub fn allow(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::In(namespaces) => namespaces.contains(namespace),
        }
    }
}

impl FromStr for LocalSockets {
    type Err = Infallible;

    /// Parses a comma-separated list of namespaces. `*` stands for all, and an empty text for none.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty()).peekable();
        Ok(match names.peek() {
            Some(&"*") => Self::Everywhere,
            _ => Self::In(names.map(str::to_owned).collect()),
        })
    }
}

impl fmt::Display for LocalSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("*"),
            Self::In(namespaces) => {
                let names: Vec<_> = namespaces.iter().map(String::as_str).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_separated_by_commas() {
        let read = |text: &str| text.parse::<LocalSockets>().unwrap_or_else(|never| match never {});
        for (text, allowed, others) in [
            ("default", &["default"][..], &["lab", ""][..]),
            ("lab, ci,", &["lab", "ci"], &["default"]),
            ("", &[], &["default", ""]),
            ("*", &["default", "lab"], &[]),
        ] {
            let sockets = read(text);
            assert!(allowed.iter().all(|namespace| sockets.allow(namespace)), "{text}");
            assert!(!others.iter().any(|namespace| sockets.allow(namespace)), "{text}");
            assert_eq!(read(&sockets.to_string()), sockets);
        }
        assert!(LocalSockets::default().allow("default"));
        assert!(!LocalSockets::default().allow("kube-system"));
        assert!(read("").and("lab").allow("lab"));
    }
}
