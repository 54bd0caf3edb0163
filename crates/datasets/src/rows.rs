//! Rows of CSV, with checks of misplaced quotation marks.

use crate::error::{LoadError, Location};
use crate::reading::{Reading, is_picture_name};
use crate::warnings::WarningKind;

/// Format of a file of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) separator: char,
    /// True if a quotation mark is more than an ordinary character.
    pub(crate) quoting: bool,
}

/// Calls `add` for each row after the header, with its line.
pub(crate) fn for_each<'f>(
    contents: &str,
    format: Format,
    reading: &mut Reading<'f>,
    mut add: impl FnMut(&csv::StringRecord, usize, &mut Reading<'f>) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(format.separator as u8)
        .quoting(format.quoting)
        .flexible(true)
        .has_headers(true)
        .from_reader(contents.as_bytes());
    let mut row = csv::StringRecord::new();
    loop {
        let more = rows.read_record(&mut row).map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line) as usize;
            LoadError::malformed(reading.file, Location::Line(line), format!("is not CSV: {error}"))
        })?;
        if !more {
            return Ok(());
        }
        let start = row.position().map_or(0, csv::Position::byte) as usize;
        let line = row.position().map_or(1, csv::Position::line) as usize;
        if format.quoting {
            let end = rows.position().byte() as usize;
            let raw = contents.get(start..end).unwrap_or_default();
            check_quotes(raw, &row, format.separator, line, reading)?;
        }
        add(&row, line, reading)?;
    }
}

/// Refuses misplaced quotation marks that could swallow rows, and counts others as stray.
fn check_quotes(
    raw: &str,
    row: &csv::StringRecord,
    separator: char,
    line: usize,
    reading: &mut Reading<'_>,
) -> Result<(), LoadError> {
    let is_canonical = !raw.contains('"') || is_canonical(raw, row, separator);
    let spans_lines = row.iter().any(|field| field.contains(['\n', '\r']));
    if spans_lines && (!is_canonical || row.iter().any(|field| swallows_a_row(field, separator))) {
        return Err(LoadError::malformed(
            reading.file,
            Location::Line(line),
            "opens a quotation mark that does not close on the same line, nor where its caption ends",
        ));
    }
    if !is_canonical {
        reading.warn(WarningKind::StrayQuote, Location::Line(line), row.get(0).unwrap_or_default());
    }
    Ok(())
}

/// Returns true if a later line of a field begins like a row, with an image's name.
fn swallows_a_row(field: &str, separator: char) -> bool {
    field.split(['\n', '\r']).skip(1).any(|line| {
        line.split_once(separator)
            .is_some_and(|(name, _)| is_picture_name(name.trim().trim_matches('"')))
    })
}

/// Returns true if every field is bare, or fully quoted with doubled marks inside.
fn is_canonical(raw: &str, row: &csv::StringRecord, separator: char) -> bool {
    // Blank lines before a record belong to the span that the reader reports.
    let mut rest = raw.trim_start_matches(['\n', '\r']);
    for field in row {
        let written = if rest.starts_with('"') {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.to_owned()
        };
        let Some(after) = rest.strip_prefix(written.as_str()) else { return false };
        rest = after.strip_prefix(separator).unwrap_or(after);
    }
    rest.trim_end_matches(['\n', '\r']).is_empty()
}
