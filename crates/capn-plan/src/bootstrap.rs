//! How far the bootstrap data of an instance has come, as the instance itself tells.
//!
//! A node that has registered is no proof: kubeadm registers it before its last phases, and the
//! commands after kubeadm come later still. What counts is the sentinel file of Cluster API's
//! bootstrap contract together with what cloud-init says of its own run.

mod forget;
mod look;
mod telling;

pub use forget::FORGET;
pub use look::{FAILED, LOOK, QUIET};
use telling::telling;

/// What [`LOOK`] found in an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The data is at work.
    Running,
    /// It wrote the sentinel file, and nothing after it failed.
    Succeeded,
    /// It failed; the last lines that say something.
    Failed(Vec<String>),
    /// It ended without a failure and without the sentinel file; its last lines.
    Quiet(Vec<String>),
    /// It ran before the instance was last started, and left no word of a failure. The sentinel
    /// file lives in `/run`, so it is gone by then in any case.
    Earlier,
    /// The instance has nothing that could tell: no cloud-init, no shell, no agent of a virtual
    /// machine.
    Mute,
    /// The program did not run this time.
    Unasked,
}

impl Answer {
    /// Reads how [`LOOK`] ended and what it printed.
    #[must_use]
    pub fn read(exit_code: i32, output: &str) -> Self {
        match exit_code {
            0 => Self::Succeeded,
            FAILED => Self::Failed(telling(output.lines())),
            QUIET => Self::Quiet(telling(output.lines())),
            look::RUNNING => Self::Running,
            look::EARLIER => Self::Earlier,
            // 126 and 127 without a shell.
            look::MUTE | 126 | 127 => Self::Mute,
            // From the server, which could not enter the instance, or killed.
            _ => Self::Unasked,
        }
    }
}

/// What else is known of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its data is kubeadm's, which writes the sentinel file when kubeadm succeeded.
    pub is_kubeadm: bool,
    /// Its node has registered.
    pub is_registered: bool,
    /// Its data was seen to fail.
    pub has_failed: bool,
}

/// How the bootstrap data fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is at work.
    Running,
    /// It succeeded, or it ended and promises nothing.
    Ended,
    /// It failed, and nothing tries again; the last lines that say something.
    Failed(Vec<String>),
    /// Only the node can tell, and it has not registered; why only the node can.
    Awaited(&'static str),
    /// There is nothing new to say.
    Untold,
}

impl Progress {
    /// Whether the data has done what it will do, so that nothing needs it any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Ended | Self::Failed(_))
    }
}

/// Why only the node of a machine can tell, for [`Answer::Mute`].
const MUTE: &str = "the instance cannot be asked how its bootstrap data fares (it has no cloud-init, or a virtual machine has no agent): the node tells when it registers";
/// The same for [`Answer::Earlier`].
const EARLIER: &str = "the instance was started again after its bootstrap data began, and the data does not run again: the node tells when it registers; if it never does, delete the Machine";

/// What an answer means for a machine. A node that has registered decides only where the instance
/// cannot tell.
#[must_use]
pub fn progress(answer: Answer, facts: Facts) -> Progress {
    match answer {
        Answer::Running => Progress::Running,
        Answer::Succeeded => Progress::Ended,
        Answer::Failed(lines) => Progress::Failed(lines),
        Answer::Quiet(lines) if facts.is_kubeadm => Progress::Failed(lines),
        Answer::Quiet(_) => Progress::Ended,
        // A failure that was seen outlives the traces it left in the instance.
        Answer::Earlier | Answer::Mute if facts.has_failed => Progress::Untold,
        Answer::Earlier if facts.is_registered || !facts.is_kubeadm => Progress::Ended,
        Answer::Earlier => Progress::Awaited(EARLIER),
        Answer::Mute if facts.is_registered => Progress::Ended,
        Answer::Mute => Progress::Awaited(MUTE),
        Answer::Unasked => Progress::Untold,
    }
}

/// The message of a failure on the instance `name`.
#[must_use]
pub fn failure(lines: &[String], name: &str) -> String {
    let said = match lines {
        [] => "it left no output".to_owned(),
        lines => lines.join(" | "),
    };
    format!(
        "the bootstrap data of instance {name} failed: {said}; all of it: `incus exec {name} -- cat /var/log/cloud-init-output.log`; it does not run again by itself: delete the Machine or the cluster once the cause is gone"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_program_ended_is_read() {
        let cases = [
            (0, Answer::Succeeded),
            (FAILED, Answer::Failed(Vec::new())),
            (QUIET, Answer::Quiet(Vec::new())),
            (40, Answer::Running),
            (44, Answer::Earlier),
            (42, Answer::Mute),
            (126, Answer::Mute),
            (127, Answer::Mute),
            (1, Answer::Unasked),
            (137, Answer::Unasked),
        ];
        for (code, want) in cases {
            assert_eq!(Answer::read(code, ""), want, "{code}");
        }
    }

    #[test]
    fn a_node_decides_only_where_the_instance_cannot_tell() {
        let new = Facts { is_kubeadm: true, ..Facts::default() };
        let registered = Facts { is_registered: true, ..new };
        let other = Facts::default();
        let failed = Facts { has_failed: true, ..registered };
        let lines = || vec!["x".to_owned()];
        let cases = [
            (Answer::Running, registered, Progress::Running),
            (Answer::Succeeded, new, Progress::Ended),
            (Answer::Failed(lines()), registered, Progress::Failed(lines())),
            (Answer::Quiet(lines()), registered, Progress::Failed(lines())),
            (Answer::Quiet(lines()), other, Progress::Ended),
            (Answer::Earlier, registered, Progress::Ended),
            (Answer::Earlier, other, Progress::Ended),
            (Answer::Earlier, new, Progress::Awaited(EARLIER)),
            (Answer::Earlier, failed, Progress::Untold),
            (Answer::Mute, registered, Progress::Ended),
            (Answer::Mute, new, Progress::Awaited(MUTE)),
            (Answer::Mute, failed, Progress::Untold),
            (Answer::Unasked, registered, Progress::Untold),
            // Somebody put it right by hand and says so with the sentinel file.
            (Answer::Succeeded, failed, Progress::Ended),
        ];
        for (answer, facts, want) in cases {
            assert_eq!(progress(answer.clone(), facts), want, "{answer:?} {facts:?}");
        }
    }

    #[test]
    fn the_message_of_a_failure_names_the_cause_and_the_next_command() {
        let message = failure(&["Port 6443 is in use".to_owned()], "demo-0");
        assert!(
            message.contains("Port 6443 is in use; all of it: `incus exec demo-0"),
            "{message}"
        );
    }
}
