//! Image files of a data set, without its captions.

use std::path::Path;

use crate::corpus::{Corpus, ImageLocations, Layout};
use crate::error::LoadError;
use crate::reading::Captions;
use crate::warnings::Warning;

/// Image files of a data set; takes a small part of the memory of a [`Corpus`].
#[derive(Debug, Clone)]
pub struct ImageFiles {
    /// File names of the images, in the order of [`Corpus::images`].
    pub names: Vec<String>,
    /// Oddities that did not stop the reading.
    pub warnings: Vec<Warning>,
    /// [`Corpus::fingerprint`].
    pub fingerprint: String,
    /// Locations of the images.
    pub locations: ImageLocations,
}

impl ImageFiles {
    /// Finds the images under `dir`.
    ///
    /// Reads, checks and digests captions as [`Corpus::load`] does, and drops them.
    ///
    /// # Errors
    /// Same as [`Corpus::load`].
    pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Self, LoadError> {
        let (mut corpus, fingerprint) = Corpus::load_with(dir, layout, Captions::Digested)?;
        let fingerprint = if let Some(fingerprint) = fingerprint {
            fingerprint.finish()
        } else {
            // Scattered captions, or those of a dropped image, must be kept in memory.
            corpus = Corpus::load(dir, layout)?;
            corpus.fingerprint()
        };
        let Corpus { images, warnings, locations, .. } = corpus;
        let names = images.into_iter().map(|image| image.file_name).collect();
        Ok(Self { names, warnings, fingerprint, locations })
    }
}
