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
//! | `.csv`, `.txt`; `.tsv` with tabs | a header with `image_id` (or `image`) and `caption`; a row a caption | the same |
//!
//! Files are UTF-8, with or without a byte order mark. Identifiers are strings or numbers; a number
//! is its decimal digits, all of them, and numbers that Python takes for equal (`1` and `1.0`) are
//! one identifier. Other fields and columns are ignored, and may hold Python's `NaN` and
//! `Infinity`. References of one image may be spread over a file; they are taken together in the
//! order of the file. In COCO annotations with an `images` list that list gives the order of
//! images, as in pycocotools, and an image without a caption is an error. A file with any other
//! extension is read as JSON.

mod loading;
mod numbers;
mod python;
mod shapes;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::DeserializeSeed;

use crate::Error;
use crate::spool::Spool;
use crate::text::Text;
use loading::{Loading, Problem};
use python::PythonJson;
use shapes::{Document, Record};

pub(crate) use loading::Side;

/// Reads references as `(image, captions)` pairs, in order.
///
/// # Errors
/// Names the file and the place.
pub fn references(path: &Path) -> Result<Vec<(String, Vec<String>)>, Error> {
    read(path, Side::References)?.images().collect()
}

/// Reads predictions as `(image, caption)` pairs, in order.
///
/// # Errors
/// Names the file and the place.
pub fn predictions(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let spool = read(path, Side::Predictions)?;
    spool.images().map(|image| image.map(|(id, captions)| (id, captions.concat()))).collect()
}

/// Reads a file into a spool. Little more than an entry of it is in memory at a time.
pub(crate) fn read(path: &Path, side: Side) -> Result<Spool, Error> {
    let mut text = Text::open(path)?;
    let reader = BufReader::with_capacity(BUFFER, &mut text);
    let mut loading = Loading::new(side);
    let read = match family(path) {
        Family::Csv => csv_rows(reader, b',', &mut loading),
        Family::Tsv => csv_rows(reader, b'\t', &mut loading),
        Family::Lines => json_lines(reader, &mut loading),
        Family::Json => json(reader, &mut loading),
    };
    if read.is_err() {
        // That a file is no UTF-8 is the better reason, wherever it shows soon.
        let _ = std::io::copy(&mut text.by_ref().take(LOOK_AHEAD), &mut std::io::sink());
    }
    if let Some(failure) = text.failure(path) {
        return Err(failure);
    }
    read.and_then(|()| loading.finish()).map_err(|problem| match problem {
        Problem::Malformed(message) => Error::Malformed { path: path.to_owned(), message },
        Problem::Refused(error @ Error::Temporary { .. }) => error,
        Problem::Refused(error) => error.in_file(path),
    })
}

/// Bytes of a file that are read at once.
const BUFFER: usize = 1 << 16;

/// Bytes behind an error that are checked to be UTF-8; a pipe may never end.
const LOOK_AHEAD: u64 = 1 << 28;

#[derive(Clone, Copy)]
enum Family {
    Json,
    Lines,
    Csv,
    Tsv,
}

fn family(path: &Path) -> Family {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" | "txt" => Family::Csv,
        "tsv" => Family::Tsv,
        "jsonl" | "ndjson" => Family::Lines,
        _ => Family::Json,
    }
}

fn json(reader: impl BufRead, loading: &mut Loading) -> Result<(), Problem> {
    let reader = BufReader::with_capacity(BUFFER, PythonJson::new(reader, 2));
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    if let Err(error) = Document(&mut *loading).deserialize(&mut deserializer) {
        return Err(loading.refusal().unwrap_or_else(|| Problem::Malformed(explained(&error))));
    }
    deserializer.end().map_err(|error| {
        Problem::Malformed(format!("{error}; if the file has a JSON value a line, name it .jsonl"))
    })
}

/// Returns the error of a parser with what to do about it, where that is known.
fn explained(error: &serde_json::Error) -> String {
    let message = error.to_string();
    if message.contains("surrogate") || message.contains("unexpected end of hex escape") {
        return format!(
            "{message}: the text has half of a character that UTF-16 writes as two; \
             remove it, or write the character whole"
        );
    }
    message
}

fn json_lines(mut reader: impl BufRead, loading: &mut Loading) -> Result<(), Problem> {
    let (mut line, mut strict) = (String::new(), String::new());
    for number in 1.. {
        let at = |message: String| Problem::Malformed(format!("line {number}: {message}"));
        line.clear();
        if reader.read_line(&mut line).map_err(|error| at(error.to_string()))? == 0 {
            break;
        }
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        strict.clear();
        let read = PythonJson::new(line.as_bytes(), 1).read_to_string(&mut strict);
        read.map_err(|error| at(error.to_string()))?;
        let record: Record =
            serde_json::from_str(&strict).map_err(|error| at(explained(&error)))?;
        loading.line(record).map_err(|problem| match problem {
            Problem::Malformed(message) => at(message),
            refused @ Problem::Refused(_) => refused,
        })?;
    }
    Ok(())
}

/// A line behind the last: in a cell, it shows that a quotation mark was never closed.
const END: &str = "\n\0\n";

fn csv_rows(reader: impl BufRead, delimiter: u8, loading: &mut Loading) -> Result<(), Problem> {
    let malformed = |error: csv::Error| Problem::Malformed(error.to_string());
    let reader = reader.chain(END.as_bytes());
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(reader);
    let headers = reader.headers().map_err(malformed)?.clone();
    let column = |names: &[&str]| {
        headers.iter().position(|header| names.contains(&header.trim())).ok_or_else(|| {
            let names = names.join(" or ");
            let there: Vec<String> = headers.iter().take(10).map(|h| format!("{h:?}")).collect();
            Problem::Malformed(format!(
                "the header (line 1) has no column named {names}; its columns are {}",
                there.join(", ")
            ))
        })
    };
    let (id, caption) = (column(&["image_id", "image"])?, column(&["caption"])?);
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(malformed)? {
        let line = row.position().map_or(0, csv::Position::line);
        if row.iter().any(|cell| cell.ends_with(END)) {
            return Err(Problem::Malformed(format!(
                "line {line}: a quotation mark opens a cell that never ends"
            )));
        }
        let (cells, columns) = (row.len(), headers.len());
        let is_end = cells == 1 && row.get(0) == Some(END.trim_matches('\n'));
        if is_end && !reader.read_record(&mut row).map_err(malformed)? {
            break;
        }
        if is_end || cells != columns {
            return Err(Problem::Malformed(format!(
                "line {line}: expected {columns} cells as in the header, found {cells}"
            )));
        }
        let cell = |column| row.get(column).unwrap_or_default();
        loading.row(whole(cell(id)), cell(caption)).map_err(Problem::Refused)?;
    }
    Ok(())
}

/// Returns an identifier without the `.0` that pandas gives to integers of a column with gaps.
fn whole(id: &str) -> &str {
    match id.split_once('.') {
        Some((digits, zeros)) if is_number(digits) && zeros == "0" => digits,
        _ => id,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
