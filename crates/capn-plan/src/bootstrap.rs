//! Progress of an instance's bootstrap data, as reported by the instance itself.
//!
//! A registered node proves nothing: kubeadm registers it before its last phases, and commands
//! after kubeadm run later still. The sources are the sentinel file of Cluster API's bootstrap
//! contract and the status that cloud-init reports for its own run.

mod forget;
mod probe;
mod probe_lines;

pub use forget::FORGET;
pub use probe::{FAILED, NO_SENTINEL, PROBE};
use probe_lines::probe_lines;

/// Result of running [`PROBE`] in an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The bootstrap data is still running.
    Running,
    /// It wrote the sentinel file, and nothing failed after that.
    Succeeded,
    /// It failed. Holds the last meaningful lines of output.
    Failed(Vec<String>),
    /// It ended without a failure and without the sentinel file. Holds its last lines.
    NoSentinel(Vec<String>),
    /// It ran before the instance was last started, and no trace of a failure is left. The sentinel
    /// file is in `/run`, so it is gone in any case.
    BeforeRestart,
    /// The instance has nothing that could report: no cloud-init, no shell, or no agent in a
    /// virtual machine.
    Unavailable,
    /// The program did not run this time.
    NotRun,
}

impl ProbeResult {
    /// Parses the exit code and the output of [`PROBE`].
    #[must_use]
    pub fn read(exit_code: i32, output: &str) -> Self {
        match exit_code {
            0 => Self::Succeeded,
            FAILED => Self::Failed(probe_lines(output.lines())),
            NO_SENTINEL => Self::NoSentinel(probe_lines(output.lines())),
            probe::RUNNING => Self::Running,
            probe::BEFORE_RESTART => Self::BeforeRestart,
            // The exit code is 126 or 127 if there is no shell.
            probe::UNAVAILABLE | 126 | 127 => Self::Unavailable,
            // The server could not enter the instance, or the program was killed.
            _ => Self::NotRun,
        }
    }
}

/// Other facts about the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineFacts {
    /// The bootstrap data comes from kubeadm, which writes the sentinel file on success.
    pub is_kubeadm: bool,
    /// The node has registered.
    pub is_registered: bool,
    /// An earlier probe saw the data fail.
    pub has_failed: bool,
}

/// Progress of the bootstrap data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is still running.
    Running,
    /// It succeeded, or it ended and promises no sentinel file.
    Finished,
    /// It failed and nothing retries it. Holds the last meaningful lines of output.
    Failed(Vec<String>),
    /// Only the node can tell, and it has not registered. Holds the reason.
    WaitingForNode(&'static str),
    /// Nothing changed.
    Unchanged,
}

impl Progress {
    /// Returns whether the data is done, so that nothing needs it any longer.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Finished | Self::Failed(_))
    }
}

/// The reason only the node can tell, for [`ProbeResult::Unavailable`].
const UNAVAILABLE: &str = "the instance cannot report the progress of its bootstrap data (it has no cloud-init, or a virtual machine has no agent): waiting for the node to register";
/// The reason only the node can tell, for [`ProbeResult::BeforeRestart`].
const BEFORE_RESTART: &str = "the instance was restarted after its bootstrap data began, and the data does not run again: waiting for the node to register; if it never does, delete the Machine";

/// Derives the progress of a machine from a probe result. A registered node decides only if the
/// instance cannot tell.
#[must_use]
pub fn progress(answer: ProbeResult, facts: MachineFacts) -> Progress {
    match answer {
        ProbeResult::Running => Progress::Running,
        ProbeResult::Succeeded => Progress::Finished,
        ProbeResult::Failed(lines) => Progress::Failed(lines),
        ProbeResult::NoSentinel(lines) if facts.is_kubeadm => Progress::Failed(lines),
        ProbeResult::NoSentinel(_) => Progress::Finished,
        // A failure is remembered even after its traces in the instance are gone.
        ProbeResult::BeforeRestart | ProbeResult::Unavailable if facts.has_failed => {
            Progress::Unchanged
        }
        ProbeResult::BeforeRestart if facts.is_registered || !facts.is_kubeadm => {
            Progress::Finished
        }
        ProbeResult::BeforeRestart => Progress::WaitingForNode(BEFORE_RESTART),
        ProbeResult::Unavailable if facts.is_registered => Progress::Finished,
        ProbeResult::Unavailable => Progress::WaitingForNode(UNAVAILABLE),
        ProbeResult::NotRun => Progress::Unchanged,
    }
}

/// Returns the message for a failure on the instance `name`.
#[must_use]
pub fn failure(lines: &[String], name: &str) -> String {
    let said = match lines {
        [] => "there is no output".to_owned(),
        lines => lines.join(" | "),
    };
    format!(
        "the bootstrap data of instance {name} failed: {said}; for the full output, run `incus exec {name} -- cat /var/log/cloud-init-output.log`; bootstrap data does not run again: fix the cause, then delete the Machine or the cluster"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_program_ended_is_read() {
        let cases = [
            (0, ProbeResult::Succeeded),
            (FAILED, ProbeResult::Failed(Vec::new())),
            (NO_SENTINEL, ProbeResult::NoSentinel(Vec::new())),
            (40, ProbeResult::Running),
            (44, ProbeResult::BeforeRestart),
            (42, ProbeResult::Unavailable),
            (126, ProbeResult::Unavailable),
            (127, ProbeResult::Unavailable),
            (1, ProbeResult::NotRun),
            (137, ProbeResult::NotRun),
        ];
        for (code, want) in cases {
            assert_eq!(ProbeResult::read(code, ""), want, "{code}");
        }
    }

    #[test]
    fn a_node_decides_only_if_the_instance_cannot_report() {
        let new = MachineFacts { is_kubeadm: true, ..MachineFacts::default() };
        let registered = MachineFacts { is_registered: true, ..new };
        let other = MachineFacts::default();
        let failed = MachineFacts { has_failed: true, ..registered };
        let lines = || vec!["x".to_owned()];
        let cases = [
            (ProbeResult::Running, registered, Progress::Running),
            (ProbeResult::Succeeded, new, Progress::Finished),
            (ProbeResult::Failed(lines()), registered, Progress::Failed(lines())),
            (ProbeResult::NoSentinel(lines()), registered, Progress::Failed(lines())),
            (ProbeResult::NoSentinel(lines()), other, Progress::Finished),
            (ProbeResult::BeforeRestart, registered, Progress::Finished),
            (ProbeResult::BeforeRestart, other, Progress::Finished),
            (ProbeResult::BeforeRestart, new, Progress::WaitingForNode(BEFORE_RESTART)),
            (ProbeResult::BeforeRestart, failed, Progress::Unchanged),
            (ProbeResult::Unavailable, registered, Progress::Finished),
            (ProbeResult::Unavailable, new, Progress::WaitingForNode(UNAVAILABLE)),
            (ProbeResult::Unavailable, failed, Progress::Unchanged),
            (ProbeResult::NotRun, registered, Progress::Unchanged),
            // An administrator fixed the node by hand and created the sentinel file.
            (ProbeResult::Succeeded, failed, Progress::Finished),
        ];
        for (answer, facts, want) in cases {
            assert_eq!(progress(answer.clone(), facts), want, "{answer:?} {facts:?}");
        }
    }

    #[test]
    fn the_message_of_a_failure_names_the_cause_and_the_next_command() {
        let message = failure(&["Port 6443 is in use".to_owned()], "demo-0");
        assert!(
            message.contains("Port 6443 is in use; for the full output, run `incus exec demo-0"),
            "{message}"
        );
    }
}
