//! Tables that can be sorted by a click on a header.

use maud::{Markup, PreEscaped, Render, html};

use crate::meanings::meaning;

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Displayed contents.
    pub shown: PreEscaped<String>,
    /// Sort key of a numeric cell; cells without one sort by their text.
    pub value: Option<f64>,
    /// True if the cell is marked as the best.
    pub best: bool,
    /// Confidence interval of the number.
    pub interval: Option<(f64, f64)>,
}

impl Cell {
    /// Returns a cell of text or markup.
    #[must_use]
    pub fn text(shown: impl Render) -> Self {
        Self { shown: shown.render(), ..Self::default() }
    }

    /// Returns a cell of a number with `decimals` decimals; the full number shows under the
    /// pointer.
    #[must_use]
    pub fn number(value: f64, decimals: usize) -> Self {
        let shown = html! { span title=(value) { (format!("{value:.decimals$}")) } };
        Self { shown, value: Some(value), ..Self::default() }
    }

    /// Returns the cell with a confidence interval of `decimals` decimals below the number.
    #[must_use]
    pub fn with_interval(self, low: f64, high: f64, decimals: usize) -> Self {
        let shown = html! {
            (self.shown) small { (format!("{low:.decimals$} to {high:.decimals$}")) }
        };
        Self { shown, interval: Some((low, high)), ..self }
    }

    fn class(&self) -> Option<&'static str> {
        match (self.value, self.best) {
            (_, true) => Some("number best"),
            (Some(_), false) => Some("number"),
            (None, false) => None,
        }
    }
}

/// Returns a table that can be sorted by a click on a header, numbers in descending order.
///
/// A row may have fewer cells than the table has columns: its last cell spans the rest. The page's
/// script adds buttons that copy the table, and on a phone a choice of the shown column.
#[must_use]
pub fn sortable(head: &[&str], rows: &[Vec<Cell>]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table.sortable {
                thead {
                    tr {
                        @for name in head {
                            th scope="col" { button type="button" title=[meaning(name)] { (name) } }
                        }
                    }
                }
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
                    data-low=[cell.interval.map(|(low, _)| low)]
                    data-high=[cell.interval.map(|(_, high)| high)]
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
