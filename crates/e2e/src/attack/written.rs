//! The table of attacks, as a page of the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use camino::Utf8Path;

use super::table::{Attack, On};

const PAGE: &str = "docs/security-attacks.md";
const HEAD: &str = "\
# Attacks

What `./test attacks` tries against a `capn serve` and a `capn manager`. While an attack runs, and after it,
the same process is alive and has never had more than 256 MiB of memory, a stranger's `/healthz` is answered
within a second, and another tenant's write and the reconcile of his cluster take at most two. Nothing of the
host is read or run, and no secret is in an answer, a condition, an event or the log.

The page is made by `e2e attack --table FILE`; FILE is what `e2e attack --capn OLD --record FILE` wrote for a
capn without the gates (of commit f12ade5). \"–\" is an attack that found nothing there: it keeps the gate.
";

/// Writes the page, from the folder of the repository.
pub(crate) fn write(attacks: &[Attack], record: &Utf8Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(record).with_context(|| format!("cannot read {record}"))?;
    let mut without: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, '\t');
        if let (Some(name), Some(_), Some(seen)) = (parts.next(), parts.next(), parts.next()) {
            without.entry(name).or_insert(seen);
        }
    }
    std::fs::write(PAGE, page(attacks, &without)?).context("cannot write the page")
}

fn page(attacks: &[Attack], without: &BTreeMap<&str, &str>) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    let mut class = "";
    for attack in attacks {
        if attack.class != class {
            class = attack.class;
            write!(text, "\n## {}\n\n", capitalized(class))?;
            text.push_str("| attack | who | on | held by | without it |\n|---|---|---|---|---|\n");
        }
        let on = match attack.on {
            On::Serve => "serve",
            On::Manager => "manager",
            On::Both => "both",
        };
        let seen = without.get(attack.name).map_or("–".to_owned(), |seen| cell(seen));
        let who = attack.who.text();
        writeln!(text, "| {} | {who} | {on} | {} | {seen} |", attack.name, attack.gate)?;
    }
    Ok(text)
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The first that was seen, short.
fn cell(seen: &str) -> String {
    let first = seen.split("; ").next().unwrap_or(seen);
    let short: String = first.chars().take(140).collect();
    short.replace('|', "/").replace('<', "‹").replace('`', "'")
}
