//! Tables: left-aligned columns, two spaces apart, no borders, as kubectl prints them.

use capn_text::display;

use super::Tone;

/// A table of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these column heads.
    pub fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row. An empty cell is shown as `-`; control characters are removed.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let readable = |cell: String| display::line(&cell, display::SERVER_TEXT).into_owned();
        self.rows.push(cells.into_iter().map(|cell| readable(cell.into())).collect());
    }

    /// Returns the table as text, one line per row, header first.
    pub fn render(&self, color: bool) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| shown(cell).chars().count()).max().unwrap_or(0);
                widest.max(self.head[column].chars().count())
            })
            .collect();
        let mut text = Tone::Head.paint(&line(&self.head, &widths), color);
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = shown(cell);
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
    }
    text.trim_end().to_owned()
}

fn shown(cell: &str) -> &str {
    if cell.is_empty() { "-" } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "READY"]);
        table.row(["demo-control-plane", "True"]);
        table.row(["a", ""]);
        assert_eq!(
            table.render(false),
            "NAME                READY\ndemo-control-plane  True\na                   -\n"
        );
    }
}
