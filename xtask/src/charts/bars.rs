//! Bars of pairs of figures: capn, and what it was measured beside.

use anyhow::Context as _;

use super::table::rows;
use crate::record::escaped;

const WIDTH: f64 = 720.0;
const LABEL: f64 = 190.0;
const BAR: f64 = 16.0;
const OURS: &str = "#2563eb";
const OTHERS: &str = "#94a3b8";

/// Two figures of the same thing.
struct Pair {
    label: String,
    ours: f64,
    other: f64,
}

/// From the start of the command to all nodes Ready.
pub(super) fn start_time(page: &str) -> anyhow::Result<String> {
    let mut pairs = Vec::new();
    for row in rows(page, &["shape", "rounds", "all nodes Ready"])? {
        let (Some(shape), Some(figures)) = (row.first(), row.get(2)) else { continue };
        let (ours, other) =
            figures.split_once(" against ").context("a figure is not `A against B`")?;
        let pair = Pair { label: shape.clone(), ours: number(ours)?, other: number(other)? };
        // A shape that was measured again is in the page, and once in the picture.
        if !shape.contains(',') {
            pairs.push(pair);
        }
    }
    bars(
        "From nothing to all nodes Ready",
        "control planes + workers, seconds, less is better",
        ("capn up", "the same by hand: incus, kubeadm, kubectl"),
        &pairs,
    )
}

/// What the provider takes beside that in Go.
pub(super) fn memory(page: &str) -> anyhow::Result<String> {
    let mut pairs = Vec::new();
    for (row, label) in
        [("memory, resident", "4 machines"), ("most memory, resident", "30 machines at once")]
    {
        let line = page
            .lines()
            .map(super::table::cells)
            .find(|cells| cells.first().is_some_and(|cell| cell == row))
            .with_context(|| format!("there is no row `{row}`"))?;
        let figure = |at: usize| number(line.get(at).map_or("", String::as_str));
        pairs.push(Pair { label: label.to_owned(), ours: figure(1)?, other: figure(2)? });
    }
    bars(
        "Memory of the infrastructure provider",
        "resident, MB, less is better",
        ("capn manager", "Cluster API Provider Incus in Go"),
        &pairs,
    )
}

/// The number that a cell begins with.
fn number(text: &str) -> anyhow::Result<f64> {
    let digits = text.trim().split(' ').next().unwrap_or_default();
    digits.parse().with_context(|| format!("`{text}` does not begin with a number"))
}

fn bars(title: &str, unit: &str, legend: (&str, &str), pairs: &[Pair]) -> anyhow::Result<String> {
    let most = pairs.iter().flat_map(|pair| [pair.ours, pair.other]).fold(0.0, f64::max);
    anyhow::ensure!(most > 0.0, "there is nothing to draw");
    let group = 2.0f64.mul_add(BAR, 16.0);
    let height = (pairs.len() as f64).mul_add(group, 104.0);
    let scale = (WIDTH - LABEL - 80.0) / most;
    let mut svg = String::new();
    svg.push_str(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#f8fafc\" stroke=\"#cbd5e1\"/>\n\
         <g font-family=\"system-ui,sans-serif\" font-size=\"14\" fill=\"#0f172a\">\n\
         <text x=\"20\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"20\" y=\"48\" fill=\"#475569\" font-size=\"13\">{unit}</text>\n"
    ));
    for (at, pair) in pairs.iter().enumerate() {
        let y = (at as f64).mul_add(group, 66.0);
        let middle = y + BAR + 5.0;
        svg.push_str(&format!(
            "<text x=\"{:.0}\" y=\"{middle:.0}\" text-anchor=\"end\">{}</text>",
            LABEL - 14.0,
            escaped(&pair.label)
        ));
        svg.push('\n');
        for (row, (value, colour)) in
            [(pair.ours, OURS), (pair.other, OTHERS)].into_iter().enumerate()
        {
            let top = (row as f64).mul_add(BAR + 2.0, y);
            let long = value * scale;
            svg.push_str(&format!("<rect x=\"{LABEL:.0}\" y=\"{top:.0}\" width=\"{long:.1}\" height=\"{BAR:.0}\" \
                 rx=\"2\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.0}\" font-size=\"13\">{value}</text>",
                LABEL + long + 8.0,
                top + 13.0));
            svg.push('\n');
        }
    }
    let y = height - 20.0;
    svg.push_str(&format!(
        "<rect x=\"20\" y=\"{:.0}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{OURS}\"/>\
         <text x=\"38\" y=\"{y:.0}\" font-size=\"13\">{}</text>\n\
         <rect x=\"190\" y=\"{:.0}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{OTHERS}\"/>\
         <text x=\"208\" y=\"{y:.0}\" font-size=\"13\">{}</text>\n</g>\n</svg>\n",
        y - 11.0,
        legend.0,
        y - 11.0,
        legend.1
    ));
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_has_two_bars_and_a_second_measurement_none() {
        let page = "| shape | rounds | all nodes Ready | ratio |\n|---|---|---|---|\n\
                    | 1+0 | 3 | 17.9 against 25.3 | 0.71 |\n| 1+0, again | 3 | 1 against 2 | 0.5 |\n";
        let svg = start_time(page).unwrap();
        assert!(svg.contains(">17.9<") && svg.contains(">25.3<"), "{svg}");
        assert!(!svg.contains("again"), "{svg}");
    }

    #[test]
    fn a_page_without_its_figures_is_an_error() {
        assert!(start_time("# Nothing\n").is_err());
        assert!(memory("| memory, resident | unknown | 1 MB |\n").is_err());
    }
}
