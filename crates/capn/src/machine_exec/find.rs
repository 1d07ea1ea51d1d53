//! Finds a machine by name. No I/O.

use std::fmt;

/// Maximum number of names in an error.
const TOLD: usize = 20;

/// A machine that can be selected.
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

/// Why a name does not select a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No machine has the name; the existing machines.
    None(Vec<String>),
    /// Several machines have it; each as `cluster NAME in namespace NAMESPACE`.
    Several(Vec<String>),
}

/// Finds the machine by the name of the Machine, its node or its instance.
///
/// # Errors
///
/// Returns an error if no machine or several machines have the name.
pub fn pick<'a>(candidates: &'a [Candidate], name: &str) -> Result<&'a Candidate, NameError> {
    let found: Vec<&Candidate> = candidates.iter().filter(|one| one.is(name)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(NameError::None(candidates.iter().map(|one| one.machine.clone()).collect())),
        several => Err(NameError::Several(
            several
                .iter()
                .map(|one| format!("cluster {} in namespace {}", one.cluster, one.namespace))
                .collect(),
        )),
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(names) if names.is_empty() => f.write_str("no machines exist"),
            Self::None(names) => {
                f.write_str("existing machines: ")?;
                list(f, names)
            }
            Self::Several(clusters) => {
                f.write_str(
                    "select a cluster (`--cluster NAME`) or a namespace (`-n NAMESPACE`): ",
                )?;
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
    fn a_machine_is_found_by_any_unambiguous_name() {
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
        assert_eq!(none, "existing machines: m1, m2, m2");
        assert_eq!(pick(&[], "m").unwrap_err().to_string(), "no machines exist");
    }

    #[test]
    fn the_list_of_names_in_an_error_is_bounded() {
        let all: Vec<_> = (0..1000).map(|n| candidate("a", &format!("m{n}"), None, "")).collect();
        let told = pick(&all, "x").unwrap_err().to_string();
        assert!(told.ends_with("m19 and 980 more"), "{told}");
    }
}
