//! What came out of trying the doors.

use serde::{Deserialize, Serialize};

use super::doors::{self, DOORS, Door};
use super::pod::PodName;

/// How a door was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoorState {
    /// The attempt went through.
    Open,
    /// It could not be told. Counts as a failure: nobody may take it for closed.
    Unknown,
    /// The host has nothing behind it.
    Absent,
    /// The attempt was refused.
    Closed,
}

impl std::fmt::Display for DoorState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Closed => "closed",
        })
    }
}

/// A door and how it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The door.
    #[serde(flatten)]
    pub door: Door,
    /// How it was found.
    pub result: DoorState,
    /// The kernel's answer, in words.
    pub detail: String,
}

/// How the node's ids relate to the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A range of host ids that other nodes have too.
    Shared,
    /// A range of its own.
    Isolated,
    /// The host's own ids.
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

/// What came out for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EscapeReport {
    /// Name of the instance.
    pub node: String,
    /// The pod in it that was tried, if not the node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// How its ids relate to the host's.
    pub mode: Mode,
    /// All doors, in the order of the table.
    pub doors: Vec<Tried>,
    /// What follows from the mode, and is no door.
    pub notes: Vec<String>,
}

impl EscapeReport {
    /// How many doors were found like this.
    pub fn count(&self, state: DoorState) -> usize {
        self.doors.iter().filter(|tried| tried.result == state).count()
    }

    /// Whether every door is closed, or has nothing behind it.
    pub fn holds(&self) -> bool {
        self.doors.iter().all(|tried| matches!(tried.result, DoorState::Closed | DoorState::Absent))
    }

    /// Names of the doors found like this.
    pub fn names(&self, state: DoorState) -> Vec<&'static str> {
        let found = self.doors.iter().filter(|tried| tried.result == state);
        found.map(|tried| tried.door.name).collect()
    }
}

/// One line of the program's output.
#[derive(Deserialize)]
struct Line {
    door: String,
    result: DoorState,
    detail: String,
}

/// Reads the program's output: one line of JSON for each door. Doors it does not speak of are
/// [`DoorState::Unknown`]; lines of doors that are not in the table are left out.
///
/// # Errors
///
/// The first line that is not what the program writes, by number.
pub(crate) fn parse(output: &str) -> Result<Vec<Tried>, (usize, serde_json::Error)> {
    let mut lines = Vec::new();
    for (number, text) in output.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line: Line = serde_json::from_str(text).map_err(|error| (number + 1, error))?;
        if doors::find(&line.door).is_none() {
            tracing::debug!(door = line.door, "a door that is not in the table");
        }
        lines.push(line);
    }
    let tried = DOORS.iter().map(|door| {
        let found = lines.iter().find(|line| line.door == door.name);
        let (result, detail) = match found {
            Some(line) => (line.result, line.detail.clone()),
            None => (DoorState::Unknown, "the program ended before it".to_owned()),
        };
        Tried { door: *door, result, detail }
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
            doors: parse(output).unwrap(),
            notes: Vec::new(),
        }
    }

    fn lines(state: impl Fn(&str) -> &'static str) -> String {
        DOORS
            .iter()
            .map(|door| {
                let (name, result) = (door.name, state(door.name));
                format!(r#"{{"door":"{name}","family":"f","result":"{result}","detail":"d"}}"#)
                    + "\n"
            })
            .collect()
    }

    #[test]
    fn a_node_holds_when_every_door_is_closed_or_absent() {
        let cases = [("closed", true), ("absent", true), ("open", false), ("unknown", false)];
        for (state, holds) in cases {
            let output = lines(|name| if name == "kexec" { state } else { "closed" });
            assert_eq!(report(&output).holds(), holds, "{state}");
        }
    }

    #[test]
    fn a_door_the_program_did_not_come_to_is_not_taken_for_closed() {
        let cut: String = lines(|_| "closed").lines().take(3).map(|l| format!("{l}\n")).collect();
        let report = report(&cut);
        assert_eq!(report.count(DoorState::Closed), 3);
        assert_eq!(report.count(DoorState::Unknown), DOORS.len() - 3);
        assert!(!report.holds());
    }

    #[test]
    fn output_that_is_not_the_program_s_is_an_error_with_its_line() {
        let output = format!("{}Traceback\n", lines(|_| "closed"));
        assert_eq!(parse(&output).unwrap_err().0, DOORS.len() + 1);
    }
}
