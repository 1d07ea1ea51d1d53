//! Results of the escape test.

use serde::{Deserialize, Serialize};

use super::pod::PodName;
use super::vectors::{self, VECTORS, Vector};

/// State of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorState {
    /// The attempt succeeded.
    Open,
    /// The result is unknown. Counts as a failure, never as closed.
    Unknown,
    /// The host does not have the target of the vector.
    Absent,
    /// The attempt was denied.
    Closed,
}

impl std::fmt::Display for VectorState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Closed => "closed",
        })
    }
}

/// A vector and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VectorResult {
    /// The vector.
    #[serde(flatten)]
    pub vector: Vector,
    /// State of the vector.
    pub result: VectorState,
    /// Details, such as the error of the kernel.
    pub detail: String,
}

/// Isolation mode of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Host IDs that are shared with other nodes.
    Shared,
    /// Host IDs of its own.
    Isolated,
    /// The IDs of the host itself.
    Privileged,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Isolated => "isolated",
            Self::Privileged => "privileged",
        })
    }
}

/// Results for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EscapeReport {
    /// Name of the instance.
    pub node: String,
    /// The pod in the node that was tested, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// Isolation mode of the node.
    pub mode: Mode,
    /// Results of all vectors, in the order of the table.
    #[serde(rename = "doors")]
    pub vectors: Vec<VectorResult>,
    /// Consequences of the isolation mode.
    pub notes: Vec<String>,
}

impl EscapeReport {
    /// Returns the number of vectors in this state.
    pub fn count(&self, state: VectorState) -> usize {
        self.vectors.iter().filter(|tried| tried.result == state).count()
    }

    /// Returns whether every vector is closed or absent.
    pub fn holds(&self) -> bool {
        self.vectors
            .iter()
            .all(|tried| matches!(tried.result, VectorState::Closed | VectorState::Absent))
    }

    /// Names of the vectors in this state.
    pub fn names(&self, state: VectorState) -> Vec<&'static str> {
        let found = self.vectors.iter().filter(|tried| tried.result == state);
        found.map(|tried| tried.vector.name).collect()
    }
}

/// One line of probe output.
#[derive(Deserialize)]
struct ProbeLine {
    vector: String,
    result: VectorState,
    detail: String,
}

/// Parses the probe output: one line of JSON per vector. Missing vectors are
/// [`VectorState::Unknown`]; vectors that are not in the table are ignored.
///
/// # Errors
///
/// Returns the number and the error of the first malformed line.
pub(crate) fn parse(output: &str) -> Result<Vec<VectorResult>, (usize, serde_json::Error)> {
    let mut lines = Vec::new();
    for (number, text) in output.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line: ProbeLine = serde_json::from_str(text).map_err(|error| (number + 1, error))?;
        if vectors::find(&line.vector).is_none() {
            tracing::debug!(vector = line.vector, "the probe reported an unknown vector");
        }
        lines.push(line);
    }
    let tried = VECTORS.iter().map(|vector| {
        let found = lines.iter().find(|line| line.vector == vector.name);
        let (result, detail) = match found {
            Some(line) => (line.result, line.detail.clone()),
            None => (VectorState::Unknown, "the probes ended before this vector".to_owned()),
        };
        VectorResult { vector: *vector, result, detail }
    });
    Ok(tried.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(output: &str) -> EscapeReport {
        EscapeReport {
            node: "n".into(),
            pod: None,
            mode: Mode::Shared,
            vectors: parse(output).unwrap(),
            notes: Vec::new(),
        }
    }

    fn lines(state: impl Fn(&str) -> &'static str) -> String {
        VECTORS
            .iter()
            .map(|vector| {
                let (name, result) = (vector.name, state(vector.name));
                format!(r#"{{"vector":"{name}","family":"f","result":"{result}","detail":"d"}}"#)
                    + "\n"
            })
            .collect()
    }

    #[test]
    fn a_node_holds_when_every_vector_is_closed_or_absent() {
        let cases = [("closed", true), ("absent", true), ("open", false), ("unknown", false)];
        for (state, holds) in cases {
            let output = lines(|name| if name == "kexec" { state } else { "closed" });
            assert_eq!(report(&output).holds(), holds, "{state}");
        }
    }

    #[test]
    fn a_vector_that_was_not_tried_is_unknown() {
        let cut: String = lines(|_| "closed").lines().take(3).map(|l| format!("{l}\n")).collect();
        let report = report(&cut);
        assert_eq!(report.count(VectorState::Closed), 3);
        assert_eq!(report.count(VectorState::Unknown), VECTORS.len() - 3);
        assert!(!report.holds());
    }

    #[test]
    fn malformed_probe_output_is_an_error_with_its_line() {
        let output = format!("{}Traceback\n", lines(|_| "closed"));
        assert_eq!(parse(&output).unwrap_err().0, VECTORS.len() + 1);
    }
}
