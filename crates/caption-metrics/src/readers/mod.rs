//! The caption files that this crate reads.
//!
//! The extension decides the family; inside JSON the shape decides.
//!
//! | file | references | predictions |
//! | --- | --- | --- |
//! | `.json` | `{"1": ["a dog", "the dog"]}` | `{"1": "a dog"}` or `{"1": ["a dog"]}` |
//! | `.json` | pycocoevalcap's `gts`: `{"1": [{"caption": "a dog"}, …]}` | its `res`: `{"1": [{"caption": "a dog"}]}` |
//! | `.json` | `[["a dog", "the dog"], …]`, images by position from 0 | `["a dog", …]`, images by position from 0 |
//! | `.json` | COCO annotations: `{"annotations": [{"image_id": 1, "caption": "a dog"}, …]}`, or that list alone | COCO results: `[{"image_id": 1, "caption": "a dog"}, …]` |
//! | `.jsonl`, `.ndjson` | a line is `{"image_id": 1, "caption": "a dog"}` or `{"image_id": 1, "captions": ["a dog"]}` | a line is `{"image_id": 1, "caption": "a dog"}` |
//! | `.csv`, `.tsv`, `.txt` | a header with `image_id` and `caption`; a row a caption | the same |
//! | `.txt`, `.token` | `Flickr8k.token.txt`: `a.jpg#0`, a tab, the caption | |
//! | `.csv` | Flickr30k's `results.csv`: `a.jpg\| 0\| A dog .` below its header | |
//!
//! Files are UTF-8, with or without a byte order mark. Identifiers are strings or numbers; a number
//! is its decimal digits, all of them, and numbers that Python takes for equal (`1` and `1.0`) are
//! one identifier. `image` and `file_name` are other names of `image_id`, `text` is one of
//! `caption`, as `capsmith caption --out` writes them. Commas, semicolons or tabs separate columns,
//! whichever give a header both names; their case does not matter there. Other fields and columns
//! are ignored, and may hold Python's `NaN` and `Infinity`. References of one image may be spread
//! over a file; they are taken together in the order of the file. In COCO annotations with an
//! `images` list that list gives the order of images, as in pycocotools, and an image without a
//! caption is an error. A file with any other extension is read as JSON.

mod flickr;
mod loader;
pub(crate) mod numbers;
mod python;
mod record;
mod shapes;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flickr::Layout;
use loader::Loader;
use python::PythonJson;
use record::Record;
use serde::de::DeserializeSeed;
use shapes::Document;

use crate::Error;
use crate::captions::Captions;
use crate::text::Text;

pub(crate) use loader::Side;

/// Reads a file, an entry at a time.
pub(crate) fn read(path: &Path, side: Side) -> Result<Captions, Error> {
    let mut text = Text::open(path)?;
    let reader = BufReader::with_capacity(BUFFER, &mut text);
    let mut loader = Loader::new(side);
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let read = match extension.to_ascii_lowercase().as_str() {
        "csv" | "txt" | "token" => csv_rows(reader, b',', &mut loader),
        "tsv" => csv_rows(reader, b'\t', &mut loader),
        "jsonl" | "ndjson" => json_lines(reader, &mut loader),
        _ => json(reader, &mut loader),
    };
    if read.is_err() {
        // That a file is no UTF-8 is the better reason, wherever it shows soon.
        let _ = std::io::copy(&mut text.by_ref().take(LOOK_AHEAD), &mut std::io::sink());
    }
    if let Some(failure) = text.failure() {
        return Err(failure);
    }
    read.map_err(|message| Error::Malformed { path: path.to_owned(), message })?;
    loader.finish(path)
}

/// Bytes of a file that are read at once.
const BUFFER: usize = 1 << 16;

/// Bytes behind an error that are checked to be UTF-8; a pipe may never end.
const LOOK_AHEAD: u64 = 1 << 28;

fn json(reader: impl BufRead, loader: &mut Loader) -> Result<(), String> {
    let reader = BufReader::with_capacity(BUFFER, PythonJson::new(reader, 2));
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    Document(loader).deserialize(&mut deserializer).map_err(|error| explain(&error))?;
    deserializer
        .end()
        .map_err(|error| format!("{error}; if the file has a JSON value a line, name it .jsonl"))
}

