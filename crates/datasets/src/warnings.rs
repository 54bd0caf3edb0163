//! Oddities in the files that did not stop the reading: count, and location of the first one.

use std::fmt;
use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};
use serde::Serialize;

use crate::error::Location;

/// Kind of oddity, and its treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// Captions of a name that cannot have an image file. Dropped.
    ///
    /// The name is not that of an image (Flickr8k's `2258277193_586949ec62.jpg.1`), or is that of
    /// the image that no release of Flickr8k contains.
    NoSuchPicture,
    /// Captions of an image whose file is missing. Kept, since dropping them would shift the split.
    ///
    /// Decoding names the file, and an audit calls the data set broken.
    MissingPicture,
    /// An empty or blank caption. Dropped.
    EmptyCaption,
    /// An image without captions. Dropped.
    ImageWithoutCaptions,
    /// An image file without captions. Ignored.
    PictureWithoutCaptions,
    /// A caption that its image has already, in the layouts of own data. Dropped.
    RepeatedCaption,
    /// A row with more fields than the header: an unquoted caption with separators. Rejoined.
    UnquotedSeparator,
    /// A quotation mark where CSV expects none. Read as Python's `csv` reads it.
    StrayQuote,
    /// A caption number and its caption in one field. Split.
    ///
    /// Line 19,999 of Flickr30k's `results.csv` is an example.
    NumberInCaption,
    /// Rows of one image that are not adjacent. Gathered at the first.
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
            Self::RepeatedCaption => "captions given twice for one picture (dropped)",
            Self::UnquotedSeparator => "rows with unquoted separators in the caption (rejoined)",
            Self::StrayQuote => "rows with stray quotation marks",
            Self::NumberInCaption => "rows with the caption in the number's field (repaired)",
            Self::ScatteredRows => "rows apart from the other rows of their image (gathered)",
        }
    }

    /// Returns true if captions were dropped because of it.
    pub(crate) fn drops_captions(self) -> bool {
        matches!(self, Self::NoSuchPicture | Self::EmptyCaption | Self::RepeatedCaption)
    }
}

/// All oddities of one kind in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Kind of oddity.
    pub kind: WarningKind,
    /// File, or for [`WarningKind::PictureWithoutCaptions`] the images' folder.
    pub file: PathBuf,
    /// Location of the first one.
    pub first: Option<Location>,
    /// Image of the first one.
    pub example: String,
    /// Number of affected rows, captions or images.
    pub count: usize,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable_path(&self.file))?;
        match self.first {
            Some(Location::Line(line)) => write!(f, ":{line}")?,
            Some(Location::Record(record)) => write!(f, ", image {record}")?,
            Some(Location::Caption(number)) => write!(f, ", annotation {number}")?,
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
