//! Effects of attacks when their gate is removed: the record, and the documentation page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;

use super::Failure;
use super::table::{Attack, Target};

const PAGE: &str = "docs/tested/attacks.md";
const RECORD: &str = "tests/attacks/gates.txt";
const HEAD: &str = "\
# Attacks

`./test attacks` runs these attacks against a `capn serve` and a `capn manager`. During and after each attack, the
process keeps running with at most 256 MiB of memory, an unauthenticated `/healthz` request gets a response within
one second, and another tenant's write and the reconcile of their cluster take at most two seconds each. The attack
reads and runs nothing on the host, and no secret appears in a response, a condition, an event or the log.

Each attack is stopped by a gate. On 2026-11-30, each gate was removed from a debug build, alone or together with the
named ones, and its attacks were run with doubled time limits (`--patience 2`). This page shows the results. \"–\"
marks an attack that still failed, or that only caused slightly late responses, which the machine may have caused.
`e2e attack --table` writes this page from `tests/attacks/gates.txt`, whose parts were written by
`e2e attack --only GATE --without TEXT --record FILE`.
";

/// A removed gate.
struct Removed<'a> {
    /// What was removed, and what else provides the same protection.
    what: &'a str,
    /// First observation, by attack.
    seen: BTreeMap<&'a str, &'a str>,
}

/// The record, grouped by gate.
pub(super) fn record(attacks: &[&Attack], found: &[&Failure], what: &str) -> String {
    let mut text = String::new();
    let mut gate = "";
    for attack in attacks {
        if attack.gate != gate {
            gate = attack.gate;
            text.push_str(&format!("{gate}\t{what}\n"));
        }
        for (name, whom, broken) in found.iter().filter(|(name, ..)| *name == attack.name) {
            text.push_str(&format!("\t{name}\t{whom}\t{}\n", in_short(broken)));
        }
    }
    text
}

/// The first observation, without machine-specific details.
fn in_short(broken: &str) -> String {
    let first = broken.split("; ").next().unwrap_or(broken);
    let whose = first.split(' ').next().unwrap_or_default();
    let short = match first {
        _ if first.contains("overflowed its stack") => {
            format!("{whose} ended: it overflowed its stack")
        }
        _ if first.contains("memory allocation of") => {
            format!("{whose} ended: it had no more memory")
        }
        _ if first.starts_with("a panic:") => "a panic".to_owned(),
        // The end of its output is useless without the rest.
        _ if first.starts_with(&format!("{whose} ended (")) => {
            first.split("): ").next().map(|status| format!("{status})")).unwrap_or_default()
        }
        _ => first.chars().take(200).collect(),
    };
    short.replace('\t', " ")
}

/// Parses the record.
fn read(text: &str) -> anyhow::Result<BTreeMap<&str, Removed<'_>>> {
    let mut all: BTreeMap<&str, Removed<'_>> = BTreeMap::new();
    let mut gate = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        let wrong = || format!("cannot parse line {line:?} of {RECORD}");
        match line.strip_prefix('\t') {
            None => {
                let (name, what) = line.split_once('\t').with_context(wrong)?;
                gate = name;
                all.entry(gate).or_insert(Removed { what, seen: BTreeMap::new() });
            }
            Some(found) => {
                let mut parts = found.splitn(3, '\t');
                let (name, seen) = (parts.next(), parts.nth(1));
                let (name, seen) = name.zip(seen).with_context(wrong)?;
                let removed = all.get_mut(gate).with_context(wrong)?;
                removed.seen.entry(name).or_insert(seen);
            }
        }
    }
    Ok(all)
}

/// Writes the page. Runs in the root of the repository.
pub(super) fn write(attacks: &[Attack]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(RECORD).with_context(|| format!("cannot read {RECORD}"))?;
    std::fs::write(PAGE, page(attacks, &read(&text)?)?).context("cannot write the page")
}

fn page(attacks: &[Attack], removed: &BTreeMap<&str, Removed<'_>>) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    let (mut class, mut gate) = ("", "");
    for attack in attacks {
        if attack.class != class {
            (class, gate) = (attack.class, "");
            write!(text, "\n## {}\n", capitalized(class))?;
        }
        let without = removed.get(attack.gate);
        if attack.gate != gate {
            gate = attack.gate;
            write!(text, "\nProtected by: **{gate}**. {}\n\n", proof(attacks, gate, without))?;
            text.push_str("| attack | who | on | without it |\n|---|---|---|---|\n");
        }
        let on = match attack.on {
            Target::Serve => "serve",
            Target::Manager => "manager",
            Target::Both => "both",
        };
        let seen = without.and_then(|removed| removed.seen.get(attack.name));
        let seen = seen.map_or("–".to_owned(), |seen| cell(seen));
        writeln!(text, "| {} | {} | {on} | {seen} |", attack.name, attack.who.text())?;
    }
    Ok(text)
}

/// Effect of removing a gate, in a sentence.
fn proof(attacks: &[Attack], gate: &str, without: Option<&Removed<'_>>) -> String {
    let Some(removed) = without else { return "It was not taken out yet.".to_owned() };
    let mut found = attacks
        .iter()
        .filter(|attack| attack.gate == gate)
        .filter_map(|attack| Some((attack.name, removed.seen.get(attack.name)?)));
    match found.next() {
        Some((name, seen)) => {
            let what = removed.what;
            format!("Without it (taken out: {what}) \"{name}\" found: {}.", cell(seen))
        }
        None => format!("{}.", capitalized(removed.what)),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The first observation, shortened.
fn cell(seen: &str) -> String {
    let first = seen.split("; ").next().unwrap_or(seen);
    let short: String = first.chars().take(140).collect();
    short.replace('|', "/").replace('<', "‹").replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    const KEPT: &str = include_str!("../../../../tests/attacks/gates.txt");
    /// Prefix of a gate without which no attack succeeds, followed by the reason.
    const NOT_SHOWN: &str = "not shown";

    #[test]
    fn each_gate_was_removed_and_an_attack_succeeded() {
        let (attacks, kept) = (table::all(), read(KEPT).unwrap());
        for attack in &attacks {
            let removed = kept.get(attack.gate);
            let removed = removed.unwrap_or_else(|| panic!("{:?} was not taken out", attack.gate));
            assert!(
                !removed.seen.is_empty() || removed.what.starts_with(NOT_SHOWN),
                "nothing was found without {:?}",
                attack.gate
            );
        }
        for (gate, removed) in kept {
            let of_gate = |name: &str| attacks.iter().any(|a| a.name == name && a.gate == gate);
            assert!(attacks.iter().any(|attack| attack.gate == gate), "{gate:?} is no gate");
            let other = removed.seen.keys().find(|name| !of_gate(name));
            assert_eq!(other, None, "an attack that {gate:?} does not hold");
        }
    }

    #[test]
    fn the_page_lists_findings() {
        let page = page(&table::all(), &read(KEPT).unwrap()).unwrap();
        let written = include_str!("../../../../docs/tested/attacks.md");
        assert!(page == written, "update the page: e2e attack --table");
    }
}
