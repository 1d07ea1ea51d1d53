//! How far an instance has come, from marks that the server itself keeps.
//!
//! No mark of ours is needed to continue after a crash: a server sets `volatile.apply_template`
//! when it has finished unpacking a new instance, and `volatile.last_state.power` when it has
//! started it. An instance with neither, on which no operation works, was interrupted while it
//! was made.

use incus_api::{Instance, StatusCode};

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The making of it was interrupted, unless an operation still works on it.
    Unfinished,
    /// Complete, and never started.
    Fresh,
    /// It ran and does not run now.
    Stopped,
    /// It runs.
    Running,
    /// It runs and is held.
    Frozen,
    /// It is on its way from one state to another.
    Changing,
    /// The server cannot tell, or says it failed.
    Broken,
}

/// Reads the marks of an instance.
pub fn of(instance: &Instance) -> Life {
    match instance.status_code {
        StatusCode::Running | StatusCode::Ready | StatusCode::Thawed => Life::Running,
        StatusCode::Frozen => Life::Frozen,
        StatusCode::Starting
        | StatusCode::Started
        | StatusCode::Stopping
        | StatusCode::Aborting
        | StatusCode::Freezing
        | StatusCode::Pending
        | StatusCode::Cancelling
        | StatusCode::OperationCreated => Life::Changing,
        StatusCode::Stopped => {
            if instance.config.contains_key("volatile.last_state.power") {
                Life::Stopped
            } else if instance.config.contains_key("volatile.apply_template") {
                Life::Fresh
            } else {
                Life::Unfinished
            }
        }
        StatusCode::Error
        | StatusCode::Failure
        | StatusCode::Success
        | StatusCode::Cancelled
        | StatusCode::Other(_) => Life::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_was_never_finished_is_told_from_one_that_was_never_started() {
        for (code, keys, life) in [
            (StatusCode::Stopped, &[][..], Life::Unfinished),
            (StatusCode::Stopped, &["volatile.apply_template"], Life::Fresh),
            (StatusCode::Stopped, &["volatile.last_state.power"], Life::Stopped),
            (
                StatusCode::Stopped,
                &["volatile.apply_template", "volatile.last_state.power"],
                Life::Stopped,
            ),
            (StatusCode::Running, &[], Life::Running),
            (StatusCode::Frozen, &[], Life::Frozen),
            (StatusCode::Error, &[], Life::Broken),
        ] {
            let config = keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
            let instance = Instance { status_code: code, config, ..Instance::default() };
            assert_eq!(of(&instance), life, "{code:?} {keys:?}");
        }
    }
}
