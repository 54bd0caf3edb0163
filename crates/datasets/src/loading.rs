//! Loading of a data set from whichever layout its files have.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;

use crate::corpus::Corpus;
use crate::error::LoadError;
use crate::fingerprint::Fingerprint;
use crate::layout::Layout;
use crate::reading::{Captions, Reading};
use crate::source::{Columns, Source};
use crate::table::Table;
use crate::{
    coco, imagefolder, kaggle, karpathy, original, patterns, table, text, text_files, webdataset,
};

impl Layout {
    /// The names of the files that make a folder this layout.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Kaggle => &kaggle::FILES,
            Self::Original => &original::FILES,
            Self::Karpathy => &karpathy::FILES,
            Self::WebDataset => &webdataset::FILES,
            Self::Coco => &coco::FILES,
            Self::ImageFolder => &imagefolder::FILES,
            Self::TextFiles => &text_files::FILES,
            Self::Table => &["a table named with --captions"],
        }
    }

    /// The files that captions are read from; none in a folder of another layout.
    fn find(self, root: &Path, images: Option<&Path>) -> Result<Vec<PathBuf>, LoadError> {
        let failed = |source| LoadError::Io { path: root.to_owned(), source };
        let one = match self {
            Self::WebDataset => return webdataset::archives(root).map_err(failed),
            Self::Coco => return coco::find(root).map_err(failed),
            Self::ImageFolder => return imagefolder::find(root),
            Self::Karpathy => LoadError::only_one(root, karpathy::find(root).map_err(failed)?)?,
            Self::TextFiles => text_files::find(images.unwrap_or(root)).map_err(failed)?,
            Self::Kaggle | Self::Original => {
                self.files().iter().map(|name| root.join(name)).find(|path| path.is_file())
            }
            Self::Table => None,
        };
        Ok(one.into_iter().collect())
    }

    /// Returns the layout of a captions file that the user names.
    fn of_file(file: &Path) -> Result<Self, LoadError> {
        if file.extension().is_none_or(|extension| extension != "json") {
            return Ok(Self::Table);
        }
        let is_karpathys = karpathy::looks_right(file)
            .map_err(|source| LoadError::Io { path: file.to_owned(), source })?;
        Ok(if is_karpathys { Self::Karpathy } else { Self::Coco })
    }

    /// Fails if `source` names something that this layout does not read.
    fn check_use(self, source: &Source) -> Result<(), LoadError> {
        use Layout::{ImageFolder, Table, TextFiles, WebDataset};
        let has_columns = source.columns != Columns::default();
        let unused =
            if source.captions.is_some() && matches!(self, WebDataset | ImageFolder | TextFiles) {
                "captions"
            } else if source.images.is_some() && self == WebDataset {
                "images"
            } else if has_columns && !matches!(self, Table | ImageFolder) {
                "image_column or caption_column"
            } else {
                return Ok(());
            };
        Err(LoadError::NotUsed { layout: self, option: unused })
    }
}

impl Corpus {
    /// Reads the captions under `dir`, and finds its pictures without opening them.
    ///
    /// [`crate::WarningKind`] lists the bad input that is only warned of; all other is an error
    /// that names file and line. See [`Source::load`].
    pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Self, LoadError> {
        Source::new(dir, layout).load()
    }
}

impl Source {
    /// Reads the captions, and finds the images without opening them.
    ///
    /// A folder that has files of several of the layouts kaggle, original, karpathy and webdataset
    /// is read as the first of these. If one of the others is there, too, it is an error, unless
    /// `layout` names one.
    pub fn load(&self) -> Result<Corpus, LoadError> {
        self.load_with(Captions::Kept).map(|(corpus, _)| corpus)
    }

