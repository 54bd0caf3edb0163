//! Collects a file's entries, and refuses those that break a rule of its side.

use std::path::Path;

use super::record::Record;
use crate::Error;
use crate::captions::{Builder, Captions};

/// A side of an evaluation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    References,
    Predictions,
}

/// The entries of a file that is being read. Errors are messages without the file's name.
///
/// A JSON object turns out to be COCO's annotations or `{image: captions}` only at the key
/// `"annotations"`, which may be its last; so the two are collected side by side.
pub(super) struct Loader {
    side: Side,
    plain: Builder,
    coco: Builder,
    is_coco: bool,
    /// The first entry that is wrong if the object is not COCO's.
    wrong: Option<String>,
}

impl Loader {
    pub(super) fn new(side: Side) -> Self {
        let (plain, coco) = (Builder::default(), Builder::default());
        Self { side, plain, coco, is_coco: false, wrong: None }
    }

    /// Returns the captions of the file.
    pub(super) fn finish(self, path: &Path) -> Result<Captions, Error> {
        match self.wrong {
            Some(message) if !self.is_coco => {
                Err(Error::Malformed { path: path.to_owned(), message })
            }
            _ => {
                let builder = if self.is_coco { self.coco } else { self.plain };
                builder.finish().map_err(|error| error.in_file(path))
            }
        }
    }

    /// Adds the entry `key: text` of an object.
    pub(super) fn text(&mut self, key: &str, text: &str) -> Result<(), String> {
        if self.side == Side::Predictions {
            return added(self.plain.all(key, [text]));
        }
        self.other(key);
        Ok(())
    }

    /// Adds the entry `key: [text, …]` of an object.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) -> Result<(), String> {
        if self.side == Side::Predictions && texts.is_empty() {
            return Err(format!("image {key:?} has no caption; a prediction is exactly one"));
        }
        self.check_count(key, texts.len())?;
        added(self.plain.all(key, texts))
    }

    /// Refuses a second prediction as soon as it comes, because the list may be long.
    pub(super) fn check_count(&self, key: &str, captions: usize) -> Result<(), String> {
        if self.side == Side::Predictions && captions > 1 {
            return Err(format!(
                "image {key:?} has more than one caption; a prediction is exactly one"
            ));
        }
        Ok(())
    }

    /// Adds the prediction at a position of a list, from 0.
    pub(super) fn text_at(&mut self, position: usize, text: &str) -> Result<(), String> {
        match self.side {
            Side::Predictions => self.text(&position.to_string(), text),
            Side::References => Err("expected a list of objects with \"image_id\" and \
                 \"caption\", or of lists of captions"
                .to_owned()),
        }
    }

    /// Returns whether the list `key` of an object is one of COCO's annotations, which may be long.
    pub(super) fn is_coco_list(key: &str) -> bool {
        matches!(key, "annotations" | "images")
    }

    /// Adds a record of the list `key` of COCO's annotations.
    pub(super) fn coco_record(&mut self, key: &str, record: Record) -> Result<(), String> {
        match (key, self.side) {
            ("annotations", Side::References) => return self.record(record),
            ("annotations", Side::Predictions) => {
                self.is_coco = true;
                let (id, caption) = record.into_caption()?;
                return added(self.coco.all(&id, [caption]));
            }
            (_, Side::References) => record.id.iter().for_each(|id| self.coco.name(id)),
            // Predictions may be for some of the images.
            (_, Side::Predictions) => {}
        }
        Ok(())
    }

    /// Notes an entry of an object that is no caption.
    pub(super) fn other(&mut self, key: &str) {
        let expected = match self.side {
            Side::References => "a list of reference captions",
            Side::Predictions => "one predicted caption",
        };
        let hint = match (self.side, key) {
            (Side::References, "images") => {
                "; this looks like a data set file without COCO's \"annotations\": write \
                 {image: [captions]}, or score a run on it by `capsmith evaluate RUN`"
            }
            _ => "",
        };
        self.wrong.get_or_insert_with(|| format!("image {key:?}: expected {expected}{hint}"));
    }

    /// Adds a record of COCO's annotations or results.
    pub(super) fn record(&mut self, record: Record) -> Result<(), String> {
        let (id, caption) = record.into_caption()?;
        added(match self.side {
            Side::References => {
                self.is_coco = true;
                self.coco.one(&id, &caption)
            }
            Side::Predictions => self.plain.all(&id, [caption]),
        })
    }

    /// Adds a line of JSONL.
    pub(super) fn line(&mut self, mut record: Record) -> Result<(), String> {
        if let (Side::References, Some(captions)) = (self.side, record.captions.take()) {
            let id = record.image()?;
            if record.caption.is_some() {
                return Err(format!(
                    "image {id:?} has both \"caption\" and \"captions\"; keep one"
                ));
            }
            added(self.plain.all(&id, captions))
        } else {
            let (id, caption) = record.into_caption()?;
            self.row(&id, &caption)
        }
    }

    /// Adds a row of CSV.
    pub(super) fn row(&mut self, id: &str, caption: &str) -> Result<(), String> {
        added(match self.side {
            Side::References => self.plain.one(id, caption),
            Side::Predictions => self.plain.all(id, [caption]),
        })
    }
}

fn added(result: Result<(), Error>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}
