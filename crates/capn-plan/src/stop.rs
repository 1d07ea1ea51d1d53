//! The shutdown deadline of an instance that is being deleted.

use std::time::Duration;

/// Default deadline.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Parses a deadline: `45s`, `2m`, `1m30s`, or seconds (`45`). `0` stops the instance by force at
/// once. `None` if the text is invalid.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let (minutes, rest) = match text.split_once('m') {
        Some((minutes, rest)) => (minutes.parse::<u32>().ok()?, rest),
        None => (0, text),
    };
    let seconds = match (rest, minutes) {
        ("", _) if text.ends_with('m') => 0,
        (rest, _) => rest.strip_suffix('s')?.parse::<u32>().ok()?,
    };
    Some(Duration::from_secs(u64::from(minutes) * 60 + u64::from(seconds)))
}

/// Returns the remaining time, `since` after the deletion was requested. `None` if the whole
/// cluster is being deleted, in which case a clean shutdown has no benefit.
pub fn left(deadline: Duration, since: Duration, with_cluster: bool) -> Option<Duration> {
    if with_cluster {
        return None;
    }
    deadline.checked_sub(since).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("45", Some(45)),
            ("45s", Some(45)),
            (" 2m ", Some(120)),
            ("1m30s", Some(90)),
            ("", None),
            ("m", None),
            ("s", None),
            ("-1s", None),
            ("1h", None),
            ("1m30", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn the_time_counts_from_the_deletion_and_a_whole_cluster_gets_none() {
        let seconds = Duration::from_secs;
        assert_eq!(left(seconds(30), seconds(12), false), Some(seconds(18)));
        assert_eq!(left(seconds(30), seconds(30), false), None);
        assert_eq!(left(seconds(30), seconds(99), false), None);
        assert_eq!(left(seconds(0), seconds(0), false), None);
        assert_eq!(left(seconds(30), seconds(0), true), None);
    }
}
