//! Why a data set cannot be loaded, and where the fault lies.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};
use serde::Serialize;

/// A place in a caption file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// A line of a text file, from 1.
    Line(usize),
    /// An entry of a JSON file's list of images, from 1.
    Record(usize),
}

/// Why a data set cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The data set's folder does not exist.
    #[error("there is no folder {}", printable_path(.0))]
    NoFolder(PathBuf),
    /// No layout's caption file is there.
    #[error("{} holds no captions that are known; looked for {}", printable_path(root), tried.join(", "))]
    NotRecognised {
        /// The folder.
        root: PathBuf,
        /// The files that would have been recognised.
        tried: Vec<String>,
    },
    /// Several files could be the data set's.
    #[error(
        "{} holds several data sets: {}; keep one of them there",
        printable_path(root),
        list(files)
    )]
    Several {
        /// The folder.
        root: PathBuf,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// None of the usual picture folders is there, or none has any of the pictures.
    #[error(
        "{} holds none of the {images} pictures that {} speaks of; looked in {}",
        printable_path(root), printable_path(captions), tried.join(", ")
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
    /// A line or record that cannot be understood.
    #[error("{} {problem}", located(file, *location))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where in it.
        location: Location,
        /// What is wrong there.
        problem: String,
    },
    /// A JSON file that is not Karpathy's; the source has line and column.
    #[error("{} is not a data set in Karpathy's format: {source}", printable_path(file))]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The file has no captions at all.
    #[error("{} has no captions", printable_path(.0))]
    NoCaptions(PathBuf),
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
    /// The file that was found, if any; several are an error.
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
