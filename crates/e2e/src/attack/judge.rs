//! What must hold while an attack runs and after it, measured from outside.

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
use super::client::Caller;
use super::stage::Stage;
use super::victim::{self, Victim};

/// The most memory of a process, in MiB.
const MEMORY: u64 = 256;
/// The longest answer of `/healthz`.
const HEALTH: Duration = Duration::from_secs(1);
/// The longest answer to a write of another tenant, and the longest until his cluster is reconciled.
const OTHERS: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(150);
/// How often `/healthz` is asked within its time.
const TRIES: usize = 5;
/// After which an answer is not waited for.
const LOST: Duration = Duration::from_secs(5);

/// Asks for health and watches over another tenant's cluster, on a thread of its own.
pub(crate) struct Judge {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// The worst that was seen.
#[derive(Debug, Default)]
struct Seen {
    health: Duration,
    written: Duration,
    reconciled: Duration,
    /// What was asked for without an answer.
    failed: Vec<String>,
    health_rounds: usize,
    canary_rounds: usize,
}

impl Judge {
    /// Begins to watch.
    pub(crate) fn begin(stage: &Stage) -> anyhow::Result<Self> {
        let canary = stage.caller("canary", &[])?;
        let plane = stage.anonymous()?;
        let probes: Vec<(&'static str, SocketAddr)> =
            stage.victims.iter().map(|victim| (victim.name, victim.address)).collect();
        for victim in &stage.victims {
            victim::forget_peak(victim.pid())?;
        }
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), CancellationToken::new());
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

    /// Waits until both were asked for at least once more, from now on.
    pub(crate) async fn once_more(&self) {
        let rounds = || {
            let seen = lock(&self.seen);
            (seen.health_rounds, seen.canary_rounds)
        };
        let (health, canary) = rounds();
        let waiting = async {
            // One that began before is not one of after.
            while rounds().0 < health + 2 || rounds().1 < canary + 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // What is too late is in what was seen.
        drop(timeout(LOST * 4, waiting).await);
    }

    /// What did not hold.
    pub(crate) fn end(mut self, victims: &mut [Victim], slower: u32) -> anyhow::Result<Verdict> {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the judge ended early"))?;
        }
        let seen = std::mem::take(&mut *lock(&self.seen));
        let mut broken = Vec::new();
        let mut memory = 0;
        for victim in victims {
            let name = victim.name;
            if let Some(status) = victim.ended()? {
                broken.push(format!("{name} ended ({status}): {}", victim.last_words()));
                continue;
            }
            let peak = victim::peak_mib(victim.pid()).unwrap_or_default();
            memory = memory.max(peak);
            if peak > MEMORY {
                broken.push(format!("{name} took {peak} MiB of memory, more than {MEMORY}"));
            }
        }
        for (what, measured, limit) in [
            ("/healthz was answered after", seen.health, HEALTH),
            ("a write of another tenant was answered after", seen.written, OTHERS),
            ("another tenant's cluster was reconciled after", seen.reconciled, OTHERS),
        ] {
            let limit = limit * slower;
            if measured > limit {
                broken.push(format!("{what} {measured:.1?}, later than {limit:?}"));
            }
        }
        broken.extend(seen.failed.into_iter().take(3));
        Ok(Verdict { broken, memory, health: seen.health })
    }
}

/// What an attack did to the processes.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What did not hold; nothing: all did.
    pub(crate) broken: Vec<String>,
    /// The most memory of a process, in MiB.
    pub(crate) memory: u64,
    /// The longest answer of `/healthz`.
    pub(crate) health: Duration,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch_health(
    seen: &Mutex<Seen>,
    stop: &CancellationToken,
    plane: &Caller,
    probes: &[(&'static str, SocketAddr)],
) {
    while !stop.is_cancelled() {
        for (name, address) in probes {
            let began = Instant::now();
            let ask = async || {
                // As a kubelet asks: a new connection each time, and nobody's.
                match *name {
                    "serve" => Ok(plane.again().get("/healthz").await?.granted().map(drop)?),
                    _ => plain_health(*address).await,
                }
            };
            // A connection of a stranger may have to make place for another's; then it is asked again.
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
        .with_context(|| format!("answered {:?}", String::from_utf8_lossy(&answer)))
}

async fn watch_canary(seen: &Mutex<Seen>, stop: &CancellationToken, caller: Caller) {
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
                Ok(Ok((written, reconciled))) => {
                    seen.written = seen.written.max(written);
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
