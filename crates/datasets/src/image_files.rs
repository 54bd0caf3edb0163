//! Image files of a data set, without its captions.

use std::path::Path;

use crate::corpus::{Corpus, ImageLocations};
use crate::error::LoadError;
use crate::layout::Layout;
use crate::reading::Captions;
use crate::source::Source;
use crate::warnings::Warning;

/// Image files of a data set; takes a small part of the memory of a [`Corpus`].
#[derive(Debug, Clone)]
pub struct ImageFiles {
    /// File names of the images, in the order of [`Corpus::images`].
    pub names: Vec<String>,
    /// Layout of the captions.
    pub layout: Layout,
    /// Oddities that did not stop the reading.
    pub warnings: Vec<Warning>,
    /// [`Corpus::fingerprint`].
    pub fingerprint: String,
    /// Locations of the images.
    pub locations: ImageLocations,
}

impl ImageFiles {
    /// Finds the images under `dir`; see [`Source::image_files`].
    pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Self, LoadError> {
        Source::new(dir, layout).image_files()
    }
}

impl Source {
    /// Finds the images.
    ///
    /// Reads, checks and digests captions as [`Source::load`] does, and drops them.
    ///
    /// # Errors
    /// Same as [`Source::load`].
    pub fn image_files(&self) -> Result<ImageFiles, LoadError> {
        let (mut corpus, fingerprint) = self.load_with(Captions::Digested)?;
        let fingerprint = if let Some(fingerprint) = fingerprint {
            fingerprint.finish()
        } else {
            // Scattered captions, or those of a dropped image, must be kept in memory.
            corpus = self.load()?;
            corpus.fingerprint()
        };
        let Corpus { images, layout, warnings, locations, .. } = corpus;
        let names = images.into_iter().map(|image| image.file_name).collect();
        Ok(ImageFiles { names, layout, warnings, fingerprint, locations })
    }
}
