//! The caption files that this crate reads.
//!
//! The extension decides the family; inside JSON the shape decides.
//!
//! | file | references | predictions |
//! | --- | --- | --- |
//! | `.json` | `{"1": ["a dog", "the dog"]}` | `{"1": "a dog"}` or `{"1": ["a dog"]}` |
//! | `.json` | COCO annotations: `{"annotations": [{"image_id": 1, "caption": "a dog"}, …]}`, or that list alone | COCO results: `[{"image_id": 1, "caption": "a dog"}, …]` |
//! | `.jsonl`, `.ndjson` | a line is `{"image_id": 1, "caption": "a dog"}` or `{"image_id": 1, "captions": ["a dog"]}` | a line is `{"image_id": 1, "caption": "a dog"}` |
//! | `.csv`, `.txt` | a header with `image_id` (or `image`) and `caption`; a row a caption | the same |
//!
//! Files are UTF-8, with or without a byte order mark. Identifiers are strings or integers. Other
//! fields and columns are ignored. References of one image may be spread over a file; they are taken
//! together in the order of the file. In COCO annotations with an `images` list that list gives the
//! order of images, as in pycocotools, and an image without a caption is an error. A file with any
//! other extension is read as JSON.

mod shapes;

use std::path::Path;

use rustc_hash::FxHashMap;

use crate::Error;
use shapes::{Document, Field, Record, ReferenceEntry};

/// Reads references as `(image, captions)` pairs, in order.
///
/// # Errors
/// Names the file and the place.
pub fn references(path: &Path) -> Result<Vec<(String, Vec<String>)>, Error> {
    let text = read_text(path)?;
    let located = |message| Error::Malformed { path: path.to_owned(), message };
    match family(path) {
        Family::Csv => csv_rows(&text).map(group),
        Family::Lines => json_lines(&text).and_then(|records| {
            records
                .into_iter()
                .map(|(line, record)| record.into_reference().map_err(|m| at_line(line, &m)))
                .collect::<Result<Vec<_>, _>>()
                .and_then(group_lists)
        }),
        Family::Json => references_from_json(&text),
    }
    .map_err(located)
}

/// Reads predictions as `(image, caption)` pairs, in order.
///
/// # Errors
/// Names the file and the place.
pub fn predictions(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let text = read_text(path)?;
    let located = |message| Error::Malformed { path: path.to_owned(), message };
    match family(path) {
        Family::Csv => csv_rows(&text),
        Family::Lines => json_lines(&text).and_then(|records| {
            records
                .into_iter()
                .map(|(line, record)| record.into_prediction().map_err(|m| at_line(line, &m)))
                .collect()
        }),
        Family::Json => predictions_from_json(&text),
    }
    .map_err(located)
}

/// Reads a file as UTF-8 text without its byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    match String::from_utf8(bytes) {
        Ok(text) => match text.strip_prefix('\u{feff}') {
            Some(rest) => Ok(rest.to_owned()),
            None => Ok(text),
        },
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..valid).unwrap_or_default();
            let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            Err(Error::NotUtf8 {
                path: path.to_owned(),
                line: before.split(|&byte| byte == b'\n').count(),
                byte: valid - line_start + 1,
            })
        }
    }
}

#[derive(Clone, Copy)]
enum Family {
    Json,
    Lines,
    Csv,
}

fn family(path: &Path) -> Family {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" | "txt" => Family::Csv,
        "jsonl" | "ndjson" => Family::Lines,
        _ => Family::Json,
    }
}

fn at_line(line: usize, message: &str) -> String {
    format!("line {line}: {message}")
}

fn document(text: &str) -> Result<Document, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn references_from_json(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    match document(text)? {
        Document::Pairs(pairs) if is_coco(&pairs) => coco_annotations(pairs),
        Document::Pairs(pairs) => pairs
            .into_iter()
            .map(|(id, field)| match field {
                Field::Texts(captions) => Ok((id, captions)),
                Field::Text(_) | Field::Records(_) | Field::Other => {
                    Err(format!("image {id:?}: expected a list of reference captions"))
                }
            })
            .collect(),
        Document::List(list) => records(list)?
            .into_iter()
            .map(Record::into_prediction)
            .collect::<Result<Vec<_>, _>>()
            .map(group),
    }
}

