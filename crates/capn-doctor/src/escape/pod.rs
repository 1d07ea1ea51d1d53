//! Pods as targets of the escape test.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// Runs the program on standard input in a container of a pod.
const LAUNCHER: &str = include_str!("pod.py");
/// Exit code when no container of the pod is running.
pub(super) const NO_POD: i32 = 66;

/// Namespace and name of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    namespace: String,
    name: String,
}

impl PodName {
    /// Returns the command for the node, which reads the program from standard input.
    pub(super) fn command(&self, targets: &str) -> [String; 7] {
        ["python3", "-I", "-c", LAUNCHER, targets, &self.namespace, &self.name].map(str::to_owned)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for PodName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns the description of the target: a node, or a pod in it.
pub fn subject(node: &str, pod: Option<&PodName>) -> String {
    match pod {
        Some(pod) => format!("pod `{pod}` in `{node}`"),
        None => format!("`{node}`"),
    }
}

/// The text is not the name of a pod.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a pod in the form NAMESPACE/NAME (example: default/web-0)")]
pub struct NotAPod(String);

impl FromStr for PodName {
    type Err = NotAPod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        };
        match text.split_once('/') {
            Some((namespace, name)) if allowed(namespace) && allowed(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(NotAPod(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_by_its_namespace_and_name() {
        let pod: PodName = "default/web-0.a".parse().unwrap();
        assert_eq!(pod.to_string(), "default/web-0.a");
        assert_eq!(pod.command("{}")[4..], ["{}", "default", "web-0.a"]);
        for text in ["web-0", "/web", "default/", "a/b/c", "default/-x;y", "Default/x"] {
            assert!(text.parse::<PodName>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_launcher_uses_the_same_exit_code() {
        assert!(LAUNCHER.contains(&format!("NO_POD, NO_WAY = {NO_POD}, ")));
    }
}
