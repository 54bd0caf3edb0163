//! Tables that a click on a header sorts.

use maud::{Markup, PreEscaped, Render, html};

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// What is shown.
    pub shown: PreEscaped<String>,
    /// What rows are sorted by, where it is a number; else they are sorted by their text.
    pub value: Option<f64>,
    /// Whether it is marked as the best.
    pub best: bool,
}

impl Cell {
    /// A cell of text or markup.
    #[must_use]
    pub fn text(shown: impl Render) -> Self {
        Self { shown: shown.render(), ..Self::default() }
    }

    /// A number with so many decimals; the whole of it shows under the pointer.
    #[must_use]
    pub fn number(value: f64, decimals: usize) -> Self {
        let shown = html! { span title=(value) { (format!("{value:.decimals$}")) } };
        Self { shown, value: Some(value), best: false }
    }

    fn class(&self) -> Option<&'static str> {
        match (self.value, self.best) {
            (_, true) => Some("number best"),
            (Some(_), false) => Some("number"),
            (None, false) => None,
        }
    }
}

/// A table whose rows a click on a header sorts, numbers from the highest on. A row may end early: its
/// last cell is as wide as the rest.
#[must_use]
pub fn sortable(head: &[&str], rows: &[Vec<Cell>]) -> Markup {
    html! {
        div.scroll {
            table.sortable {
                thead { tr { @for name in head { th scope="col" { button type="button" { (name) } } } } }
                tbody { @for row in rows { (line(row, head.len())) } }
            }
        }
    }
}

fn line(row: &[Cell], columns: usize) -> Markup {
    html! {
        tr {
            @for (index, cell) in row.iter().enumerate() {
                @let rest = if index + 1 == row.len() { columns - index } else { 1 };
                td class=[cell.class()] data-value=[cell.value]
                    colspan=[(rest > 1).then_some(rest)] { (cell.shown) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_carry_what_they_are_sorted_by_and_short_rows_fill_the_width() {
        let best = Cell { best: true, ..Cell::number(0.123_456, 3) };
        let rows = [vec![Cell::text("a<b"), best], vec![Cell::text("c")]];
        let table = sortable(&["run", "BLEU-4"], &rows).into_string();
        let number =
            r#"<td class="number best" data-value="0.123456"><span title="0.123456">0.123</span>"#;
        assert!(table.contains("a&lt;b") && table.contains(number), "{table}");
        assert!(table.contains(r#"<td colspan="2">c</td>"#), "{table}");
    }
}
