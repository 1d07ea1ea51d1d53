//! Attacks on capn, and what must hold meanwhile. `./test attacks` runs them.

mod by_anonymous;
mod by_server;
mod by_tenant;
mod canary;
mod client;
mod hostile;
mod judge;
mod scene;
mod stage;
mod table;
mod text;
mod tls;
mod victim;
mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use camino::Utf8PathBuf;
use tokio::time::{Instant, timeout};

use self::judge::Judge;
use self::stage::Stage;
use self::table::{Attack, On};

/// The longest that one attack goes on.
const LONGEST: Duration = Duration::from_secs(25);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The capn to attack.
    #[arg(long, required_unless_present_any = ["list", "table"])]
    capn: Option<PathBuf>,
    /// Only attacks whose name, class or gate contains this; can be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// How many times longer than usual everything may take.
    #[arg(long, default_value_t = 1)]
    patience: u32,
    /// Writes what did not hold to a file, by gates: a part of tests/attacks/gates.txt.
    #[arg(long)]
    record: Option<Utf8PathBuf>,
    /// What was taken out of the capn that is attacked, for the record.
    #[arg(long, default_value = "")]
    without: String,
    /// Lists the attacks and ends.
    #[arg(long)]
    list: bool,
    /// Writes docs/security-attacks.md from tests/attacks/gates.txt.
    #[arg(long)]
    table: bool,
}

/// Runs the attacks, a line for each.
///
/// # Errors
///
/// When something did not hold, or a process could not be started.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let attacks = table::all();
    let chosen: Vec<&Attack> =
        attacks.iter().filter(|attack| is_chosen(attack, &arguments.only)).collect();
    if arguments.table {
        return written::write(&attacks);
    }
    if arguments.list {
        for attack in chosen {
            println!("{} ({}; {})", attack.name, attack.who.text(), attack.class);
        }
        return Ok(());
    }
    let capn = arguments.capn.as_ref().context("--capn names the program to attack")?;
    let capn = capn.canonicalize().with_context(|| format!("there is no {}", capn.display()))?;
    // As many connections as an attacker would have.
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

/// Both at the same time: an attack waits more than it works.
async fn all(
    capn: &std::path::Path,
    attacks: &[&Attack],
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let (serve, manager) = tokio::join!(
        on_stage(On::Serve, capn, attacks, arguments),
        on_stage(On::Manager, capn, attacks, arguments)
    );
    let (serve, manager) = (serve?, manager?);
    let failed: Vec<&Found> = serve.found.iter().chain(&manager.found).collect();
    if let Some(file) = &arguments.record {
        std::fs::write(file, written::record(attacks, &failed, &arguments.without))?;
    }
    let count = serve.tried + manager.tried;
    println!("{count} attacks in {:.0?}, {} found something", began.elapsed(), failed.len());
    if !failed.is_empty() {
        let names: Vec<&str> = failed.iter().map(|(name, ..)| *name).collect();
        bail!("not held: {}", names.join(", "));
    }
    Ok(())
}

/// An attack, on what, and what did not hold.
type Found = (&'static str, &'static str, String);

#[derive(Default)]
struct Tried {
    tried: usize,
    found: Vec<Found>,
}

/// The attacks on one of the two; the processes are started anew after each that found something.
async fn on_stage(
    on: On,
    capn: &std::path::Path,
    attacks: &[&Attack],
    arguments: &Arguments,
) -> anyhow::Result<Tried> {
    let whom = if on == On::Serve { "serve" } else { "manager" };
    let mut tried = Tried::default();
    let mut stage = None;
    for attack in attacks.iter().filter(|attack| attack.on == on || attack.on == On::Both) {
        let mut ready = match stage.take() {
            Some(ready) => ready,
            None => Stage::open(on, capn, arguments.patience).await?,
        };
        let outcome = one(&mut ready, attack, arguments.patience).await;
        let outcome = outcome.with_context(|| format!("{} cannot be tried", attack.name))?;
        tried.tried += 1;
        let broken = outcome.broken.join("; ");
        let who = attack.who.text();
        if broken.is_empty() {
            println!(
                "ok    {} ({who} on {whom}; {} MiB, /healthz {:.0?}, {:.1?})",
                attack.name, outcome.memory, outcome.health, outcome.took
            );
            stage = Some(ready);
        } else {
            println!("FAIL  {} ({who} on {whom}): {broken}", attack.name);
            tried.found.push((attack.name, whom, broken));
        }
    }
    Ok(tried)
}

struct Outcome {
    broken: Vec<String>,
    memory: u64,
    health: Duration,
    took: Duration,
}

async fn one(stage: &mut Stage, attack: &Attack, slower: u32) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let scene = Arc::new(stage.scene().await?);
    let judge = Judge::begin(stage)?;
    // In a task of its own, so that an attack that fails in a bad way is one that fails.
    let attacking = tokio::spawn(timeout(LONGEST * slower, attack.run(Arc::clone(&scene))));
    let done = attacking.await;
    judge.once_more().await;
    let verdict = judge.end(&mut stage.victims, slower)?;
    let mut broken = verdict.broken;
    let own = match done {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(format!("{error:#}")),
        Ok(Err(_)) => Some(format!("the attack goes on for more than {LONGEST:?}")),
        Err(error) => Some(format!("the attack failed: {error}")),
    };
    broken.extend(own);
    let late = scene.tenant.late() + scene.definer.late();
    if late > 0 {
        broken.push(format!("{late} requests of the attacker were not answered in time"));
    }
    let logs = stage.logs();
    if logs.contains(&scene.secret) {
        broken.push("the secret is in the log".to_owned());
    }
    if let Some(panic) = logs.lines().find(|line| line.contains("panicked at")) {
        broken.push(format!("a panic: {panic}"));
    }
    let broken = broken.iter().map(|text| text::plain(text)).collect::<Vec<_>>();
    if broken.is_empty() {
        stage.clear(&scene).await;
    }
    Ok(Outcome { broken, memory: verdict.memory, health: verdict.health, took: began.elapsed() })
}
