//! Attacks on capn, with checks that run meanwhile. Run by `./test attacks`.

mod by_anonymous;
mod by_server;
mod by_tenant;
mod canary;
mod client;
mod fixture;
mod hostile;
mod monitor;
mod page;
mod process;
mod table;
mod test_env;
mod text;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use camino::Utf8PathBuf;
use tokio::time::{Instant, timeout};

use self::monitor::Monitor;
use self::table::{Attack, Target};
use self::test_env::TestEnv;

/// Time limit of one attack.
const LONGEST: Duration = Duration::from_secs(25);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The capn binary to attack
    #[arg(long, required_unless_present_any = ["list", "table"])]
    capn: Option<PathBuf>,
    /// Only run attacks whose name, class or gate contains this text; can be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Factor by which time limits are extended
    #[arg(long, default_value_t = 1)]
    patience: u32,
    /// Write failures to this file, grouped by gate: a part of tests/attacks/gates.txt
    #[arg(long)]
    record: Option<Utf8PathBuf>,
    /// What was removed from the attacked capn, for the record
    #[arg(long, default_value = "")]
    without: String,
    /// List the attacks and exit
    #[arg(long)]
    list: bool,
    /// Write docs/tested/attacks.md from tests/attacks/gates.txt
    #[arg(long)]
    table: bool,
}

/// Runs the attacks and prints a line for each.
///
/// # Errors
///
/// Returns an error if a check failed or a process could not be started.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let attacks = table::all();
    let chosen: Vec<&Attack> =
        attacks.iter().filter(|attack| is_chosen(attack, &arguments.only)).collect();
    if arguments.table {
        return page::write(&attacks);
    }
    if arguments.list {
        for attack in chosen {
            println!("{} ({}; {})", attack.name, attack.who.text(), attack.class);
        }
        return Ok(());
    }
    let capn = arguments.capn.as_ref().context("--capn PROGRAM is required")?;
    let capn = capn.canonicalize().with_context(|| format!("{} does not exist", capn.display()))?;
    // As many connections as an attacker would use.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(all(&capn, &chosen, arguments))
}

fn is_chosen(attack: &Attack, only: &[String]) -> bool {
    let texts = [attack.name, attack.class, attack.gate];
    let contains = |text: &String| texts.iter().any(|one| one.contains(text.as_str()));
    only.is_empty() || only.iter().any(contains)
}

/// Runs both targets concurrently: attacks mostly wait.
async fn all(
    capn: &std::path::Path,
    attacks: &[&Attack],
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let (serve, manager) = tokio::join!(
        run_on(Target::Serve, capn, attacks, arguments),
        run_on(Target::Manager, capn, attacks, arguments)
    );
    let (serve, manager) = (serve?, manager?);
    let failed: Vec<&Failure> = serve.found.iter().chain(&manager.found).collect();
    if let Some(file) = &arguments.record {
        std::fs::write(file, page::record(attacks, &failed, &arguments.without))?;
    }
    let count = serve.summary + manager.summary;
    println!("{count} attacks in {:.0?}, {} succeeded", began.elapsed(), failed.len());
    if !failed.is_empty() {
        let names: Vec<&str> = failed.iter().map(|(name, ..)| *name).collect();
        bail!("attacks that succeeded: {}", names.join(", "));
    }
    Ok(())
}

/// A successful attack: its name, its target, and the failed checks.
type Failure = (&'static str, &'static str, String);

#[derive(Default)]
struct Summary {
    summary: usize,
    found: Vec<Failure>,
}

/// Runs the attacks on one target. Restarts the processes after each successful attack.
async fn run_on(
    on: Target,
    capn: &std::path::Path,
    attacks: &[&Attack],
    arguments: &Arguments,
) -> anyhow::Result<Summary> {
    let whom = if on == Target::Serve { "serve" } else { "manager" };
    let mut summary = Summary::default();
    let mut env = None;
    for attack in attacks.iter().filter(|attack| attack.on == on || attack.on == Target::Both) {
        let mut ready = match env.take() {
            Some(ready) => ready,
            None => TestEnv::open(on, capn, arguments.patience).await?,
        };
        let outcome = one(&mut ready, attack, arguments.patience).await;
        let outcome = outcome.with_context(|| format!("cannot run {}", attack.name))?;
        summary.summary += 1;
        let broken = outcome.broken.join("; ");
        let who = attack.who.text();
        if broken.is_empty() {
            println!(
                "ok    {} ({who} on {whom}; {} MiB, /healthz {:.0?}, {:.1?})",
                attack.name, outcome.memory, outcome.health, outcome.took
            );
            env = Some(ready);
        } else {
            println!("FAIL  {} ({who} on {whom}): {broken}", attack.name);
            summary.found.push((attack.name, whom, broken));
        }
    }
    Ok(summary)
}

struct AttackReport {
    broken: Vec<String>,
    memory: u64,
    health: Duration,
    took: Duration,
}

async fn one(env: &mut TestEnv, attack: &Attack, slower: u32) -> anyhow::Result<AttackReport> {
    let began = Instant::now();
    let fixture = Arc::new(env.fixture().await?);
    let monitor = Monitor::begin(env)?;
    let before = env.memory();
    // In a task of its own, so that a panic only fails this attack.
    let attacking = tokio::spawn(timeout(LONGEST * slower, attack.run(Arc::clone(&fixture))));
    let done = attacking.await;
    monitor.once_more().await;
    let impact = monitor.end(&mut env.processes, slower)?;
    let mut broken = impact.broken;
    let own = match done {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(format!("{error:#}")),
        Ok(Err(_)) => Some(format!("the attack runs for more than {:?}", LONGEST * slower)),
        Err(error) => Some(format!("the attack failed: {error}")),
    };
    broken.extend(own);
    let late = fixture.tenant.late() + fixture.definer.late();
    if late > 0 {
        broken.push(format!("{late} requests of the attacker were not answered in time"));
    }
    let logs = env.logs();
    if logs.contains(&fixture.secret) {
        broken.push("the secret is in the log".to_owned());
    }
    if let Some(panic) = logs.lines().find(|line| line.contains("panicked at")) {
        broken.push(format!("a panic: {panic}"));
    }
    let broken = broken.iter().map(|text| text::plain(text)).collect::<Vec<_>>();
    if broken.is_empty() {
        env.clear(&fixture, before, impact.memory).await;
    }
    Ok(AttackReport { broken, memory: impact.memory, health: impact.health, took: began.elapsed() })
}