/// Returns the error of a parser with what to do about it, where that is known.
fn explain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    if message.contains("surrogate") || message.contains("unexpected end of hex escape") {
        return format!(
            "{message}: the text has half of a character that UTF-16 writes as two; \
             remove it, or write the character whole"
        );
    }
    message
}

fn json_lines(mut reader: impl BufRead, loader: &mut Loader) -> Result<(), String> {
    let (mut line, mut strict) = (String::new(), String::new());
    for number in 1.. {
        line.clear();
        let mut add = || {
            if reader.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Ok(false);
            }
            if line.trim().is_empty() {
                return Ok(true);
            }
            strict.clear();
            let read = PythonJson::new(line.trim().as_bytes(), 1).read_to_string(&mut strict);
            read.map_err(|error| error.to_string())?;
            let record: Record = serde_json::from_str(&strict).map_err(|error| explain(&error))?;
            loader.line(record).map(|()| true)
        };
        if !add().map_err(|message: String| format!("line {number}: {message}"))? {
            break;
        }
    }
    Ok(())
}

/// A line behind the last: in a cell, it shows that a quotation mark was never closed.
const END: &str = "\n\0\n";

/// Names of the columns of identifiers and captions.
const COLUMNS: [&[&str]; 2] = [&["image_id", "image", "file_name"], &["caption", "text"]];

/// Reads a table, whose columns `usual` separates unless another separator gives both columns.
fn csv_rows(mut reader: impl BufRead, usual: u8, loader: &mut Loader) -> Result<(), String> {
    let malformed = |error: csv::Error| error.to_string();
    let mut first_line = String::new();
    reader.read_line(&mut first_line).map_err(|error| error.to_string())?;
    if let Some(layout) = Layout::of(&first_line) {
        return layout.read(&first_line, reader, loader);
    }
    let has_both = |separator: &u8| {
        let mut header =
            csv::ReaderBuilder::new().delimiter(*separator).from_reader(first_line.as_bytes());
        header.headers().is_ok_and(|header| columns(header).is_ok())
    };
    let separator = [usual, b',', b';', b'\t'].into_iter().find(has_both).unwrap_or(usual);
    let reader = first_line.as_bytes().chain(reader).chain(END.as_bytes());
    let mut reader =
        csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(reader);
    let headers = reader.headers().map_err(malformed)?.clone();
    let [id, caption] = columns(&headers)?;
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(malformed)? {
        let line = row.position().map_or(0, csv::Position::line);
        if row.iter().any(|cell| cell.ends_with(END)) {
            return Err(format!("line {line}: a quotation mark opens a cell that never ends"));
        }
        let (cells, columns) = (row.len(), headers.len());
        let is_end = cells == 1 && row.get(0) == Some(END.trim_matches('\n'));
        if is_end && !reader.read_record(&mut row).map_err(malformed)? {
            break;
        }
        if is_end || cells != columns {
            return Err(format!(
                "line {line}: expected {columns} cells as in the header, found {cells}"
            ));
        }
        // Spreadsheets keep rows that were emptied.
        if row.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let cell = |column| row.get(column).unwrap_or_default();
        let added = loader.row(whole(cell(id)), cell(caption));
        added.map_err(|message| format!("line {line}: {message}"))?;
    }
    Ok(())
}

/// Returns the indices of [`COLUMNS`] in a header.
fn columns(header: &csv::StringRecord) -> Result<[usize; 2], String> {
    let column = |names: &[&str]| {
        let is_it = |cell: &str| names.iter().any(|name| cell.trim().eq_ignore_ascii_case(name));
        header.iter().position(is_it).ok_or_else(|| {
            let names = names.join(" or ");
            let there: Vec<String> = header.iter().take(10).map(|h| format!("{h:?}")).collect();
            format!(
                "the header (line 1) has no column named {names}; its columns are {}",
                there.join(", ")
            )
        })
    };
    let [id, caption] = COLUMNS.map(column);
    Ok([id?, caption?])
}

/// Returns an identifier without the `.0` that pandas gives to integers of a column with gaps.
pub(crate) fn whole(id: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    id.strip_suffix(".0").filter(|digits| is_number(digits)).unwrap_or(id)
}
