//! Name lookups whose number is limited per group and in total.
//!
//! The system's resolver blocks a thread until the name server responds, which may take longer than
//! anyone waits. On the threads that a process shares, names of one tenant could stop everything
//! else. So each lookup has a thread of its own, and counts until that thread ends.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::limiter::KeyedLimiter;

/// Maximum number of lookups of this process at a time.
const ALL: usize = 64;
/// Maximum number of lookups of a group at a time.
const GROUP: usize = 4;
/// Time limit of a lookup for its caller, with the wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(ALL, GROUP, system));

type Resolve = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

struct Lookups {
    all: Arc<Semaphore>,
    groups: KeyedLimiter<String>,
    resolve: Resolve,
}

fn system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// Returns the addresses of a host. A group may have four lookups at a time, and the process 64.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] after 5 s; otherwise that of the system's resolver.
///
/// # Cancellation
///
/// Safe. A lookup that has begun still counts until it ends.
pub async fn lookup(host: &str, port: u16, group: &str) -> io::Result<Vec<SocketAddr>> {
    LOOKUPS.lookup(host, port, group).await
}

impl Lookups {
    fn new(all: usize, group: usize, resolve: Resolve) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), groups: KeyedLimiter::new(group), resolve }
    }

    async fn lookup(&self, host: &str, port: u16, group: &str) -> io::Result<Vec<SocketAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let late = || {
            let text = format!("the name {host} was not resolved within {} s", PATIENCE.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, text)
        };
        let found = async {
            let slot = self.groups.enter(group.to_owned()).await;
            // The semaphore is never closed.
            let place = Arc::clone(&self.all).acquire_owned().await.ok();
            let (answer, answered) = oneshot::channel();
            let (resolve, name) = (self.resolve, host.to_owned());
            std::thread::Builder::new().name("name lookup".to_owned()).spawn(move || {
                let found = resolve(&name, port);
                drop((slot, place));
                // The caller may have given up.
                drop(answer.send(found));
            })?;
            answered
                .await
                .map_err(|_| io::Error::other("the name lookup ended without a result"))?
        };
        tokio::time::timeout(PATIENCE, found).await.map_err(|_| late())?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::*;

    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MAY_END: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    /// Names that begin with `slow` are resolved when the test says so.
    fn scripted(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        if host.starts_with("slow") {
            let may_end = MAY_END.0.lock().unwrap();
            drop(MAY_END.1.wait_while(may_end, |may_end| !*may_end).unwrap());
        }
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        Ok(vec![SocketAddr::new(IpAddr::from([192, 0, 2, 1]), port)])
    }

    #[tokio::test(start_paused = true)]
    async fn slow_names_of_a_group_delay_no_other_group() {
        let lookups = Lookups::new(64, 2, scripted);
        let slow = (0..10).map(|n| {
            let lookups = &lookups;
            async move { lookups.lookup(&format!("slow{n}.example.org"), 1, "a").await }
        });
        for result in futures::future::join_all(slow).await {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        // They still count, although nobody waits for them.
        while RUNNING.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(RUNNING.load(Ordering::SeqCst), 2);
        assert!(lookups.lookup("fast.example.org", 1, "a").await.is_err());
        tokio::time::resume();
        let found = lookups.lookup("fast.example.org", 7, "b").await.unwrap();
        assert_eq!(found[0].to_string(), "192.0.2.1:7");
        *MAY_END.0.lock().unwrap() = true;
        MAY_END.1.notify_all();
        assert!(lookups.lookup("fast.example.org", 1, "a").await.is_ok());
    }

    #[tokio::test]
    async fn addresses_need_no_lookup() {
        for (host, expected) in [("10.0.0.1", "10.0.0.1:8443"), ("[fd42::1]", "[fd42::1]:8443")] {
            let found = lookup(host, 8443, "a").await.unwrap();
            assert_eq!(found[0].to_string(), expected);
        }
        assert_eq!(lookup("localhost", 1, "a").await.unwrap()[0].port(), 1);
    }
}
