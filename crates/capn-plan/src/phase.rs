//! Phase of an instance, derived from volatile keys that the server maintains.
//!
//! capn needs no keys of its own to continue after a crash: a server sets `volatile.apply_template`
//! when it has unpacked a new instance, and `volatile.last_state.power` when it has started it. If
//! neither is set and no operation is running, the creation of the instance was interrupted.

use incus_api::{Instance, StatusCode};

/// Phase of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstancePhase {
    /// Its creation was interrupted, unless an operation is still running.
    Unfinished,
    /// Created but never started.
    Fresh,
    /// It has run and is stopped.
    Stopped,
    /// It is running.
    Running,
    /// It is frozen.
    Frozen,
    /// It is changing from one state to another.
    Changing,
    /// The server cannot report its state, or reports an error.
    Broken,
}

/// Returns the phase of an instance.
pub fn of(instance: &Instance) -> InstancePhase {
    match instance.status_code {
        StatusCode::Running | StatusCode::Ready | StatusCode::Thawed => InstancePhase::Running,
        StatusCode::Frozen => InstancePhase::Frozen,
        StatusCode::Starting
        | StatusCode::Started
        | StatusCode::Stopping
        | StatusCode::Aborting
        | StatusCode::Freezing
        | StatusCode::Pending
        | StatusCode::Cancelling
        | StatusCode::OperationCreated => InstancePhase::Changing,
        StatusCode::Stopped => {
            if instance.config.contains_key("volatile.last_state.power") {
                InstancePhase::Stopped
            } else if instance.config.contains_key("volatile.apply_template") {
                InstancePhase::Fresh
            } else {
                InstancePhase::Unfinished
            }
        }
        StatusCode::Error
        | StatusCode::Failure
        | StatusCode::Success
        | StatusCode::Cancelled
        | StatusCode::Other(_) => InstancePhase::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_was_never_finished_is_told_from_one_that_was_never_started() {
        for (code, keys, phase) in [
            (StatusCode::Stopped, &[][..], InstancePhase::Unfinished),
            (StatusCode::Stopped, &["volatile.apply_template"], InstancePhase::Fresh),
            (StatusCode::Stopped, &["volatile.last_state.power"], InstancePhase::Stopped),
            (
                StatusCode::Stopped,
                &["volatile.apply_template", "volatile.last_state.power"],
                InstancePhase::Stopped,
            ),
            (StatusCode::Running, &[], InstancePhase::Running),
            (StatusCode::Frozen, &[], InstancePhase::Frozen),
            (StatusCode::Error, &[], InstancePhase::Broken),
        ] {
            let config = keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
            let instance = Instance { status_code: code, config, ..Instance::default() };
            assert_eq!(of(&instance), phase, "{code:?} {keys:?}");
        }
    }
}
