//! A folder of images with their captions, in any layout.

use std::path::PathBuf;

use pictures::{PictureError, PictureFile, RgbPixels};
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::layout::Layout;
use crate::warnings::Warning;

/// Part of a split that a data set's own files name, as Karpathy's do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
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
    /// Part of a split, if the caption files name it.
    pub part: Option<Part>,
}

/// Locations of a data set's image files.
#[derive(Debug, Clone)]
pub struct ImageLocations {
    /// Folder of the image files or of their archives.
    pub folder: PathBuf,
    /// Location of each image if they are in archives or in several folders, or if the name of a
    /// file has another Unicode form than in the captions; else empty.
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
    /// Files that the captions are from; for [`Layout::TextFiles`] the folder of all of them.
    pub caption_files: Vec<PathBuf>,
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

    /// Decodes image `index`, turned upright by its EXIF orientation unless the set is Flickr's.
    pub fn decode(&self, index: usize) -> Result<RgbPixels, PictureError> {
        let file = self.picture(index);
        if self.layout.is_flickrs() { file.decode() } else { file.decode_upright() }
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
