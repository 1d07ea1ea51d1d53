//! The table of the escape test, and its picture.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::table::{cells, rows};
use crate::record::escaped;

/// The page with the table.
pub(super) const PAGE: &str = "docs/tested/escape.md";

/// The page that explains each vector; its last column is that of pods.
const EXPLAINED: &str = "docs/cli/doctor.md";
/// Where its tables begin.
const EXPLAINED_FROM: &str = "## Escape vectors";

/// Columns with results, after those of the vector and its family.
const COLUMNS: [&str; 4] = ["shared", "isolated", "privileged", "pod"];
const COLUMN_TITLES: [&str; 4] =
    ["shared node", "isolated node", "privileged node", "pod, hostUsers: false"];
/// What a cell says that no recorded run has filled.
const NOT_RECORDED: &str = "–";

const SQUARE: usize = 9;
const STEP: usize = 11;
const LABEL: usize = 110;
const ROW: usize = 22;
const HEAD: usize = 84;

/// Puts the results of runs into the table: `COLUMN=FILE`, each of `capn doctor --escape-test NODE -o json`.
///
/// # Errors
///
/// An unknown column, a file that is no report, or a vector that the table lacks.
pub(crate) fn record(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    if arguments.is_empty() {
        bail!("usage: cargo xtask escape-table COLUMN=FILE...  (columns: {})", COLUMNS.join(", "));
    }
    let path = root.join(PAGE);
    let mut page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    for argument in arguments {
        let (column, file) = argument.split_once('=').context("an argument is COLUMN=FILE")?;
        let at = COLUMNS
            .iter()
            .position(|known| *known == column)
            .with_context(|| format!("there is no column {column}"))?;
        let report =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        page = with_results(&page, at, &results(&report)?)
            .with_context(|| format!("cannot use {file}"))?;
    }
    std::fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))
}

/// Results of a report by the name of the vector.
fn results(report: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let report: Value = serde_json::from_str(report).context("it is not JSON")?;
    let fields = report.as_object().context("it is not an object")?;
    let tried = fields
        .values()
        .filter_map(Value::as_array)
        .find(|list| list.iter().any(|entry| entry.get("result").is_some()))
        .context("it has no results")?;
    let text = |entry: &Value, key: &str| {
        entry.get(key).and_then(Value::as_str).map(str::to_owned).context("a result lacks a field")
    };
    tried.iter().map(|entry| Ok((text(entry, "name")?, text(entry, "result")?))).collect()
}

