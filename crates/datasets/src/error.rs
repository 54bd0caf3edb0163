//! Errors of loading a data set, with file and line.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};
use serde::Serialize;

use crate::layout::Layout;

/// Location in a caption file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// Line of a text file, from 1.
    Line(usize),
    /// Entry of a JSON file's list of images, from 1.
    Record(usize),
    /// Entry of a JSON file's list of captions, from 1.
    Caption(usize),
}

/// Error of loading a data set.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The data set's folder does not exist.
    #[error("{}", no_folder(.0))]
    NoFolder(PathBuf),
    /// No layout has its caption file there.
    #[error(
        "{} holds no captions that are known; looked for {}\nhint: name another file{} with \
         --captions, in a config data.captions",
        printable_path(root), tried.join(", "), example(tables)
    )]
    NotRecognised {
        /// Folder of the data set.
        root: PathBuf,
        /// Names of all recognised files.
        tried: Vec<String>,
        /// Tables of any name in the folder.
        tables: Vec<PathBuf>,
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
    /// The files of several layouts are there, and which to read is not clear.
    #[error(
        "{} holds data sets of several layouts: {}\nhint: choose one with --layout, in a config \
         data.layout",
        printable_path(root),
        layouts(found)
    )]
    Ambiguous {
        /// Folder of the data set.
        root: PathBuf,
        /// Each layout with its first file.
        found: Vec<(Layout, PathBuf)>,
    },
    /// A table lacks a column.
    #[error("{}", no_column(file, kind, chosen.as_deref(), suggestion.as_deref(), columns))]
    NoColumn {
        /// The table.
        file: PathBuf,
        /// Meaning of the column: image or caption.
        kind: &'static str,
        /// Name that the user gave.
        chosen: Option<String>,
        /// Column with the most similar name.
        suggestion: Option<String>,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// An option has no meaning for the layout.
    #[error(
        "{option} is set, but the {layout} layout has no use for it\nhint: leave it out, or choose \
         another layout"
    )]
    NotUsed {
        /// Layout of the data set.
        layout: Layout,
        /// Option, under its name in configs.
        option: &'static str,
    },
    /// A pattern of archives is malformed, or stands for no file.
    #[error("the pattern {} {problem}", printable_path(pattern))]
    Pattern {
        /// The pattern.
        pattern: PathBuf,
        /// Description of the problem.
        problem: String,
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
    /// A JSON file is not in the expected format.
    #[error("{} is not a data set in {format} format: {source}", printable_path(file))]
    Json {
        /// The file.
        file: PathBuf,
        /// Whose format it is.
        format: &'static str,
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
        Location::Caption(number) => format!("{}, annotation {number},", printable_path(file)),
    }
}

fn no_folder(path: &Path) -> String {
    let name = printable_path(path);
    if path.is_file() {
        return format!(
            "{name} is a file, where the folder of a data set is needed\nhint: name a captions file with --captions (in a config data.captions), and the folder that it is in as the data set"
        );
    }
    format!("there is no folder {name}{}", fetch_hint(path))
}

/// Returns `, such as FILE,`; nothing without files.
fn example(files: &[PathBuf]) -> String {
    files.first().map_or_else(String::new, |file| format!(", such as {},", printable_path(file)))
}

fn layouts(found: &[(Layout, PathBuf)]) -> String {
    let name = |(layout, file): &(Layout, PathBuf)| format!("{layout} ({})", printable_path(file));
    found.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn no_column(
    file: &Path,
    kind: &str,
    chosen: Option<&str>,
    suggestion: Option<&str>,
    columns: &[String],
) -> String {
    let file = printable_path(file);
    let columns = columns.join(", ");
    let columns = printable(&columns);
    match (chosen, suggestion) {
        (Some(chosen), Some(suggestion)) => format!(
            "{file} has no column {}; did you mean {}? Its columns are {columns}",
            printable(chosen),
            printable(suggestion)
        ),
        (Some(chosen), None) => {
            format!("{file} has no column {}; its columns are {columns}", printable(chosen))
        }
        (None, _) => format!(
            "{file} has no {kind} column of a usual name; its columns are {columns}\nhint: name one \
             with --{kind}-column, in a config data.{kind}_column"
        ),
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

/// Returns the command that downloads a missing data set, if its folder has the name of one.
fn fetch_hint(folder: &Path) -> String {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some(name @ ("flickr8k" | "flickr30k")) => format!(
            "\nhint: capsmith fetch {name} --out {} downloads it; --dataset or --set data.dataset=DIR names another folder",
            printable_path(folder)
        ),
        _ => String::new(),
    }
}
