//! Attacked processes, observed from outside.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

/// Time limit for the start of a process.
const START: Duration = Duration::from_secs(60);

/// A process of capn, which is stopped on drop.
pub(crate) struct CapnProcess {
    /// `serve` or `manager`.
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
    /// Address that serves `/healthz`.
    pub(crate) address: SocketAddr,
}

impl CapnProcess {
    /// Starts `capn ARGUMENTS`, with the open file limit of a shell and a memory limit that
    /// protects the machine.
    pub(crate) fn start(
        name: &'static str,
        capn: &Path,
        arguments: &[String],
        dir: &Path,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = std::fs::File::create(&log)?;
        let child = Command::new("sh")
            .arg("-c")
            .arg("ulimit -Sn 1024; ulimit -v 6000000; exec \"$@\"")
            .arg("sh")
            .arg(capn)
            .args(arguments)
            .env("HOME", dir)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", capn.display()))?;
        Ok(Self { name, child, log, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Exit status, if it has exited.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }

    /// Its complete log.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        let text: String = lines.into_iter().rev().collect::<Vec<_>>().join(" | ");
        text.chars().filter(|c| !c.is_control()).take(400).collect()
    }

    /// Waits until it listens on its address and has written its ready file.
    pub(crate) async fn ready(&mut self, file: Option<&Path>) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while tokio::net::TcpStream::connect(self.address).await.is_err()
            || file.is_some_and(|file| !file.exists())
        {
            if let Some(status) = self.ended()? {
                bail!("{} exited while starting ({status}): {}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!("{} does not listen after {START:?}: {}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for CapnProcess {
    fn drop(&mut self) {
        // It may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Resets the peak memory counter.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("cannot reset the peak memory of {pid}"))
}

/// Peak resident memory since then, in MiB; `None` if it has exited.
pub(crate) fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}

/// A free port on the loopback address.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
