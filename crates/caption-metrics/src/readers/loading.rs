//! What becomes of a file's entries: which are captions of which image, and which are refused.

use super::shapes::{Record, ReferenceEntry};
use crate::Error;
use crate::spool::{Collecting, Spool};

/// Which of the two sides of an evaluation a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    References,
    Predictions,
}

/// Why a file is not taken.
pub(super) enum Problem {
    /// It is not in the format that it should be in.
    Malformed(String),
    /// An entry breaks a rule, or cannot be kept.
    Refused(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// A file that is being read.
///
/// Whether a JSON object is COCO's annotations or `{image: captions}` shows only where `"annotations"` comes, which
/// may be at its end; so the two are collected side by side.
pub(super) struct Loading {
    side: Side,
    by_image: Collecting,
    coco: Collecting,
    is_coco: bool,
    /// What is wrong with the object if it is not COCO's.
    wrong: Option<String>,
    /// The error that a parser was stopped with: it only takes a message.
    refused: Option<Error>,
}

impl Loading {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            by_image: Collecting::new(),
            coco: Collecting::new(),
            is_coco: false,
            wrong: None,
            refused: None,
        }
    }

    /// The captions.
    pub(super) fn finish(self) -> Result<Spool, Problem> {
        if self.is_coco {
            return Ok(self.coco.finish()?);
        }
        match self.wrong {
            Some(message) => Err(Problem::Malformed(message)),
            None => Ok(self.by_image.finish()?),
        }
    }

    /// The entry that a parser was stopped at, if it was.
    pub(super) fn refusal(&mut self) -> Option<Problem> {
        self.refused.take().map(Problem::Refused)
    }

    /// What a parser is told of an entry.
    fn kept(&mut self, result: Result<(), Error>) -> Result<(), String> {
        result.map_err(|error| {
            let message = error.to_string();
            self.refused = Some(error);
            message
        })
    }

    /// The entry `key: text` of an object.
    pub(super) fn text_of(&mut self, key: &str, text: &str) -> Result<(), String> {
        match self.side {
            Side::Predictions => {
                let added = self.by_image.all(key, &[text]);
                self.kept(added)
            }
            Side::References => {
                self.other_of(key);
                Ok(())
            }
        }
    }

    /// Adds the entry `key: [text, …]` of an object.
    pub(super) fn texts_of(&mut self, key: &str, texts: &[String]) -> Result<(), String> {
        if self.side == Side::Predictions && texts.is_empty() {
            return Err(format!("image {key:?} has no caption; a prediction is exactly one"));
        }
        self.check_count(key, texts.len())?;
        let added = self.by_image.all(key, texts);
        self.kept(added)
    }

    /// Refuses a second prediction as soon as it comes: the list may be long.
    pub(super) fn check_count(&self, key: &str, captions: usize) -> Result<(), String> {
        if self.side == Side::Predictions && captions > 1 {
            return Err(format!(
                "image {key:?} has more than one caption; a prediction is exactly one"
            ));
        }
        Ok(())
    }

    /// Adds a prediction that stands at a position of a list, from 0.
    pub(super) fn text_at(&mut self, position: usize, text: &str) -> Result<(), String> {
        match self.side {
            Side::Predictions => self.text_of(&position.to_string(), text),
            Side::References => Err("expected a list of objects with \"image_id\" and \
                 \"caption\", or of lists of captions"
                .to_owned()),
        }
    }

    /// Returns whether the list `key` of an object is one of COCO's annotations, which may be long.
    pub(super) fn is_coco_list(key: &str) -> bool {
        matches!(key, "annotations" | "images")
    }

    /// Adds a record in a list of COCO's annotations, which [`is_coco_list`](Self::is_coco_list)
    /// names.
    pub(super) fn record_of(&mut self, key: &str, record: Record) -> Result<(), String> {
        let added = match (key, self.side) {
            ("annotations", Side::References) => return self.record(record),
            ("annotations", Side::Predictions) => {
                self.is_coco = true;
                let (id, caption) = record.into_prediction()?;
                self.coco.all(&id, &[caption])
            }
            // Predictions may be for some of the images.
            (_, Side::Predictions) => Ok(()),
            (_, Side::References) => record.id.map_or(Ok(()), |id| self.coco.name(&id.0)),
        };
        self.kept(added)
    }

    /// An entry of an object that is no caption.
    pub(super) fn other_of(&mut self, key: &str) {
        let expected = match self.side {
            Side::References => "a list of reference captions",
            Side::Predictions => "one predicted caption",
        };
        let hint = match (self.side, key) {
            (Side::References, "images") => {
                "; this looks like a data set file without COCO's \"annotations\": write \
                 {image: [captions]}, or score a run on it by `capsmith evaluate --run`"
            }
            _ => "",
        };
        self.wrong.get_or_insert_with(|| format!("image {key:?}: expected {expected}{hint}"));
    }

    /// A record of COCO's annotations or results.
    pub(super) fn record(&mut self, record: Record) -> Result<(), String> {
        let (id, caption) = record.into_prediction()?;
        let added = match self.side {
            Side::References => {
                self.is_coco = true;
                self.coco.one(&id, &caption)
            }
            Side::Predictions => self.by_image.all(&id, &[caption]),
        };
        self.kept(added)
    }

    /// A line of JSONL.
    pub(super) fn line(&mut self, record: Record) -> Result<(), Problem> {
        match self.side {
            Side::References => match record.into_reference().map_err(Problem::Malformed)? {
                (id, ReferenceEntry::One(caption)) => self.by_image.one(&id, &caption)?,
                (id, ReferenceEntry::List(captions)) => self.by_image.all(&id, &captions)?,
            },
            Side::Predictions => {
                let (id, caption) = record.into_prediction().map_err(Problem::Malformed)?;
                self.by_image.all(&id, &[caption])?;
            }
        }
        Ok(())
    }

    /// A row of CSV.
    pub(super) fn row(&mut self, id: &str, caption: &str) -> Result<(), Error> {
        match self.side {
            Side::References => self.by_image.one(id, caption),
            Side::Predictions => self.by_image.all(id, &[caption]),
        }
    }
}
