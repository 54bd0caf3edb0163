//! Why a data set cannot be loaded, and where the fault lies.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A place in a caption file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A line of a text file, from 1.
    Line(usize),
    /// An entry of a JSON file's list of images, from 1.
    Record(usize),
}

/// Why a data set cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The data set's folder does not exist.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// No layout's caption file is there.
    #[error("{} holds no captions that are known; looked for {}", root.display(), tried.join(", "))]
    NotRecognised {
        /// The folder.
        root: PathBuf,
        /// The files that would have been recognised.
        tried: Vec<String>,
    },
    /// None of the usual picture folders is there, or none has any of the pictures.
    #[error(
        "{} holds none of the {images} pictures that {} speaks of; looked in {}",
        root.display(), captions.display(), tried.join(", ")
    )]
    NoPictures {
        /// The data set's folder.
        root: PathBuf,
        /// The caption file.
        captions: PathBuf,
        /// How many pictures were looked for.
        images: usize,
        /// The folders that were tried, relative to the root.
        tried: Vec<String>,
    },
    /// A file that must be there is not.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line or record that cannot be understood.
    #[error("{} {problem}", located(file, *place))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong there.
        problem: String,
    },
    /// A JSON file that is not Karpathy's; the source has line and column.
    #[error("{} is not a data set in Karpathy's format: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The file has no captions at all.
    #[error("{} has no captions", .0.display())]
    NoCaptions(PathBuf),
}

fn located(file: &Path, place: Place) -> String {
    match place {
        Place::Line(line) => format!("{}:{line}", file.display()),
        Place::Record(record) => format!("{}, image {record},", file.display()),
    }
}

impl LoadError {
    pub(crate) fn malformed(file: &Path, place: Place, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), place, problem: problem.into() }
    }
}
