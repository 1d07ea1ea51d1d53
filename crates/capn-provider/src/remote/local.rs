//! For which namespaces the local socket of a server is used.

use std::{collections::BTreeSet, convert::Infallible, fmt, str::FromStr};

/// The namespace that `capn up` makes clusters in.
const USUAL: &str = "default";

/// The namespaces whose identities may name a socket (`unix://`). A socket is this process's own way to
/// a server, mostly as root: whoever may write Secrets in one of these namespaces may do on it what
/// this process may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalSockets {
    /// Every one: all who may write Secrets are trusted like whoever runs this process.
    Everywhere,
    /// These.
    In(BTreeSet<String>),
}

impl Default for LocalSockets {
    /// The namespace that clusters are made in when nothing else is asked for.
    fn default() -> Self {
        Self::In([USUAL.to_owned()].into())
    }
}

impl LocalSockets {
    /// The same, and one namespace more.
    #[must_use]
    pub fn and(mut self, namespace: &str) -> Self {
        if let Self::In(namespaces) = &mut self {
            namespaces.insert(namespace.to_owned());
        }
        self
    }

    /// Whether identities in a namespace may name a socket.
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

    /// Namespaces with commas between them; `*` stands for every one, and nothing for none.
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
    fn namespaces_are_named_with_commas() {
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
