//! Tables of Markdown.

use anyhow::Context as _;

/// The cells of each row of the table whose first row has these first cells; without that row.
///
/// # Errors
///
/// The text has no such table.
pub(super) fn rows(text: &str, head: &[&str]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut lines = text.lines().map(cells).skip_while(|cells| !begins_with(cells, head));
    lines.next().with_context(|| format!("there is no table `| {} |`", head.join(" | ")))?;
    // The second line of a table is its rule.
    Ok(lines.skip(1).take_while(|cells| !cells.is_empty()).collect())
}

fn begins_with(cells: &[String], head: &[&str]) -> bool {
    cells.len() >= head.len() && cells.iter().zip(head).all(|(cell, head)| cell == head)
}

/// The cells of a line; none if it is not of a table.
pub(super) fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|'))
    else {
        return Vec::new();
    };
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_those_of_the_table_with_that_head() {
        let text = "| a |\n|---|\n| 0 |\n\n| b | c |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\ntext\n";
        assert_eq!(rows(text, &["b", "c"]).unwrap(), [["1", "2"], ["3", "4"]]);
        assert!(rows(text, &["d"]).is_err());
    }
}
