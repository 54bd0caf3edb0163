//! Files of captions that users keep: CSV, JSON Lines or JSON, written batch by batch.

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Row of a table: a caption of a picture.
///
/// `file_name` and `text` are the columns of Hugging Face's imagefolder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Path of the picture, as the user gave it.
    pub file_name: String,
    /// Caption.
    pub text: String,
    /// [`Caption::score`](crate::captions::Caption::score); none if it is not finite.
    pub score: Option<f64>,
}

/// Columns of a CSV table, which are the fields of [`Row`].
const COLUMNS: [&str; 3] = ["file_name", "text", "score"];

/// Format of a table, by the extension of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
    Json,
}

/// Table of captions in a file, which always holds whole batches.
#[derive(Debug)]
pub struct CaptionTable {
    path: PathBuf,
    format: Format,
    rows: Vec<Row>,
    pictures: HashSet<String>,
}

impl CaptionTable {
    /// Opens a table, with the rows that its file has.
    ///
    /// # Errors
    /// Fails for another extension, and names a file that is no such table.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let format = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Format::Csv,
            Some("jsonl") => Format::JsonLines,
            Some("json") => Format::Json,
            _ => {
                return Err(Error::Mismatch(format!(
                    "{} is no kind of caption file\nhint: end its name with .csv, .jsonl or .json",
                    printable_path(path)
                )));
            }
        };
        let rows = rows(format, &read_if_there(path)?).map_err(|reason| Error::RunFile {
            path: path.to_owned(),
            reason: format!(
                "{reason}, so no captions can be added\nhint: choose another file, or remove it"
            ),
        })?;
        let pictures = rows.iter().map(|row| row.file_name.clone()).collect();
        Ok(Self { path: path.to_owned(), format, rows, pictures })
    }

    /// Returns true if the table has a caption of the picture.
    #[must_use]
    pub fn has(&self, picture: &str) -> bool {
        self.pictures.contains(picture)
    }

    /// Adds a caption; [`Self::save`] writes it.
    pub fn add(&mut self, row: Row) {
        self.pictures.insert(row.file_name.clone());
        self.rows.push(row);
    }

    /// Replaces the file by the whole table, all or nothing.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self) -> Result<(), Error> {
        Ok(durable::write_with(&self.path, |file| match self.format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                for row in &self.rows {
                    writer.serialize(row)?;
                }
                writer.flush()
            }
            Format::JsonLines => self.rows.iter().try_for_each(|row| {
                serde_json::to_writer(&mut *file, row)?;
                file.write_all(b"\n")
            }),
            Format::Json => {
                serde_json::to_writer_pretty(&mut *file, &self.rows)?;
                file.write_all(b"\n")
            }
        })?)
    }
}

/// Returns the text of a file; an empty one if there is no file.
fn read_if_there(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|source| {
            let reason = format!("cannot be read: {source}");
            Error::RunFile { path: path.to_owned(), reason }
        }),
    }
}

/// Parses the text of a table.
fn rows(format: Format, text: &str) -> Result<Vec<Row>, String> {
    match format {
        _ if text.trim().is_empty() => Ok(Vec::new()),
        Format::Csv => {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            // Without rows nothing else tells a table from another file.
            let header = reader.headers().map_err(|error| error.to_string())?;
            if *header != COLUMNS[..] {
                return Err(format!("its first line is not {}", COLUMNS.join(",")));
            }
            reader.deserialize().collect::<Result<_, _>>().map_err(|error| error.to_string())
        }
        Format::JsonLines => text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| {
                serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))
            })
            .collect(),
        Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
    }
}

/// Treatment of text files that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Keeps the file, and does not caption its picture.
    Skip,
    /// Replaces the text.
    Overwrite,
    /// Adds a line, unless the file has it.
    Append,
}

