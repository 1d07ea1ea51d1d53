//! Names of instances.

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Maximum length of an instance name, in characters.
const MAX_LEN: usize = 63;

/// A name that Incus and LXD accept and that is a valid host name inside the instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(String);

/// Invalid instance name. Final: the object must be created with another name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// More than 63 characters.
    #[error("the instance name {name:?} has {len} characters; a host name has at most 63")]
    TooLong {
        /// The name.
        name: String,
        /// Its length in characters.
        len: usize,
    },
    /// It is not an RFC 1123 label.
    #[error(
        "the instance name {name:?} is not a valid host name: use only a-z, 0-9 and '-', and start and end with a letter or digit"
    )]
    NotALabel {
        /// The name.
        name: String,
    },
    /// It has only digits, which servers reject.
    #[error("the instance name {name:?} is a number, which servers reject")]
    Number {
        /// The name.
        name: String,
    },
}

impl NameError {
    /// Returns what the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => {
                "choose a shorter name for the cluster or for the object that creates the machines"
            }
            Self::NotALabel { .. } | Self::Number { .. } => {
                "choose a name such as \"demo\" or \"worker-1\""
            }
        }
    }
}

impl InstanceName {
    /// Validates a name.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the name is longer than 63 characters, not a lower-case RFC 1123 label, or
    /// a number.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let len = name.chars().count();
        if len > MAX_LEN {
            return Err(NameError::TooLong { name: name.to_owned(), len });
        }
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
        if !name.chars().all(inner) || !edge(name.chars().next()) || !edge(name.chars().last()) {
            return Err(NameError::NotALabel { name: name.to_owned() });
        }
        if name.chars().all(|c| c.is_ascii_digit()) {
            return Err(NameError::Number { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the instance name of a cluster's load balancer: the name of the LXCCluster, five hex
    /// digits of the SHA-256 of its namespace, and `lb`.
    ///
    /// # Errors
    ///
    /// See [`InstanceName::new`].
    pub fn load_balancer(cluster: &str, namespace: &str) -> Result<Self, NameError> {
        let hash = hex::encode(Sha256::digest(namespace.as_bytes()));
        Self::new(&capn_api::load_balancer_instance_name(cluster, &hash))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for InstanceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_are_instance_names() {
        for good in ["demo", "demo-md-0-x7k2p", "1abc", "a", &"a".repeat(63)] {
            assert!(InstanceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a_b", "A", "ä", "12345", &"a".repeat(64)] {
            assert!(InstanceName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_load_balancer_is_named_after_cluster_and_hash_of_namespace() {
        let name = InstanceName::load_balancer("demo", "default").unwrap();
        assert_eq!(name.as_str(), "demo-37a8e-lb");
        let long = "c".repeat(60);
        assert!(matches!(
            InstanceName::load_balancer(&long, "default"),
            Err(NameError::TooLong { len: 69, .. })
        ));
    }
}
