//! A folder of images with their captions, in any layout.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use pictures::PictureFile;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::warnings::Warning;

/// File format of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `captions.txt` or `results.csv`, with fields separated by `,` or `|`.
    ///
    /// The header is `image,caption` (Flickr8k) or `image_name,comment_number,comment` (Flickr30k).
    Kaggle,
    /// `Flickr8k.token.txt` or `results_20130124.token`: `name#number`, a tab, the caption.
    Original,
    /// Karpathy's JSON file with captions and split.
    ///
    /// It is called `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`; files
    /// of other names are recognised by their contents.
    Karpathy,
    /// Tar archives, compressed by gzip or not.
    ///
    /// Each image has a `txt` or a `json` file of the same name.
    WebDataset,
}

impl Layout {
    /// All layouts, in the order in which a folder with several is recognised.
    pub const ALL: [Self; 4] = [Self::Kaggle, Self::Original, Self::Karpathy, Self::WebDataset];
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

/// Part of Karpathy's split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KarpathySplit {
    /// Training.
    Train,
    /// Also training: the rest of COCO's validation set; Flickr's sets have none.
    RestVal,
    /// Validation.
    Val,
    /// Test.
    Test,
}

/// File name and captions of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Plain file name, or the name in its archive; see [`Corpus::picture`].
    pub file_name: String,
    /// Captions, unchanged and in the file's order; at least one, and none is blank.
    pub captions: Vec<String>,
    /// Words of each caption joined by spaces, for [`Layout::Karpathy`]; else empty.
    pub words: Vec<Option<String>>,
    /// Part of Karpathy's split, for [`Layout::Karpathy`].
    pub karpathy_split: Option<KarpathySplit>,
}

/// Locations of a data set's image files.
#[derive(Debug, Clone)]
pub struct ImageLocations {
    /// Folder of the image files or of their archives.
    pub folder: PathBuf,
    /// Location of each image if they are in archives or in several folders; else empty.
    pub members: Vec<PictureFile>,
}

impl ImageLocations {
    /// Returns the location of image `index` with file name `name`.
    #[must_use]
    pub fn find(&self, index: usize, name: &str) -> PictureFile {
        self.members.get(index).cloned().unwrap_or_else(|| self.folder.join(name).into())
    }
}

/// Images and captions of a data set.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Layout of the captions.
    pub layout: Layout,
    /// Images in the order in which the caption file first names them.
    ///
    /// In Kaggle's files that is the order of their names.
    pub images: Vec<Image>,
    /// Oddities that did not stop the reading.
    pub warnings: Vec<Warning>,
    /// Locations of the image files.
    pub locations: ImageLocations,
}

impl Corpus {
    /// Returns the location of image `index`; an empty path if there is no such image.
    #[must_use]
    pub fn picture(&self, index: usize) -> PictureFile {
        let name = self.images.get(index).map_or("", |image| image.file_name.as_str());
        self.locations.find(index, name)
    }

    /// Returns the number of captions of all images.
    #[must_use]
    pub fn caption_count(&self) -> usize {
        self.images.iter().map(|image| image.captions.len()).sum()
    }

    /// Returns the SHA-256 of the image names and captions in their order, in hexadecimal.
    ///
    /// Equal data sets have equal digests in any folder and layout. Pixels are not part of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::default();
        for image in &self.images {
            fingerprint.add(&image.file_name, &image.captions);
        }
        fingerprint.finish()
    }
}
