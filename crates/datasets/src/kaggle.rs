//! Kaggle's layout: CSV with one caption in each row, under one of two headers.

use std::path::Path;

use crate::error::{LoadError, Location};
use crate::reading::Reading;
use crate::rows::{self, Format};
use crate::warnings::WarningKind;

/// Names of the caption file: Flickr8k's and Flickr30k's, and Flickr30k's first upload.
pub(crate) const FILES: [&str; 3] = ["captions.txt", "results.csv", "flickr30k_images/results.csv"];

/// Columns that the header names.
#[derive(Clone, Copy)]
enum Columns {
    /// `image,caption`
    ImageCaption,
    /// `image_name,comment_number,comment`
    ImageNumberCaption,
}

/// Reads `contents` row by row.
pub(crate) fn read(contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
    let (header, _) = contents.split_once('\n').unwrap_or((contents, ""));
    let (separator, columns) = recognise(header, reading.file)?;
    // In the file with bars a quotation mark is an ordinary character.
    let format = Format { separator, quoting: separator == ',' };
    rows::for_each(contents, format, reading, |row, line, reading| match columns {
        Columns::ImageCaption => add_two(row, line, reading),
        Columns::ImageNumberCaption => add_three(row, separator, line, reading),
    })
}

fn recognise(header: &str, file: &Path) -> Result<(char, Columns), LoadError> {
    for separator in [',', '|'] {
        let names: Vec<&str> =
            header.split(separator).map(|name| name.trim().trim_matches('"')).collect();
        let columns = match names[..] {
            ["image", "caption"] => Columns::ImageCaption,
            ["image_name", "comment_number", "comment"] => Columns::ImageNumberCaption,
            _ => continue,
        };
        return Ok((separator, columns));
    }
    Err(LoadError::malformed(
        file,
        Location::Line(1),
        format!(
            "has the header {:?}; it must be image,caption or image_name,comment_number,comment\n\
             hint: to read other columns, pass the file with --captions, in a config data.captions",
            header.trim_end()
        ),
    ))
}

/// Adds a row of `image,caption`. The caption is unchanged.
fn add_two(
    row: &csv::StringRecord,
    line: usize,
    reading: &mut Reading<'_>,
) -> Result<(), LoadError> {
    let (Some(name), Some(caption)) = (row.get(0), row.get(1)) else {
        return Err(too_few(row, 2, line, reading.file));
    };
    if row.len() > 2 {
        reading.warn(WarningKind::UnquotedSeparator, Location::Line(line), name);
        return reading.add_row(name, &rejoin(row, 1, ','), line);
    }
    reading.add_row(name, caption, line)
}

/// Adds a row of `image_name,comment_number,comment`, without blanks around separators.
fn add_three(
    row: &csv::StringRecord,
    separator: char,
    line: usize,
    reading: &mut Reading<'_>,
) -> Result<(), LoadError> {
    let name = row.get(0).unwrap_or_default().trim();
    let number = row.get(1).unwrap_or_default().trim();
    let caption = row.get(2).unwrap_or_default().trim();
    if caption.is_empty()
        && let Some((digits, caption)) = number.split_once(char::is_whitespace)
        && is_number(digits)
    {
        reading.warn(WarningKind::NumberInCaption, Location::Line(line), name);
        return reading.add_row(name, caption.trim(), line);
    }
    if row.len() < 3 {
        return Err(too_few(row, 3, line, reading.file));
    }
    if !is_number(number) {
        let problem = format!("has {number:?} where the number of the caption belongs");
        return Err(LoadError::malformed(reading.file, Location::Line(line), problem));
    }
    if row.len() > 3 {
        reading.warn(WarningKind::UnquotedSeparator, Location::Line(line), name);
        return reading.add_row(name, rejoin(row, 2, separator).trim(), line);
    }
    reading.add_row(name, caption, line)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn rejoin(row: &csv::StringRecord, from: usize, separator: char) -> String {
    row.iter().skip(from).collect::<Vec<_>>().join(&separator.to_string())
}

fn too_few(row: &csv::StringRecord, expected: usize, line: usize, file: &Path) -> LoadError {
    let problem = format!("has {} of {expected} fields: {:?}", row.len(), rejoin(row, 0, ','));
    LoadError::malformed(file, Location::Line(line), problem)
}
