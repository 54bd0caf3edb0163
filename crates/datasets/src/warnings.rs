//! What was odd in the files but did not stop the reading: counted, with the first place it was seen.

use std::fmt;
use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};
use serde::Serialize;

use crate::error::Location;

/// What kind of oddity, and what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// Captions under a name that can have no picture: one that is not a picture's name (Flickr8k's
    /// `2258277193_586949ec62.jpg.1`), or the one whose picture Flickr8k never had. Dropped.
    NoSuchPicture,
    /// Captions of an image whose picture is not in the folder. Kept: dropping them would move the
    /// split by position. Decoding names the file, and an audit calls the set broken.
    MissingPicture,
    /// A caption of no characters, or of blanks. Dropped.
    EmptyCaption,
    /// An image left without any caption. Dropped.
    ImageWithoutCaptions,
    /// A picture in the folder that no caption speaks of. Ignored.
    PictureWithoutCaptions,
    /// A row with more fields than the header: an unquoted caption with separators in it. The
    /// caption is put together again.
    UnquotedSeparator,
    /// A quotation mark where CSV does not expect one. Read as Python's `csv` reads it.
    StrayQuote,
    /// A caption number and its caption in one field, as in line 19,999 of Flickr30k's
    /// `results.csv`. Taken apart.
    NumberInCaption,
    /// Rows of one image with rows of another between them. Gathered at the first.
    ScatteredRows,
}

impl WarningKind {
    fn words(self) -> &'static str {
        match self {
            Self::NoSuchPicture => "captions of a picture that does not exist (dropped)",
            Self::MissingPicture => "images whose picture is missing from the folder",
            Self::EmptyCaption => "empty captions (dropped)",
            Self::ImageWithoutCaptions => "images without captions (dropped)",
            Self::PictureWithoutCaptions => "pictures without captions (ignored)",
            Self::UnquotedSeparator => "rows with unquoted separators in the caption (rejoined)",
            Self::StrayQuote => "rows with stray quotation marks",
            Self::NumberInCaption => "rows with the caption in the number's field (repaired)",
            Self::ScatteredRows => "rows apart from the other rows of their image (gathered)",
        }
    }

    /// Whether captions were left out because of it.
    pub(crate) fn drops_captions(self) -> bool {
        matches!(self, Self::NoSuchPicture | Self::EmptyCaption)
    }
}

/// One kind of oddity in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is.
    pub kind: WarningKind,
    /// The file, or for [`WarningKind::PictureWithoutCaptions`] the picture folder.
    pub file: PathBuf,
    /// Where it was first seen.
    pub first: Option<Location>,
    /// The image concerned there.
    pub example: String,
    /// How many rows, captions or images it concerns.
    pub count: usize,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable_path(&self.file))?;
        match self.first {
            Some(Location::Line(line)) => write!(f, ":{line}")?,
            Some(Location::Record(record)) => write!(f, ", image {record}")?,
            None => {}
        }
        write!(
            f,
            ": {} {}, the first is {}",
            self.count,
            self.kind.words(),
            printable(&self.example)
        )
    }
}

/// Counts warnings by kind while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Vec<Warning>);

impl Warnings {
    pub(crate) fn add(
        &mut self,
        kind: WarningKind,
        file: &Path,
        location: Option<Location>,
        example: &str,
    ) {
        if let Some(seen) = self.0.iter_mut().find(|w| w.kind == kind && w.file == file) {
            seen.count += 1;
        } else {
            self.0.push(Warning {
                kind,
                file: file.to_owned(),
                first: location,
                example: example.to_owned(),
                count: 1,
            });
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Warning> {
        self.0
    }
}
