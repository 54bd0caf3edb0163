//! Errors of loading a data set, with file and line.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};
use serde::Serialize;

/// Location in a caption file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// Line of a text file, from 1.
    Line(usize),
    /// Entry of a JSON file's list of images, from 1.
    Record(usize),
}

/// Error of loading a data set.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The data set's folder does not exist.
    #[error("there is no folder {}", printable_path(.0))]
    NoFolder(PathBuf),
    /// No layout has its caption file there.
    #[error("{} holds no captions that are known; looked for {}", printable_path(root), tried.join(", "))]
    NotRecognised {
        /// Folder of the data set.
        root: PathBuf,
        /// Names of all recognised files.
        tried: Vec<String>,
    },
    /// Several files could hold the captions.
    #[error(
        "{} holds several data sets: {}; keep one of them there",
        printable_path(root),
        list(files)
    )]
    Several {
        /// Folder of the data set.
        root: PathBuf,
        /// Paths of the files.
        files: Vec<PathBuf>,
    },
    /// No folder with any of the images exists.
    #[error(
        "{} holds none of the {images} pictures that {} speaks of; looked in {}",
        printable_path(root), printable_path(captions), tried.join(", ")
    )]
    NoPictures {
        /// Folder of the data set.
        root: PathBuf,
        /// Path of the caption file.
        captions: PathBuf,
        /// Number of images named by the captions.
        images: usize,
        /// Searched folders, relative to the root.
        tried: Vec<String>,
    },
    /// A required file is missing.
    #[error("{} is missing", printable_path(path))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line or record is malformed.
    #[error("{} {problem}", located(file, *location))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Location in the file.
        location: Location,
        /// Description of the problem.
        problem: String,
    },
    /// A JSON file is not in Karpathy's format.
    #[error("{} is not a data set in Karpathy's format: {source}", printable_path(file))]
    Json {
        /// The file.
        file: PathBuf,
        /// Parse error, with line and column.
        source: serde_json::Error,
    },
    /// The file contains no captions.
    #[error("{} has no captions", printable_path(.0))]
    NoCaptions(PathBuf),
    /// A folder to caption contains no pictures.
    #[error(
        "{} has no pictures\nhint: --recursive looks into its subfolders, too",
        printable_path(.0)
    )]
    NoPicturesInside(PathBuf),
}

fn located(file: &Path, location: Location) -> String {
    match location {
        Location::Line(line) => format!("{}:{line}", printable_path(file)),
        Location::Record(record) => format!("{}, image {record},", printable_path(file)),
    }
}

fn list(files: &[PathBuf]) -> String {
    let names = files.iter().filter_map(|file| file.file_name());
    let names: Vec<_> = names.map(|name| printable(&name.to_string_lossy()).to_string()).collect();
    names.join(", ")
}

impl LoadError {
    /// Returns the file, if any; several are an error.
    pub(crate) fn only_one(root: &Path, files: Vec<PathBuf>) -> Result<Option<PathBuf>, Self> {
        if files.len() > 1 {
            return Err(Self::Several { root: root.to_owned(), files });
        }
        Ok(files.into_iter().next())
    }

    pub(crate) fn malformed(file: &Path, location: Location, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), location, problem: problem.into() }
    }
}
