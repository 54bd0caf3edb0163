//! Markdown tables on a terminal: aligned columns, in blocks that fit its width.

use std::io::IsTerminal;

use console::{Term, measure_text_width};

/// Narrowest width that tables are fitted to.
const MIN_WIDTH: usize = 40;

/// Returns a Markdown text as it reads best: on a terminal with fitted tables, else unchanged.
pub fn for_terminal(markdown: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return markdown.to_owned();
    }
    fitted(markdown, usize::from(Term::stdout().size().1).max(MIN_WIDTH))
}

/// Aligns the columns of all tables in `markdown`.
///
/// A table that is wider than `width` becomes several, each with the first column.
fn fitted(markdown: &str, width: usize) -> String {
    let (mut text, mut table) = (String::new(), Vec::new());
    for line in markdown.lines() {
        if let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) {
            table.push(row.split('|').map(str::trim).collect());
        } else {
            text.push_str(&aligned(&std::mem::take(&mut table), width));
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(&aligned(&table, width));
    text
}

fn aligned(rows: &[Vec<&str>], width: usize) -> String {
    let is_rule = |row: &&Vec<&str>| row.iter().all(|cell| cell.bytes().all(|byte| byte == b'-'));
    let rows: Vec<&Vec<&str>> = rows.iter().filter(|row| !is_rule(row)).collect();
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let cell = |row: &[&str], column: usize| row.get(column).copied().unwrap_or("").to_owned();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| measure_text_width(&cell(row, column))).max())
        .map(Option::unwrap_or_default)
        .collect();
    let (mut text, mut next) = (String::new(), 1);
    while next < columns || (next == 1 && columns == 1) {
        let (first, mut used) = (next, widths[0]);
        while next < columns && (next == first || used + 2 + widths[next] <= width) {
            used += 2 + widths[next];
            next += 1;
        }
        if first > 1 {
            text.push('\n');
        }
        for row in &rows {
            let mut line = String::new();
            for column in std::iter::once(0).chain(first..next) {
                let shown = cell(row, column);
                let padding = widths[column] - measure_text_width(&shown) + 2;
                line.push_str(&shown);
                line.push_str(&" ".repeat(padding));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        next = next.max(2);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Scores.\n\n| row | BLEU-1 | CIDEr |\n| --- | --- | --- |\n\
        | SBG, top-5 | 0.6 ± 0.1 | – |\n| RNN | 0.601 | 0.5 |\n\nEnd.\n";

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            fitted(TABLE, 80),
            "Scores.\n\n\
             row         BLEU-1     CIDEr\n\
             SBG, top-5  0.6 ± 0.1  –\n\
             RNN         0.601      0.5\n\
             \nEnd.\n"
        );
    }

    #[test]
    fn a_wide_table_is_divided_with_its_first_column_repeated() {
        assert_eq!(
            fitted(TABLE, 21),
            "Scores.\n\n\
             row         BLEU-1\n\
             SBG, top-5  0.6 ± 0.1\n\
             RNN         0.601\n\
             \n\
             row         CIDEr\n\
             SBG, top-5  –\n\
             RNN         0.5\n\
             \nEnd.\n"
        );
    }
}
