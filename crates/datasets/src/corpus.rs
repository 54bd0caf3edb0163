//! A folder of pictures with their captions, whichever layout it has.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use foreign_text::printable_path;
use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::fingerprint::Fingerprint;
use crate::reading::{Captions, Reading};
use crate::warnings::Warning;
use crate::{kaggle, karpathy, original, text, webdataset};
use pictures::PictureFile;

/// How captions are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `captions.txt` with header `image,caption` (Flickr8k) or `image_name,comment_number,comment`
    /// (Flickr30k, also as `results.csv`), fields separated by `,` or `|`.
    Kaggle,
    /// `Flickr8k.token.txt` or `results_20130124.token`: `name#number`, a tab, the caption.
    Original,
    /// `dataset_flickr8k.json`, `dataset_flickr30k.json`, `dataset_coco.json` or such a file of
    /// another name: captions and Karpathy's split.
    Karpathy,
    /// Tar archives, compressed by gzip or not: pictures, each with a `txt` or a `json` of the same
    /// name beside it.
    WebDataset,
}

impl Layout {
    /// Every layout, in the order in which a folder that has several is recognised.
    pub const ALL: [Self; 4] = [Self::Kaggle, Self::Original, Self::Karpathy, Self::WebDataset];

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

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kaggle => "kaggle",
            Self::Original => "original",
            Self::Karpathy => "karpathy",
            Self::WebDataset => "webdataset",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|layout| layout.to_string() == name).ok_or_else(|| {
            format!("unknown layout {name:?}; it is one of kaggle, original, karpathy, webdataset")
        })
    }
}

/// The part of Karpathy's split that an image is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KarpathySplit {
    /// Training.
    Train,
    /// Also training: what COCO's validation set left over; Flickr's sets have none.
    RestVal,
    /// Validation.
    Val,
    /// Test.
    Test,
}

/// A picture's file name and what five people said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The plain file name, or in an archive the name there; see [`Corpus::picture`].
    pub file_name: String,
    /// Its captions as they are in the file, in the file's order; at least one, none of them blank.
    pub captions: Vec<String>,
    /// The words of each caption joined by spaces, where the layout lists them as
    /// [`Layout::Karpathy`] does; else empty.
    pub words: Vec<Option<String>>,
    /// Its part of Karpathy's split, where the layout is [`Layout::Karpathy`].
    pub karpathy_split: Option<KarpathySplit>,
}

/// Where the pictures of a data set are.
#[derive(Debug, Clone)]
pub struct ImageLocations {
    /// The folder of the pictures, or of the archives that they are in.
    pub folder: PathBuf,
    /// The place of each where they are in archives or in several folders; else none.
    pub members: Vec<PictureFile>,
}

impl ImageLocations {
    /// Where the picture of image `index` is, whose file is called `name`.
    #[must_use]
    pub fn find(&self, index: usize, name: &str) -> PictureFile {
        self.members.get(index).cloned().unwrap_or_else(|| self.folder.join(name).into())
    }
}

/// A data set's images and captions.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// The folder that was loaded.
    pub root: PathBuf,
    /// How the captions were written down.
    pub layout: Layout,
    /// The images in the order in which the caption file first speaks of them. In Kaggle's files
    /// that is the order of their names.
    pub images: Vec<Image>,
    /// What was odd but could be dealt with.
    pub warnings: Vec<Warning>,
    /// Where the pictures are.
    pub locations: ImageLocations,
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
            tracing::debug!("data set {}, layout {layout:?}", printable_path(file));
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

    /// Where the picture of image `index` is; no picture's place where there is no such image.
    #[must_use]
    pub fn picture(&self, index: usize) -> PictureFile {
        let name = self.images.get(index).map_or("", |image| image.file_name.as_str());
        self.locations.find(index, name)
    }

    /// The number of captions of all images together.
    #[must_use]
    pub fn caption_count(&self) -> usize {
        self.images.iter().map(|image| image.captions.len()).sum()
    }

    /// A digest of the image names and captions in their order (SHA-256 in hexadecimal): equal for
    /// equal data sets wherever they lie, whatever the layout. Pixels are not part of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::default();
        for image in &self.images {
            fingerprint.add(&image.file_name, &image.captions);
        }
        fingerprint.finish()
    }
}
