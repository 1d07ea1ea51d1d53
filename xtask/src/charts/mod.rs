//! Pictures that are made from tables of the documentation: `cargo xtask charts`.
//!
//! The tables are the source. `cargo xtask check-docs` reports a picture that its table no longer makes.

mod bars;
mod escape;
mod table;

use std::path::Path;

use anyhow::Context as _;

pub(crate) use escape::record as record_escape;

/// A picture, and the page with its tables.
struct Chart {
    picture: &'static str,
    page: &'static str,
    draw: fn(&str) -> anyhow::Result<String>,
}

const CHARTS: &[Chart] = &[
    Chart {
        picture: "docs/images/start-time.svg",
        page: "docs/tested/bench.md",
        draw: bars::start_time,
    },
    Chart {
        picture: "docs/images/memory.svg",
        page: "docs/tested/management-cluster.md",
        draw: bars::memory,
    },
    Chart { picture: "docs/images/escape.svg", page: escape::PAGE, draw: escape::heat_map },
];

/// Draws every picture anew.
///
/// # Errors
///
/// A page without its table, or a picture that cannot be written.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    for chart in CHARTS {
        let path = root.join(chart.picture);
        std::fs::write(&path, drawn(root, chart)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Lists pictures that are not what their tables make.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = escape::check(root)?;
    for chart in CHARTS {
        let written = std::fs::read_to_string(root.join(chart.picture)).unwrap_or_default();
        if written != drawn(root, chart)? {
            problems.push(format!(
                "{} is not what {} says; draw it anew: cargo xtask charts",
                chart.picture, chart.page
            ));
        }
    }
    Ok(problems)
}

fn drawn(root: &Path, chart: &Chart) -> anyhow::Result<String> {
    let page = std::fs::read_to_string(root.join(chart.page))
        .with_context(|| format!("cannot read {}", chart.page))?;
    (chart.draw)(&page)
        .with_context(|| format!("cannot draw {} from {}", chart.picture, chart.page))
}