    /// Same as [`Self::load`], with captions only as far as `captions` says.
    ///
    /// Also returns their digest if it was taken.
    pub(crate) fn load_with(
        &self,
        captions: Captions,
    ) -> Result<(Corpus, Option<Fingerprint>), LoadError> {
        let folder = self.images.as_deref();
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(LoadError::NoFolder(folder.to_owned()));
        }
        let (layout, files) = self.recognise()?;
        layout.check_use(self)?;
        let root = self.root();
        let Some(file) = files.first() else { return Err(LoadError::NoCaptions(root)) };
        tracing::debug!("data set {}, layout {layout}", printable_path(file));
        match layout {
            Layout::WebDataset => return webdataset::load(&root, &files, captions),
            Layout::TextFiles => {
                return text_files::load(&root, folder.unwrap_or(&root), captions);
            }
            _ => {}
        }
        let mut reading = Reading::new(file, captions);
        for file in &files {
            let contents = text::read(file)?;
            reading.file = file;
            match layout {
                Layout::Kaggle => kaggle::read(&contents, &mut reading)?,
                Layout::Original => original::read(&contents, &mut reading)?,
                Layout::Karpathy => karpathy::read(&contents, &mut reading)?,
                Layout::Coco => coco::read(&contents, &mut reading)?,
                Layout::ImageFolder => {
                    imagefolder::table(file, &root, &self.columns).read(&contents, &mut reading)?;
                }
                Layout::Table | Layout::WebDataset | Layout::TextFiles => {
                    let table = Table { columns: self.columns.clone(), ..Table::default() };
                    table.read(&contents, &mut reading)?;
                }
            }
        }
        let (mut corpus, fingerprint) = reading.finish(&root, folder, layout)?;
        corpus.caption_files = files;
        Ok((corpus, fingerprint))
    }

    /// Returns true if the folder or the named files of the data set exist.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dataset.is_dir()
            || (self.is_archives() && patterns::expand(&self.dataset).is_ok())
            || self.captions.as_ref().is_some_and(|file| file.is_file())
    }

    /// Returns the folder of the data set.
    fn root(&self) -> PathBuf {
        if self.is_archives() { patterns::folder(&self.dataset) } else { self.dataset.clone() }
    }

    /// Returns true if the data set is an archive or a pattern of archives instead of a folder.
    fn is_archives(&self) -> bool {
        let path = &self.dataset;
        !path.is_dir()
            && (patterns::is_pattern(path) || (webdataset::is_archive(path) && path.is_file()))
    }

    /// Returns the layout and the files that captions are read from.
    fn recognise(&self) -> Result<(Layout, Vec<PathBuf>), LoadError> {
        let root = &self.dataset;
        if self.is_archives() {
            let layout = self.layout.unwrap_or(Layout::WebDataset);
            if layout != Layout::WebDataset {
                return Err(LoadError::NoFolder(root.clone()));
            }
            return Ok((layout, patterns::expand(root)?));
        }
        if let Some(file) = &self.captions {
            if !file.is_file() {
                return Err(LoadError::Missing { path: file.clone() });
            }
            if self.images.is_none() && !root.is_dir() {
                return Err(LoadError::NoFolder(root.clone()));
            }
            let layout = self.layout.map_or_else(|| Layout::of_file(file), Ok)?;
            return Ok((layout, vec![file.clone()]));
        }
        if !root.is_dir() {
            return Err(LoadError::NoFolder(root.clone()));
        }
        let candidates = self.layout.as_ref().map_or(&Layout::ALL[..], std::slice::from_ref);
        let mut found: Vec<(Layout, Vec<PathBuf>)> = Vec::new();
        for &layout in candidates {
            // Flickr's sets have tens of thousands of files, which need no search.
            let is_flickrs = found.iter().any(|(layout, _)| layout.is_flickrs());
            if layout == Layout::TextFiles && is_flickrs {
                continue;
            }
            let files = layout.find(root, self.images.as_deref())?;
            if !files.is_empty() {
                found.push((layout, files));
            }
        }
        let is_release = |layout: Layout| layout.is_flickrs() || layout == Layout::WebDataset;
        if found.len() > 1 && !found.iter().all(|(layout, _)| is_release(*layout)) {
            let first = |(layout, files): (Layout, Vec<PathBuf>)| {
                files.into_iter().next().map(|file| (layout, file))
            };
            let found = found.into_iter().filter_map(first).collect();
            return Err(LoadError::Ambiguous { root: root.clone(), found });
        }
        found.into_iter().next().ok_or_else(|| LoadError::NotRecognised {
            root: root.clone(),
            tried: candidates
                .iter()
                .flat_map(|layout| layout.files())
                .map(|&name| name.to_owned())
                .collect(),
            tables: table::find(root),
        })
    }
}

/// Returns true if there is no data set at `path`: it does not exist, or is a folder with hidden
/// files and unfinished downloads (`.incomplete`) alone.
#[must_use]
pub fn is_absent(path: &Path) -> bool {
    let is_left = |name: &str| name.starts_with('.') || name.ends_with(".incomplete");
    match path.read_dir() {
        Ok(entries) => entries.flatten().all(|entry| is_left(&entry.file_name().to_string_lossy())),
        Err(_) => !path.exists(),
    }
}