/// Writes captions to a text file, one a line, all or nothing; a link stays, and its file changes.
///
/// # Errors
/// Names the file.
pub fn write_text(path: &Path, captions: &[String], existing: Existing) -> Result<(), Error> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut lines = Vec::new();
    let before;
    if existing == Existing::Append {
        before = read_if_there(path)?;
        lines.extend(before.lines());
    }
    for caption in captions {
        if !lines.contains(&caption.as_str()) {
            lines.push(caption);
        }
    }
    Ok(durable::write_if_other(path, (lines.join("\n") + "\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file_name: &str, text: &str, score: Option<f64>) -> Row {
        Row { file_name: file_name.to_owned(), text: text.to_owned(), score }
    }

    #[test]
    fn a_table_keeps_its_rows_in_every_format() {
        let folder = tempfile::tempdir().unwrap();
        for (name, expected) in [
            (
                "a.csv",
                "file_name,text,score\n\"b,\"\"1\"\".jpg\",A dog.,-0.5\nc.jpg,\"Two cats, asleep.\",\n",
            ),
            (
                "a.JSONL",
                concat!(
                    r#"{"file_name":"b,\"1\".jpg","text":"A dog.","score":-0.5}"#,
                    "\n",
                    r#"{"file_name":"c.jpg","text":"Two cats, asleep.","score":null}"#,
                    "\n"
                ),
            ),
            (
                "a.json",
                "[\n  {\n    \"file_name\": \"b,\\\"1\\\".jpg\",\n    \"text\": \"A dog.\",\n    \"score\": -0.5\n  },\n  {\n    \"file_name\": \"c.jpg\",\n    \"text\": \"Two cats, asleep.\",\n    \"score\": null\n  }\n]\n",
            ),
        ] {
            let path = folder.path().join(name);
            let mut table = CaptionTable::open(&path).unwrap();
            table.add(row("b,\"1\".jpg", "A dog.", Some(-0.5)));
            table.save().unwrap();
            let mut table = CaptionTable::open(&path).unwrap();
            assert!(table.has("b,\"1\".jpg") && !table.has("c.jpg"), "{name}");
            table.add(row("c.jpg", "Two cats, asleep.", None));
            table.save().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
            assert_eq!(CaptionTable::open(&path).unwrap().rows, table.rows, "{name}");
        }
    }

    #[test]
    fn other_extensions_and_other_tables_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            CaptionTable::open(&path).unwrap_err().to_string()
        };
        for name in ["a.xlsx", "a", ".csv"] {
            let error = open(name, "");
            assert!(error.contains(name) && error.contains(".csv, .jsonl or .json"), "{error}");
        }
        for (name, text) in [
            ("mine.csv", "image,caption\na.jpg,A dog\n"),
            ("more.csv", "file_name,text,score,mine\na.jpg,A dog,,1\n"),
            ("header.csv", "image,caption,by\n"),
            ("notes.csv", "my notes: do not lose\n"),
            ("mine.jsonl", "{\"file_name\": 1}\n"),
            ("mine.json", "{}"),
        ] {
            let error = open(name, text);
            assert!(error.contains(name) && error.contains("hint: choose another"), "{error}");
        }
    }

    #[test]
    fn text_files_are_replaced_or_get_each_caption_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let text = |captions: &[&str], existing| {
            let captions: Vec<String> = captions.iter().map(ToString::to_string).collect();
            write_text(&path, &captions, existing).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(text(&["A dog."], Existing::Append), "A dog.\n");
        assert_eq!(text(&["A cat.", "A dog."], Existing::Append), "A dog.\nA cat.\n");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(text(&["A cat."], Existing::Append), "mine\nA cat.\n");
        assert_eq!(text(&["A cat."], Existing::Append), "mine\nA cat.\n");
        assert_eq!(text(&["A bird."], Existing::Overwrite), "A bird.\n");
        let link = folder.path().join("link.txt");
        std::os::unix::fs::symlink("a.txt", &link).unwrap();
        write_text(&link, &["A cat.".to_owned()], Existing::Append).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "A bird.\nA cat.\n");
    }
}
