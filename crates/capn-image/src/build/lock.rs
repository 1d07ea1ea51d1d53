//! The lock of the cache directory. It is held from the decision that something has to be built until
//! the image has its alias, so that concurrent commands build each image once.

use std::fs::{File, TryLockError};
use std::time::Duration;

use camino::Utf8Path;
use tokio::time::{Instant, sleep};

use super::{BuildError, Event, step::Progress, workspace::failed};

/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// How long to wait: several builds over a slow network.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Released when dropped, and by the kernel when the process ends.
pub(super) struct CacheLock {
    _file: File,
}

/// Waits until no other process builds in the cache directory, which is created if needed. Reports once that it
/// waits.
///
/// # Errors
///
/// [`BuildError::Busy`] after an hour; [`BuildError::NotOwned`], [`BuildError::File`].
pub(super) async fn acquire(
    cache: &Utf8Path,
    progress: &mut Progress<'_>,
) -> Result<CacheLock, BuildError> {
    crate::ownership::check(cache)?;
    std::fs::create_dir_all(cache).map_err(failed("make", cache))?;
    let path = cache.join("lock");
    // Not truncated: another process may hold it.
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    let (began, mut told) = (Instant::now(), false);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(CacheLock { _file: file }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
            Err(TryLockError::WouldBlock) if began.elapsed() > LONGEST => {
                return Err(BuildError::Busy { path: cache.to_owned() });
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            progress(Event::Notice {
                text: format!("waiting for another image build, which is using {cache}"),
            });
            told = true;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_build_in_the_same_directory_waits_for_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(directory.path()).unwrap();
        let first = acquire(cache, &mut |_| {}).await.unwrap();
        let mut events = Vec::new();
        let mut note = |event| events.push(event);
        {
            let mut second = Box::pin(acquire(cache, &mut note));
            tokio::select! {
                _ = &mut second => panic!("two builds run at once"),
                () = sleep(Duration::from_secs(60)) => drop(first),
            }
            second.await.unwrap();
        }
        assert_eq!(events.len(), 1, "{events:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_that_waits_for_an_hour_says_what_it_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(directory.path()).unwrap();
        let _first = acquire(cache, &mut |_| {}).await.unwrap();
        assert!(matches!(acquire(cache, &mut |_| {}).await, Err(BuildError::Busy { .. })));
    }
}
