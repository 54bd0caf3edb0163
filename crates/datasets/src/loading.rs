//! Loading of a data set from whichever layout its folder has.

use std::path::{Path, PathBuf};

use crate::corpus::{Corpus, Layout};
use crate::error::LoadError;
use crate::fingerprint::Fingerprint;
use crate::reading::{Captions, Reading};
use crate::{kaggle, karpathy, original, text, webdataset};

impl Layout {
    /// The names of the files that make a folder this layout.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Kaggle => &kaggle::FILES,
            Self::Original => &original::FILES,
            Self::Karpathy => &karpathy::FILES,
            Self::WebDataset => &webdataset::FILES,
        }
    }

    /// The files that captions are read from: one, or all archives; none in a folder of another layout.
    fn find(self, root: &Path) -> Result<Vec<PathBuf>, LoadError> {
        let failed = |source| LoadError::Io { path: root.to_owned(), source };
        let one = match self {
            Self::WebDataset => return webdataset::archives(root).map_err(failed),
            Self::Karpathy => LoadError::only_one(root, karpathy::find(root).map_err(failed)?)?,
            Self::Kaggle | Self::Original => {
                self.files().iter().map(|name| root.join(name)).find(|path| path.is_file())
            }
        };
        Ok(one.into_iter().collect())
    }
}

impl Corpus {
    /// Reads the captions under `dir`, and finds its pictures without opening them.
    ///
    /// A folder with several layouts is read as the first of [`Layout::ALL`] unless `layout` names
    /// another. What each kind of bad input leads to is listed at [`crate::WarningKind`]; everything not
    /// there is an error that names file and line.
    pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Self, LoadError> {
        Self::load_with(dir, layout, Captions::Kept).map(|(corpus, _)| corpus)
    }

    /// [`load`](Self::load), with captions only as far as `captions` says, and their digest if it was taken.
    pub(crate) fn load_with(
        dir: &Path,
        layout: Option<Layout>,
        captions: Captions,
    ) -> Result<(Self, Option<Fingerprint>), LoadError> {
        if !dir.is_dir() {
            return Err(LoadError::NoFolder(dir.to_owned()));
        }
        let candidates = layout.as_ref().map_or(&Layout::ALL[..], std::slice::from_ref);
        for &layout in candidates {
            let files = layout.find(dir)?;
            let Some(file) = files.first() else { continue };
            tracing::debug!("data set {}, layout {layout:?}", foreign_text::printable_path(file));
            let read: fn(&str, &mut Reading<'_>) -> Result<(), LoadError> = match layout {
                Layout::Kaggle => kaggle::read,
                Layout::Original => original::read,
                Layout::Karpathy => karpathy::read,
                Layout::WebDataset => return webdataset::load(dir, &files, captions),
            };
            let contents = text::read(file)?;
            let mut reading = Reading::new(file, captions);
            read(&contents, &mut reading)?;
            return reading.finish(dir, layout);
        }
        Err(LoadError::NotRecognised {
            root: dir.to_owned(),
            tried: candidates
                .iter()
                .flat_map(|layout| layout.files())
                .map(|&name| name.to_owned())
                .collect(),
        })
    }
}
