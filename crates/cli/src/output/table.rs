//! Tables without borders: cells padded to the widest of their column plus two blanks, the last column too.

use unicode_width::UnicodeWidthStr;

/// Blanks behind the widest cell of a column.
const GAP: usize = 2;

/// A cell: text, which may be coloured, and plain text behind it.
pub(crate) struct Cell {
    text: String,
    colour: Option<&'static str>,
    plain: String,
}

impl Cell {
    /// Plain text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: printable(&text.into()),
            colour: None,
            plain: String::new(),
        }
    }

    /// Text in a colour, given as the escape that begins it.
    pub(crate) fn coloured(text: impl Into<String>, colour: &'static str) -> Self {
        Self {
            colour: Some(colour),
            ..Self::new(text)
        }
    }

    /// The same with plain text behind it.
    pub(crate) fn followed_by(mut self, plain: impl Into<String>) -> Self {
        self.plain = printable(&plain.into());
        self
    }

    fn width(&self) -> usize {
        self.text.width() + self.plain.width()
    }
}

/// A line break or an escape in a cell would tear the table, or the terminal, apart.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// The table's lines, each ending in blanks and without a newline at the end of the last.
pub(crate) fn render(header: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let header: Vec<Cell> = header.iter().map(|title| Cell::new(*title)).collect();
    let lines = std::iter::once(&header)
        .chain(rows)
        .map(|row| line(row, &widths));
    lines.collect::<Vec<_>>().join("\n")
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        match cell.colour {
            Some(colour) => {
                line.push_str(colour);
                line.push_str(&cell.text);
                line.push_str("\x1b[0m");
            }
            None => line.push_str(&cell.text),
        }
        line.push_str(&cell.plain);
        let padding = width.saturating_sub(cell.width()) + GAP;
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line
}
