//! Location of a data set: its folder, and what the user names of it.

use std::path::{Path, PathBuf};

use crate::layout::Layout;

/// Location and layout of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Folder of captions and images, or pattern of tar archives such as `shards/{000..100}.tar`.
    pub dataset: PathBuf,
    /// Layout; detected from the files if `None`.
    pub layout: Option<Layout>,
    /// Captions file; found in the folder if `None`.
    pub captions: Option<PathBuf>,
    /// Folder of the images; found in the folder of the data set if `None`.
    pub images: Option<PathBuf>,
    /// Columns of a table of captions.
    pub columns: Columns,
}

/// Columns of a table of captions; those of usual names if `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// Column of the images' file names.
    pub image: Option<String>,
    /// Column of the captions.
    pub caption: Option<String>,
}

impl Source {
    /// Returns the data set in a folder, in its usual files.
    #[must_use]
    pub fn new(dataset: &Path, layout: Option<Layout>) -> Self {
        Self { dataset: dataset.to_owned(), layout, ..Self::default() }
    }
}
