//! A folder of pictures with their captions, whichever layout it has.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use pictures::PictureFile;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::warnings::Warning;

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