fn predictions_from_json(text: &str) -> Result<Vec<(String, String)>, String> {
    match document(text)? {
        Document::Pairs(pairs) => pairs
            .into_iter()
            .map(|(id, field)| match field {
                Field::Text(caption) => Ok((id, caption)),
                Field::Texts(captions) => match <[String; 1]>::try_from(captions) {
                    Ok([caption]) => Ok((id, caption)),
                    Err(captions) => Err(format!(
                        "image {id:?} has {} captions; a prediction is exactly one",
                        captions.len()
                    )),
                },
                Field::Records(_) | Field::Other => {
                    Err(format!("image {id:?}: expected one predicted caption"))
                }
            })
            .collect(),
        Document::List(list) => records(list)?.into_iter().map(Record::into_prediction).collect(),
    }
}

fn records(list: Field) -> Result<Vec<Record>, String> {
    match list {
        Field::Records(records) => Ok(records),
        Field::Texts(texts) if texts.is_empty() => Ok(Vec::new()),
        _ => Err("expected a list of objects with \"image_id\" and \"caption\"".to_owned()),
    }
}

fn is_coco(pairs: &[(String, Field)]) -> bool {
    pairs.iter().any(|(key, field)| key == "annotations" && matches!(field, Field::Records(_)))
}

fn coco_annotations(pairs: Vec<(String, Field)>) -> Result<Vec<(String, Vec<String>)>, String> {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (key, field) in pairs {
        match (key.as_str(), field) {
            ("images", Field::Records(records)) => {
                images.extend(records.into_iter().filter_map(|record| record.id).map(|id| id.0));
            }
            ("annotations", Field::Records(records)) => annotations.extend(records),
            _ => {}
        }
    }
    let captions: Vec<_> =
        annotations.into_iter().map(Record::into_prediction).collect::<Result<_, _>>()?;
    let mut by_image = Grouping::default();
    for id in images {
        by_image.captions_of(id);
    }
    for (id, caption) in captions {
        by_image.captions_of(id).push(caption);
    }
    Ok(by_image.entries)
}

fn json_lines(text: &str) -> Result<Vec<(usize, Record)>, String> {
    text.split('\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| match serde_json::from_str(line) {
            Ok(record) => Ok((number, record)),
            Err(error) => Err(at_line(number, &error.to_string())),
        })
        .collect()
}

fn csv_rows(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |names: &[&str]| {
        headers.iter().position(|header| names.contains(&header.trim())).ok_or_else(|| {
            format!("the header (line 1) has no column named {}", names.join(" or "))
        })
    };
    let (id, caption) = (column(&["image_id", "image"])?, column(&["caption"])?);
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let cell = |column| record.get(column).unwrap_or_default().to_owned();
            Ok((cell(id), cell(caption)))
        })
        .collect()
}

/// Captions by image, in the order in which images were first named.
#[derive(Default)]
struct Grouping {
    entries: Vec<(String, Vec<String>)>,
    positions: FxHashMap<String, usize>,
}

impl Grouping {
    fn captions_of(&mut self, id: String) -> &mut Vec<String> {
        let position = *self.positions.entry(id).or_insert_with_key(|id| {
            self.entries.push((id.clone(), Vec::new()));
            self.entries.len() - 1
        });
        &mut self.entries[position].1
    }
}

fn group(captions: Vec<(String, String)>) -> Vec<(String, Vec<String>)> {
    let mut by_image = Grouping::default();
    for (id, caption) in captions {
        by_image.captions_of(id).push(caption);
    }
    by_image.entries
}

/// Groups single captions by image; a whole list must be all that is said of its image.
fn group_lists(
    records: Vec<(String, ReferenceEntry)>,
) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut by_image = Grouping::default();
    let mut listed = rustc_hash::FxHashSet::default();
    for (id, entry) in records {
        let known = by_image.positions.contains_key(&id);
        let is_list = matches!(entry, ReferenceEntry::List(_));
        if listed.contains(&id) || (is_list && known) {
            return Err(format!("image {id:?} is given twice; keep one of the two entries"));
        }
        if is_list {
            listed.insert(id.clone());
        }
        let captions = by_image.captions_of(id);
        match entry {
            ReferenceEntry::One(caption) => captions.push(caption),
            ReferenceEntry::List(list) => captions.extend(list),
        }
    }
    Ok(by_image.entries)
}
