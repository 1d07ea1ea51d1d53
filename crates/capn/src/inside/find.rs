//! Which machine a name means. No I/O.

use std::fmt;

/// How many names are told when none fits.
const TOLD: usize = 20;

/// An instance that can be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace of its cluster in the plane.
    pub namespace: String,
    /// Its cluster.
    pub cluster: String,
    /// Name of the Machine.
    pub machine: String,
    /// Name of the node, once it has joined.
    pub node: Option<String>,
    /// Name of the instance on the server.
    pub instance: String,
}

impl Candidate {
    fn is(&self, name: &str) -> bool {
        self.machine == name || self.instance == name || self.node.as_deref() == Some(name)
    }
}

/// Why a name means no machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// None has the name; those that are there.
    None(Vec<String>),
    /// Several have it, each as `cluster NAME in namespace NAMESPACE`.
    Several(Vec<String>),
}

/// The one machine of a name: that of the Machine, of its node or of its instance.
///
/// # Errors
///
/// When there is none, or more than one.
pub fn pick<'a>(candidates: &'a [Candidate], name: &str) -> Result<&'a Candidate, Unclear> {
    let found: Vec<&Candidate> = candidates.iter().filter(|one| one.is(name)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Unclear::None(candidates.iter().map(|one| one.machine.clone()).collect())),
        several => Err(Unclear::Several(
            several
                .iter()
                .map(|one| format!("cluster {} in namespace {}", one.cluster, one.namespace))
                .collect(),
        )),
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(names) if names.is_empty() => f.write_str("there are no machines"),
            Self::None(names) => {
                f.write_str("machines that are there: ")?;
                list(f, names)
            }
            Self::Several(clusters) => {
                f.write_str("name its cluster, `--cluster NAME`, or namespace, `-n NAMESPACE`: ")?;
                list(f, clusters)
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    f.write_str(&names.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", "))?;
    match names.len().saturating_sub(TOLD) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(namespace: &str, machine: &str, node: Option<&str>, instance: &str) -> Candidate {
        Candidate {
            namespace: namespace.into(),
            cluster: "demo".into(),
            machine: machine.into(),
            node: node.map(str::to_owned),
            instance: instance.into(),
        }
    }

    #[test]
    fn a_machine_is_found_by_any_of_its_names_if_only_one_has_it() {
        let all = [
            candidate("a", "m1", Some("n1"), "i1"),
            candidate("a", "m2", None, "m2"),
            candidate("b", "m2", Some("m2"), "m2"),
        ];
        for (name, found) in [("m1", 0), ("n1", 0), ("i1", 0)] {
            assert_eq!(pick(&all, name), Ok(&all[found]), "{name}");
        }
        let several = pick(&all, "m2").unwrap_err().to_string();
        assert!(several.ends_with("cluster demo in namespace a, cluster demo in namespace b"));
        let none = pick(&all, "m").unwrap_err().to_string();
        assert_eq!(none, "machines that are there: m1, m2, m2");
        assert_eq!(pick(&[], "m").unwrap_err().to_string(), "there are no machines");
    }

    #[test]
    fn thousands_of_names_are_not_told() {
        let all: Vec<_> = (0..1000).map(|n| candidate("a", &format!("m{n}"), None, "")).collect();
        let told = pick(&all, "x").unwrap_err().to_string();
        assert!(told.ends_with("m19 and 980 more"), "{told}");
    }
}
