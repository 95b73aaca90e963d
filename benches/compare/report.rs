//! What is printed: the same as plain text and as Markdown.
use std::fmt::Write;

/// A piece of the report.
pub enum Block {
    Heading(String),
    Text(String),
    /// The first row is the head.
    Table(Vec<Vec<String>>),
    /// A title, and text that is kept as it is.
    Verbatim(String, String),
}

/// The whole of it.
#[derive(Default)]
pub struct Report(pub Vec<Block>);

impl Report {
    pub fn heading(&mut self, text: impl Into<String>) {
        self.0.push(Block::Heading(text.into()));
    }

    pub fn text(&mut self, text: impl Into<String>) {
        self.0.push(Block::Text(text.into()));
    }

    /// A table with this head.
    pub fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        self.0.push(Block::Table([vec![head], rows].concat()));
    }

    pub fn verbatim(&mut self, title: impl Into<String>, text: impl Into<String>) {
        self.0.push(Block::Verbatim(title.into(), text.into()));
    }

    /// As text, or as Markdown.
    pub fn render(&self, markdown: bool) -> String {
        let mut out = String::new();
        for block in &self.0 {
            let _ = match block {
                Block::Heading(text) if markdown => write!(out, "### {text}\n\n"),
                Block::Heading(text) => write!(out, "{}\n{}\n", text, "=".repeat(text.chars().count())),
                Block::Text(text) => write!(out, "{text}\n\n"),
                Block::Table(rows) => writeln!(out, "{}", table(rows, markdown)),
                Block::Verbatim(title, text) if markdown => {
                    let text = text.trim_end();
                    write!(out, "<details><summary>{title}</summary>\n\n```\n{text}\n```\n\n</details>\n\n")
                }
                Block::Verbatim(title, text) => {
                    let lines: Vec<String> = text.trim_end().lines().map(|line| format!("    {line}")).collect();
                    write!(out, "{title}:\n{}\n\n", lines.join("\n"))
                }
            };
        }
        out
    }
}

/// Columns of even width; figures to the right, words to the left.
fn table(rows: &[Vec<String>], markdown: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let columns: Vec<Column> =
        widths.iter().enumerate().map(|(index, &width)| Column { width, right: holds_figures(rows, index) }).collect();
    let mut lines: Vec<String> = rows.iter().map(|row| line(row, &columns, markdown)).collect();
    let rule = |column: &Column| match (markdown, column.right) {
        (true, false) => format!("{}|", "-".repeat(column.width + 2)),
        (true, true) => format!("{}:|", "-".repeat(column.width + 1)),
        (false, _) => format!("{}  ", "-".repeat(column.width)),
    };
    let rule: String = columns.iter().map(rule).collect();
    lines.insert(1.min(lines.len()), if markdown { format!("|{rule}") } else { rule.trim_end().to_owned() });
    lines.join("\n") + "\n"
}

struct Column {
    width: usize,
    right: bool,
}

/// Whether all below the head are numbers, or say that there is none.
fn holds_figures(rows: &[Vec<String>], column: usize) -> bool {
    let figure = |cell: &String| cell.chars().all(|char| char.is_ascii_digit() || "–.,≥≤ -".contains(char));
    rows.len() > 1 && rows[1..].iter().filter_map(|row| row.get(column)).all(figure)
}

fn line(row: &[String], columns: &[Column], markdown: bool) -> String {
    let cell = |(index, column): (usize, &Column)| {
        let text = row.get(index).map_or("", String::as_str);
        let fill = " ".repeat(column.width.saturating_sub(text.chars().count()));
        let aligned = if column.right { format!("{fill}{text}") } else { format!("{text}{fill}") };
        if markdown { format!(" {aligned} |") } else { format!("{aligned}  ") }
    };
    let cells: String = columns.iter().enumerate().map(cell).collect();
    if markdown { format!("|{cells}") } else { cells.trim_end().to_owned() }
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut report = Report::default();
        report.heading("Héad");
        report.table(&["a", "b"], vec![vec!["one".to_owned(), "1".to_owned()], vec!["×".to_owned(), "100".to_owned()]]);
        report.verbatim("file", "x\ny\n");
        report
    }

    #[test]
    fn text_has_even_columns() {
        assert_eq!(
            sample().render(false),
            "Héad\n====\na      b\n---  ---\none    1\n×    100\n\nfile:\n    x\n    y\n\n"
        );
    }

    #[test]
    fn markdown_has_the_same() {
        let table = "| a   |   b |\n|-----|----:|\n| one |   1 |\n| ×   | 100 |\n\n";
        let rendered = sample().render(true);
        assert!(rendered.starts_with("### Héad\n\n") && rendered.contains(table), "{rendered}");
        assert!(rendered.contains("<details><summary>file</summary>\n\n```\nx\ny\n```\n"));
    }
}
