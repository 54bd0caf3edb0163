//! Layout of Hugging Face's imagefolder: a table `metadata` beside the images.

use std::path::{Path, PathBuf};

use crate::corpus::Part;
use crate::error::LoadError;
use crate::source::Columns;
use crate::table::Table;

/// Names of the table.
pub(crate) const FILES: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

/// Folders of the parts of a split, each with a table of its own.
const PARTS: [(&str, Part); 6] = [
    ("train", Part::Train),
    ("validation", Part::Val),
    ("valid", Part::Val),
    ("val", Part::Val),
    ("dev", Part::Val),
    ("test", Part::Test),
];

/// Returns the tables of a folder: its own, or else those of the parts.
pub(crate) fn find(root: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if let Some(own) = in_folder(root)? {
        return Ok(vec![own]);
    }
    let parts = PARTS.iter().map(|(folder, _)| in_folder(&root.join(folder)));
    parts.filter_map(Result::transpose).collect()
}

fn in_folder(folder: &Path) -> Result<Option<PathBuf>, LoadError> {
    let files = FILES.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    LoadError::only_one(folder, files.collect())
}

/// Returns the reader of the table `file`, by its folder below `root`.
pub(crate) fn table(file: &Path, root: &Path, columns: &Columns) -> Table {
    let folder = file.parent().and_then(|folder| folder.strip_prefix(root).ok());
    let part = PARTS.iter().find(|(name, _)| folder == Some(Path::new(name)));
    Table {
        columns: columns.clone(),
        folder: part.map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
        part: part.map(|(_, part)| *part),
    }
}
