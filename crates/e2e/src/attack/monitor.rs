//! Checks during and after an attack, measured from outside.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::canary::Canary;
use super::client::ApiClient;
use super::process::{self, CapnProcess};
use super::test_env::TestEnv;

/// Memory limit of a process, in MiB.
const MEMORY: u64 = 256;
/// Time limit of `/healthz`.
const HEALTH: Duration = Duration::from_secs(1);
/// Time limit of another tenant's write, and of the reconcile of their cluster.
const OTHERS: Duration = Duration::from_secs(2);
/// Pause between measurements.
const PAUSE: Duration = Duration::from_millis(150);
/// Number of attempts of `/healthz` within its time limit.
const TRIES: usize = 5;
/// Requests are given up after this time.
const LOST: Duration = Duration::from_secs(5);

/// Measures health and another tenant's cluster on a separate thread.
pub(crate) struct Monitor {
    seen: Arc<Mutex<Worst>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// The worst measurements.
#[derive(Debug, Default)]
struct Worst {
    health: Duration,
    page: Duration,
    reconciled: Duration,
    /// Requests without a response.
    failed: Vec<String>,
    health_rounds: usize,
    canary_rounds: usize,
}

impl Monitor {
    /// Starts measuring.
    pub(crate) fn begin(env: &TestEnv) -> anyhow::Result<Self> {
        let canary = env.caller("canary", &[])?;
        let plane = env.anonymous()?;
        let probes: Vec<(&'static str, SocketAddr)> =
            env.processes.iter().map(|process| (process.name, process.address)).collect();
        for process in &env.processes {
            process::forget_peak(process.pid())?;
        }
        let (seen, stop) = (Arc::new(Mutex::new(Worst::default())), CancellationToken::new());
        let (shared, stopped) = (Arc::clone(&seen), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("judge".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::join!(
                    watch_health(&shared, &stopped, &plane, &probes),
                    watch_canary(&shared, &stopped, canary),
                );
            });
        })?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// Waits until both have been measured at least once more from now on.
    pub(crate) async fn once_more(&self) {
        let rounds = || {
            let seen = lock(&self.seen);
            (seen.health_rounds, seen.canary_rounds)
        };
        let (health, canary) = rounds();
        let waiting = async {
            // A measurement that started earlier does not count.
            while rounds().0 < health + 2 || rounds().1 < canary + 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Late responses are part of the measurements.
        drop(timeout(LOST * 4, waiting).await);
    }

    /// The failed checks.
    pub(crate) fn end(
        mut self,
        processes: &mut [CapnProcess],
        slower: u32,
    ) -> anyhow::Result<Impact> {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the monitor stopped early"))?;
        }
        let seen = std::mem::take(&mut *lock(&self.seen));
        let mut broken = Vec::new();
        let mut memory = 0;
        for process in processes {
            let name = process.name;
            if let Some(status) = process.ended()? {
                broken.push(format!("{name} ended ({status}): {}", process.last_words()));
                continue;
            }
            let peak = process::peak_mib(process.pid()).unwrap_or_default();
            memory = memory.max(peak);
            if peak > MEMORY {
                broken.push(format!("{name} took {peak} MiB of memory, more than {MEMORY}"));
            }
        }
        for (what, measured, limit) in [
            ("/healthz was answered after", seen.health, HEALTH),
            ("a write of another tenant was answered after", seen.page, OTHERS),
            ("another tenant's cluster was reconciled after", seen.reconciled, OTHERS),
        ] {
            let limit = limit * slower;
            if measured > limit {
                broken.push(format!("{what} {measured:.1?}, later than {limit:?}"));
            }
        }
        broken.extend(seen.failed.into_iter().take(3));
        Ok(Impact { broken, memory, health: seen.health })
    }
}

/// Impact of an attack on the processes.
#[derive(Debug)]
pub(crate) struct Impact {
    /// Failed checks; empty if none failed.
    pub(crate) broken: Vec<String>,
    /// Peak memory of a process, in MiB.
    pub(crate) memory: u64,
    /// Longest response time of `/healthz`.
    pub(crate) health: Duration,
}

fn lock(seen: &Mutex<Worst>) -> MutexGuard<'_, Worst> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch_health(
    seen: &Mutex<Worst>,
    stop: &CancellationToken,
    plane: &ApiClient,
    probes: &[(&'static str, SocketAddr)],
) {
    while !stop.is_cancelled() {
        for (name, address) in probes {
            let began = Instant::now();
            let ask = async || {
                // Like a kubelet: a new, unauthenticated connection each time.
                match *name {
                    "serve" => Ok(plane.again().get("/healthz").await?.granted().map(drop)?),
                    _ => plain_health(*address).await,
                }
            };
            // An unauthenticated connection may be closed in favour of another one; then try again.
            let asked = async {
                let mut answer = ask().await;
                for _ in 1..TRIES {
                    if answer.is_ok() {
                        break;
                    }
                    answer = ask().await;
                }
                answer
            };
            let answer = timeout(LOST, asked).await;
            let took = began.elapsed();
            let mut seen = lock(seen);
            seen.health = seen.health.max(took);
            match answer {
                Ok(Ok(())) => {}
                Ok(Err(error)) => seen.failed.push(format!("/healthz of {name}: {error:#}")),
                Err(_) => seen.failed.push(format!("/healthz of {name} is not answered")),
            }
            seen.health_rounds += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A probe over plain HTTP.
async fn plain_health(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    answer
        .starts_with(b"HTTP/1.1 200")
        .then_some(())
        .with_context(|| format!("responded {:?}", String::from_utf8_lossy(&answer)))
}

async fn watch_canary(seen: &Mutex<Worst>, stop: &CancellationToken, caller: ApiClient) {
    let mut canary = match Canary::hatch(caller).await {
        Ok(canary) => canary,
        Err(error) => {
            lock(seen).failed.push(format!("the other tenant: {error:#}"));
            return;
        }
    };
    while !stop.is_cancelled() {
        let sung = timeout(LOST * 3, canary.sing()).await;
        {
            let mut seen = lock(seen);
            match sung {
                Ok(Ok((page, reconciled))) => {
                    seen.page = seen.page.max(page);
                    seen.reconciled = seen.reconciled.max(reconciled);
                }
                Ok(Err(error)) => seen.failed.push(format!("the other tenant: {error:#}")),
                Err(_) => seen.failed.push("the other tenant is not answered".to_owned()),
            }
            seen.canary_rounds += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
