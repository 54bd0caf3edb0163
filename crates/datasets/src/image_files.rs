//! A data set's pictures alone.

use std::path::Path;

use crate::corpus::{Corpus, ImageLocations, Layout};
use crate::error::LoadError;
use crate::reading::Captions;
use crate::warnings::Warning;

/// What is known of a data set without its captions: a small part of what a [`Corpus`] takes in memory.
#[derive(Debug, Clone)]
pub struct ImageFiles {
    /// The pictures' file names, in the order of [`Corpus::images`].
    pub names: Vec<String>,
    /// What was odd but could be dealt with.
    pub warnings: Vec<Warning>,
    /// [`Corpus::fingerprint`].
    pub fingerprint: String,
    /// Where the pictures are.
    pub locations: ImageLocations,
}

impl ImageFiles {
    /// Finds the pictures under `dir`. Captions are read, checked and digested as [`Corpus::load`] does, and
    /// not kept.
    ///
    /// # Errors
    /// Those of [`Corpus::load`].
    pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Self, LoadError> {
        let (mut corpus, fingerprint) = Corpus::load_with(dir, layout, Captions::Digested)?;
        let fingerprint = if let Some(fingerprint) = fingerprint {
            fingerprint.finish()
        } else {
            // Captions that are not together, or of an image that is left out: they have to be at hand.
            corpus = Corpus::load(dir, layout)?;
            corpus.fingerprint()
        };
        let Corpus { images, warnings, locations, .. } = corpus;
        let names = images.into_iter().map(|image| image.file_name).collect();
        Ok(Self { names, warnings, fingerprint, locations })
    }
}
