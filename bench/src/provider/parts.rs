//! Child processes: the simulated server, which counts requests, and the provider.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use incus_sim::{Clock, RecordedRequest, Simulator};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{LAUNCH, harness::IMAGE};

/// Role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The server; for each line on stdin it prints the requests since the previous line.
    Simulator,
    /// The provider.
    Provider,
}

/// Runs that role until stdin ends.
pub(crate) fn run(part: Part, at: &Path) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // As many threads as `capn` has.
    let runtime =
        runtime.worker_threads(2).enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(async {
        match part {
            Part::Simulator => simulator(at).await,
            Part::Provider => provider(at).await,
        }
    })
}

async fn simulator(socket: &Path) -> anyhow::Result<()> {
    let simulator = Simulator::new();
    simulator.add_image("default", IMAGE, &[]);
    simulator.set_clock(Clock::Automatic(LAUNCH));
    let _listening = simulator.listen(socket).context("cannot listen")?;
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await.context("cannot read stdin")?.is_some() {
        println!("{}", serde_json::to_string(&Requests::of(&simulator.requests()))?);
        simulator.forget_requests();
    }
    Ok(())
}

async fn provider(kubeconfig: &Path) -> anyhow::Result<()> {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).context("cannot read it")?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let client = kube::Client::try_from(config)?;
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let ended = async { while matches!(lines.next_line().await, Ok(Some(_))) {} };
    capn_provider::run(client, capn_provider::Options::default(), ended).await?;
    Ok(())
}

/// Requests by method and route.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Requests(BTreeMap<String, usize>);

impl Requests {
    fn of(seen: &[RecordedRequest]) -> Self {
        let mut counts = BTreeMap::new();
        for request in seen {
            let path = request.path.split('?').next().unwrap_or_default();
            let mut parts: Vec<&str> = path.split('/').collect();
            // /1.0/KIND/NAME/…
            if let Some(name) = parts.get_mut(3) {
                *name = "{name}";
            }
            *counts.entry(format!("{} {}", request.method, parts.join("/"))).or_insert(0) += 1;
        }
        Self(counts)
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn most(&self) -> Vec<(&str, usize)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(route, count)| (route.as_str(), *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }
}

/// A running child process, stopped on drop.
pub(super) struct Running {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts a child process and waits until it is ready.
    pub(super) async fn start(part: Part, at: &Path) -> anyhow::Result<Self> {
        let name = clap::ValueEnum::to_possible_value(&part).context("the role has no name")?;
        let mut process =
            Command::new(std::env::current_exe().context("cannot find this executable")?)
                .args(["--part", name.get_name(), "--at"])
                .arg(at)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("cannot start the {}", name.get_name()))?;
        let input = process.stdin.take().context("no input")?;
        let output = BufReader::new(process.stdout.take().context("no output")?).lines();
        let mut running = Self { process, input, output };
        match running.line().await?.as_str() {
            "ready" => Ok(running),
            other => bail!("the {} printed {other:?}", name.get_name()),
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(Duration::from_secs(30), self.output.next_line()).await??;
        line.context("it exited")
    }

    /// Requests since the last call.
    pub(super) async fn count(&mut self) -> anyhow::Result<Requests> {
        self.input.write_all(b"count\n").await?;
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    pub(super) fn id(&self) -> u32 {
        // It has one until it is waited for, which never happens here.
        self.process.id().unwrap_or_default()
    }
}
