//! Tables of captions with columns of any names: CSV, TSV and JSON Lines.

use std::path::{Path, PathBuf};

use foreign_text::{nearest, printable, python_json};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::corpus::Part;
use crate::descriptions::Texts;
use crate::error::{LoadError, Location};
use crate::reading::Reading;
use crate::rows::{self, Format};
use crate::source::Columns;
use crate::text;
use crate::warnings::WarningKind;

/// Usual names of the columns, in the order of preference.
const IMAGE_COLUMNS: [&str; 7] =
    ["file_name", "filename", "image", "image_name", "image_path", "file", "path"];
const CAPTION_COLUMNS: [&str; 5] = ["text", "caption", "captions", "description", "prompt"];

/// Table to read, and what its folder says of the images.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) columns: Columns,
    /// Folder of the images within the data set; empty if it is the data set's own.
    pub(crate) folder: String,
    /// Part of the split that the images belong to.
    pub(crate) part: Option<Part>,
}

impl Table {
    /// Reads `contents` row by row.
    pub(crate) fn read(&self, contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
        let extension = reading.file.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("jsonl" | "ndjson") => self.read_json_lines(contents, reading),
            Some("tsv") => self.read_rows(contents, '\t', reading),
            _ => self.read_rows(contents, separator(contents), reading),
        }
    }

    fn read_rows(
        &self,
        contents: &str,
        separator: char,
        reading: &mut Reading<'_>,
    ) -> Result<(), LoadError> {
        let header = csv::ReaderBuilder::new()
            .delimiter(separator as u8)
            .has_headers(false)
            .from_reader(contents.as_bytes())
            .into_records()
            .next();
        let header: Vec<String> = match header {
            Some(Ok(header)) => header.iter().map(|name| name.trim().to_owned()).collect(),
            _ => return Err(LoadError::NoCaptions(reading.file.to_owned())),
        };
        let image = self.image_column(&header, reading.file)?;
        let caption = self.caption_column(&header, reading.file)?;
        let format = Format { separator, quoting: true };
        rows::for_each(contents, format, reading, |row, line, reading| {
            let location = Location::Line(line);
            if row.len() != header.len() {
                let problem = format!(
                    "has {} fields, but the header has {}; a text with `{}` must be in quotation \
                     marks",
                    row.len(),
                    header.len(),
                    separator.escape_debug()
                );
                return Err(LoadError::malformed(reading.file, location, problem));
            }
            let name = row.get(image).unwrap_or_default();
            self.add(name, row.get(caption).unwrap_or_default(), location, reading)
        })
    }

    fn read_json_lines(&self, contents: &str, reading: &mut Reading<'_>) -> Result<(), LoadError> {
        // Those of the first object; a later one without a caption's key has no caption.
        let mut columns = None;
        for (line, row) in text::lines(contents) {
            let location = Location::Line(line);
            let file = reading.file;
            let malformed = |problem: String| LoadError::malformed(file, location, problem);
            let row: Map<String, Value> = serde_json::from_str(&python_json(row))
                .map_err(|error| malformed(format!("is not a JSON object: {error}")))?;
            let names: Vec<String> = row.keys().cloned().collect();
            let (image, caption) = match &columns {
                Some(found) => found,
                None => columns.insert((
                    names[self.image_column(&names, file)?].clone(),
                    names[self.caption_column(&names, file)?].clone(),
                )),
            };
            let name = row.get(image).and_then(Value::as_str).ok_or_else(|| {
                malformed(format!("has no text in the column {}", printable(image)))
            })?;
            let texts = Texts::deserialize(row.get(caption).unwrap_or(&Value::Null))
                .map_err(|error| malformed(format!("column {}: {error}", printable(caption))))?;
            let texts = texts.into_vec();
            if texts.is_empty() {
                self.add(name, "", location, reading)?;
            }
            for text in texts {
                self.add(name, &text, location, reading)?;
            }
        }
        Ok(())
    }

    /// Adds a caption; warns of one that its image has already.
    fn add(
        &self,
        name: &str,
        caption: &str,
        location: Location,
        reading: &mut Reading<'_>,
    ) -> Result<(), LoadError> {
        let name = name.trim();
        let name = name.strip_prefix("./").unwrap_or(name);
        text::check_path(name, reading.file, location)?;
        let name = text::joined(&self.folder, name);
        let index = match reading.index_of(&name) {
            Some(index) => index,
            None => reading.add_named(&name, self.part, location)?,
        };
        let caption = caption.trim();
        if reading.has_caption(index, caption) {
            reading.warn(WarningKind::RepeatedCaption, location, &name);
        } else {
            reading.add_caption(index, caption, location);
        }
        Ok(())
    }

    fn image_column(&self, names: &[String], file: &Path) -> Result<usize, LoadError> {
        find_column(names, self.columns.image.as_deref(), &IMAGE_COLUMNS, "image", file)
    }

    fn caption_column(&self, names: &[String], file: &Path) -> Result<usize, LoadError> {
        find_column(names, self.columns.caption.as_deref(), &CAPTION_COLUMNS, "caption", file)
    }
}

/// Returns the files of a folder that look like tables, sorted; none if it cannot be read.
pub(crate) fn find(folder: &Path) -> Vec<PathBuf> {
    let paths = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let mut tables: Vec<PathBuf> = paths.filter(|path| is_table(path) && path.is_file()).collect();
    tables.sort();
    tables
}

fn is_table(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["csv", "tsv", "jsonl", "ndjson"].iter().any(|known| extension == *known)
}

/// Returns the separator that is most frequent in the header.
fn separator(contents: &str) -> char {
    let header = contents.lines().next().unwrap_or_default();
    let count = |separator: &char| header.matches(*separator).count();
    // Of equal counts the last wins: the comma.
    ['|', ';', '\t', ','].into_iter().max_by_key(count).unwrap_or(',')
}

/// Returns the index of the column `chosen`, or of the first of the `usual` names.
fn find_column(
    names: &[String],
    chosen: Option<&str>,
    usual: &[&str],
    kind: &'static str,
    file: &Path,
) -> Result<usize, LoadError> {
    let found = match chosen {
        Some(chosen) => names.iter().position(|name| name == chosen),
        None => usual
            .iter()
            .find_map(|usual| names.iter().position(|name| name.eq_ignore_ascii_case(usual))),
    };
    found.ok_or_else(|| LoadError::NoColumn {
        file: file.to_owned(),
        kind,
        chosen: chosen.map(str::to_owned),
        suggestion: chosen.and_then(|chosen| nearest(chosen, names)).map(str::to_owned),
        columns: names.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::separator;

    #[test]
    fn the_header_tells_the_separator() {
        for (header, expected) in [
            ("image,caption\n", ','),
            ("image;caption, in German", ','),
            ("image;caption;by", ';'),
            ("a\tb", '\t'),
            ("a|b", '|'),
            ("image", ','),
        ] {
            assert_eq!(separator(header), expected, "{header}");
        }
    }
}
