//! What a terminal shows: as much of its control sequences as progress bars and colours use.

/// A character and how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) character: char,
    pub(crate) style: Style,
}

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// 0 to 15, as in SGR 30 to 37 and 90 to 97.
    pub(crate) colour: Option<u8>,
    pub(crate) bold: bool,
    pub(crate) dim: bool,
}

const BLANK: Cell = Cell { character: ' ', style: Style { colour: None, bold: false, dim: false } };

/// A screen of a fixed size.
pub(crate) struct Screen {
    columns: usize,
    lines: Vec<Vec<Cell>>,
    row: usize,
    column: usize,
    style: Style,
    /// Bytes of a character or a control sequence that is not complete yet.
    pending: Vec<u8>,
}

impl Screen {
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns: columns.max(1),
            lines: vec![Vec::new(); rows.max(1)],
            row: 0,
            column: 0,
            style: Style::default(),
            pending: Vec::new(),
        }
    }

    /// The lines as they are now, without blanks at their ends.
    pub(crate) fn rows(&self) -> Vec<Vec<Cell>> {
        self.lines
            .iter()
            .map(|line| {
                let used =
                    line.iter().rposition(|cell| cell.character != ' ').map_or(0, |at| at + 1);
                line.iter().take(used).copied().collect()
            })
            .collect()
    }

    /// Takes output of a program.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.pending);
        let whole = match std::str::from_utf8(&taken) {
            Ok(_) => taken.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => taken.len(),
        };
        let (now, later) = taken.split_at(whole);
        let text: Vec<char> = String::from_utf8_lossy(now).chars().collect();
        let mut rest = text.as_slice();
        while let [first, tail @ ..] = rest {
            if *first == '\u{1b}' {
                match self.escape(tail) {
                    Some(used) => rest = tail.get(used..).unwrap_or_default(),
                    // The end of the sequence comes with the next output.
                    None => break,
                }
            } else {
                self.character(*first);
                rest = tail;
            }
        }
        self.pending = rest.iter().collect::<String>().into_bytes();
        self.pending.extend_from_slice(later);
    }

    fn character(&mut self, character: char) {
        match character {
            '\n' => self.next_line(),
            '\r' => self.column = 0,
            '\u{8}' => self.column = self.column.saturating_sub(1),
            '\t' => self.column = (self.column / 8 + 1) * 8,
            character if character.is_control() => {}
            character => {
                if self.column >= self.columns {
                    self.column = 0;
                    self.next_line();
                }
                let (column, style) = (self.column, self.style);
                if let Some(line) = self.lines.get_mut(self.row) {
                    if line.len() <= column {
                        line.resize(column + 1, BLANK);
                    }
                    if let Some(cell) = line.get_mut(column) {
                        *cell = Cell { character, style };
                    }
                }
                self.column += 1;
            }
        }
    }

    fn next_line(&mut self) {
        self.row += 1;
        if self.row >= self.lines.len() {
            self.lines.remove(0);
            self.lines.push(Vec::new());
            self.row = self.lines.len() - 1;
        }
    }

    /// Carries out a sequence after its escape character, and says how long it was; `None` if its end is missing.
    fn escape(&mut self, text: &[char]) -> Option<usize> {
        match text.first()? {
            '[' => {
                let end = text.iter().skip(1).position(|c| ('@'..='~').contains(c))? + 1;
                let parameters: String = text.get(1..end)?.iter().collect();
                self.control(*text.get(end)?, &parameters);
                Some(end + 1)
            }
            // A title or a link: up to BEL or ESC \.
            ']' => {
                let end = text.iter().position(|c| *c == '\u{7}' || *c == '\u{1b}')?;
                Some(if text.get(end) == Some(&'\u{1b}') { end + 2 } else { end + 1 })
            }
            '(' | ')' => text.get(1).map(|_| 2),
            _ => Some(1),
        }
    }

    fn control(&mut self, kind: char, parameters: &str) {
        let numbers: Vec<usize> =
            parameters.split(';').map(|number| number.parse().unwrap_or(0)).collect();
        let first = numbers.first().copied().unwrap_or(0);
        let count = first.max(1);
        let last = self.lines.len() - 1;
        match kind {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => self.row = (self.row + count).min(last),
            'C' => self.column += count,
            'D' => self.column = self.column.saturating_sub(count),
            'G' => self.column = count - 1,
            'H' | 'f' => {
                self.row = (count - 1).min(last);
                self.column = numbers.get(1).copied().unwrap_or(1).max(1) - 1;
            }
            'J' => {
                let from = if first == 0 { self.row + 1 } else { 0 };
                self.lines.iter_mut().skip(from).for_each(Vec::clear);
                if first == 0 {
                    self.erase_in_line(0);
                }
            }
            'K' => self.erase_in_line(first),
            'm' => numbers.iter().for_each(|number| self.attribute(*number)),
            _ => {}
        }
    }

    fn erase_in_line(&mut self, which: usize) {
        let column = self.column;
        if let Some(line) = self.lines.get_mut(self.row) {
            match which {
                0 => line.truncate(column),
                1 => line.iter_mut().take(column + 1).for_each(|cell| *cell = BLANK),
                _ => line.clear(),
            }
        }
    }

    fn attribute(&mut self, number: usize) {
        match number {
            0 => self.style = Style::default(),
            1 => self.style.bold = true,
            2 => self.style.dim = true,
            22 => (self.style.bold, self.style.dim) = (false, false),
            30..=37 => self.style.colour = u8::try_from(number - 30).ok(),
            90..=97 => self.style.colour = u8::try_from(number - 82).ok(),
            39 => self.style.colour = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(output: &[&str]) -> Vec<String> {
        let mut screen = Screen::new(10, 3);
        output.iter().for_each(|part| screen.feed(part.as_bytes()));
        screen.rows().iter().map(|row| row.iter().map(|cell| cell.character).collect()).collect()
    }

    #[test]
    fn a_line_that_is_drawn_again_replaces_the_old_one() {
        assert_eq!(shown(&["waits\r\n\u{1b}[1A\u{1b}[2Kdone\r\n"]), ["done", "", ""]);
    }

    #[test]
    fn a_sequence_in_two_parts_is_one_and_a_long_line_wraps() {
        assert_eq!(shown(&["\u{1b}[3", "2m✓\u{1b}[0m 0123456789"]), ["✓ 01234567", "89", ""]);
    }

    #[test]
    fn the_oldest_line_leaves_a_full_screen() {
        assert_eq!(shown(&["1\r\n2\r\n3\r\n4"]), ["2", "3", "4"]);
    }

    #[test]
    fn colours_are_kept_with_the_characters() {
        let mut screen = Screen::new(10, 1);
        screen.feed(b"\x1b[1;32mA\x1b[0mB");
        let style = Style { colour: Some(2), bold: true, dim: false };
        assert_eq!(screen.rows()[0][0], Cell { character: 'A', style });
        assert_eq!(screen.rows()[0][1], Cell { character: 'B', style: Style::default() });
    }
}