fn with_results(
    page: &str,
    column: usize,
    results: &BTreeMap<String, String>,
) -> anyhow::Result<String> {
    let mut filled = 0;
    let mut lines = Vec::new();
    for line in page.lines() {
        let mut row = cells(line);
        let name = row.first().map(|cell| cell.trim_matches('`').to_owned()).unwrap_or_default();
        match (results.get(&name), row.get_mut(2 + column)) {
            (Some(result), Some(cell)) => {
                cell.clone_from(result);
                filled += 1;
                lines.push(format!("| {} |", row.join(" | ")));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    anyhow::ensure!(
        filled == results.len(),
        "it has {} results, and the table has rows for {filled}",
        results.len()
    );
    Ok(lines.join("\n") + "\n")
}

/// Lists vectors that only one of the two pages has, and results that differ.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let read = |page: &str| {
        std::fs::read_to_string(root.join(page)).with_context(|| format!("cannot read {page}"))
    };
    Ok(differences(&read(PAGE)?, &read(EXPLAINED)?))
}

fn differences(page: &str, explained: &str) -> Vec<String> {
    let explained = explained.split_once(EXPLAINED_FROM).map_or("", |(_, tables)| tables);
    let is_vector = |row: &Vec<String>| row.first().is_some_and(|cell| cell.starts_with('`'));
    let in_pods = |text: &str, columns: usize| -> BTreeMap<String, String> {
        let rows = text.lines().map(cells).filter(|row| row.len() == columns).filter(is_vector);
        rows.filter_map(|mut row| row.pop().map(|last| (row.swap_remove(0), last))).collect()
    };
    let recorded = in_pods(page, 2 + COLUMNS.len());
    let explained = in_pods(explained, 3);
    let missing = explained
        .keys()
        .filter(|name| !recorded.contains_key(*name))
        .map(|name| format!("{PAGE} lacks {name}, which {EXPLAINED} has"));
    let others = recorded.iter().filter_map(|(name, result)| match explained.get(name) {
        None => Some(format!("{EXPLAINED} lacks {name}, which {PAGE} has")),
        Some(other) if other != result && result != NOT_RECORDED => {
            Some(format!("{name} is {result} from a pod in {PAGE}, and {other} in {EXPLAINED}"))
        }
        Some(_) => None,
    });
    missing.chain(others).collect()
}

/// One square for each vector, a row for each family and a block for each column that has results.
pub(super) fn heat_map(page: &str) -> anyhow::Result<String> {
    let rows = rows(page, &["vector", "family"])?;
    let mut families: Vec<(&str, Vec<&[String]>)> = Vec::new();
    for row in &rows {
        let [name, family, ..] = row.as_slice() else { bail!("a row has no family") };
        anyhow::ensure!(row.len() == 2 + COLUMNS.len(), "the row of {name} has another length");
        match families.iter_mut().find(|(known, _)| known == family) {
            Some((_, vectors)) => vectors.push(row),
            None => families.push((family, vec![row])),
        }
    }
    let recorded: Vec<usize> = (0..COLUMNS.len())
        .filter(|at| {
            rows.iter().any(|row| row.get(2 + at).is_some_and(|cell| cell != NOT_RECORDED))
        })
        .collect();
    anyhow::ensure!(!recorded.is_empty(), "no column has results");
    Ok(drawn(&families, &recorded, rows.len()))
}

fn drawn(families: &[(&str, Vec<&[String]>)], recorded: &[usize], vectors: usize) -> String {
    let longest = families.iter().map(|(_, vectors)| vectors.len()).max().unwrap_or(1);
    let block = longest * STEP + 24;
    let width = (LABEL + recorded.len() * block + 16).max(560);
    let height = HEAD + families.len() * ROW + 44;
    let title = format!("{vectors} ways from a node to its host, tried as root in it");
    let mut svg = String::new();
    svg.push_str(&format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#f8fafc\" stroke=\"#cbd5e1\"/>\n\
         <g font-family=\"system-ui,sans-serif\" font-size=\"13\" fill=\"#0f172a\">\n\
         <text x=\"20\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{title}</text>\n"));
    for (place, at) in recorded.iter().enumerate() {
        let x = LABEL + place * block;
        let open = families
            .iter()
            .flat_map(|(_, vectors)| vectors)
            .filter(|row| row.get(2 + at).is_some_and(|cell| cell == "open"))
            .count();
        let name = COLUMN_TITLES.get(*at).copied().unwrap_or_default();
        svg.push_str(&format!(
            "<text x=\"{x}\" y=\"56\" font-weight=\"bold\">{name}</text>\
             <text x=\"{x}\" y=\"73\" fill=\"#475569\">{open} open</text>"
        ));
        svg.push('\n');
    }
    for (line, (family, vectors)) in families.iter().enumerate() {
        let y = HEAD + line * ROW;
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LABEL - 12,
            y + 9,
            escaped(family)
        ));
        svg.push('\n');
        for (place, at) in recorded.iter().enumerate() {
            for (number, row) in vectors.iter().enumerate() {
                let result = row.get(2 + at).map_or(NOT_RECORDED, String::as_str);
                let x = LABEL + place * block + number * STEP;
                let name = row.first().map_or("", |cell| cell.trim_matches('`'));
                svg.push_str(&format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{SQUARE}\" height=\"{SQUARE}\" rx=\"2\" \
                     fill=\"{}\"><title>{}: {result}</title></rect>",
                    colour(result),
                    escaped(name)
                ));
                svg.push('\n');
            }
        }
    }
    let y = height - 20;
    let mut x = LABEL;
    for result in ["closed", "absent", "open", "unknown"] {
        svg.push_str(&format!(
            "<rect x=\"{x}\" y=\"{}\" width=\"11\" height=\"11\" rx=\"2\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"{y}\">{result}</text>",
            y - 10,
            colour(result),
            x + 17
        ));
        svg.push('\n');
        x += 88;
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn colour(result: &str) -> &'static str {
    match result {
        "closed" => "#16a34a",
        "absent" => "#a7f3d0",
        "open" => "#dc2626",
        "unknown" => "#f59e0b",
        _ => "#e2e8f0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| vector | family | shared | isolated | privileged | pod |\n\
                         |---|---|---|---|---|---|\n\
                         | `kexec` | kernel | – | – | – | closed |\n\
                         | `audit` | network | – | – | – | closed |\n";

    #[test]
    fn results_of_a_report_fill_a_column() {
        let report = r#"{"mode": "privileged", "doors": [{"name": "kexec", "result": "open"}]}"#;
        let page = with_results(TABLE, 2, &results(report).unwrap()).unwrap();
        assert!(page.contains("| `kexec` | kernel | – | – | open | closed |"), "{page}");
        let unknown = r#"{"doors": [{"name": "new", "result": "open"}]}"#;
        assert!(with_results(TABLE, 2, &results(unknown).unwrap()).is_err());
    }

    #[test]
    fn a_vector_that_one_page_lacks_and_a_result_that_differs_are_reported() {
        let explained = "| `no` | table | of it |\n## Escape vectors\n| vector | gives | pod |\n|---|---|---|\n\
                         | `kexec` | another kernel | absent |\n| `swap` | the swap | closed |\n";
        assert_eq!(
            differences(TABLE, explained),
            [
                "docs/tested/escape.md lacks `swap`, which docs/cli/doctor.md has",
                "docs/cli/doctor.md lacks `audit`, which docs/tested/escape.md has",
                "`kexec` is closed from a pod in docs/tested/escape.md, and absent in docs/cli/doctor.md",
            ]
        );
    }

    #[test]
    fn a_column_without_results_is_not_drawn() {
        let svg = heat_map(TABLE).unwrap();
        assert!(svg.contains("pod, hostUsers: false") && !svg.contains("shared node"), "{svg}");
        assert!(svg.contains("<title>kexec: closed</title>"), "{svg}");
    }
}
