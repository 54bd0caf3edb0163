//! Loading of data sets in two ways.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;

use datasets::{Corpus, ImageFiles, Layout, LoadError};

/// Loads a data set, and checks that [`ImageFiles`] gives the same images or error.
pub fn load(dir: &Path, layout: Option<Layout>) -> Result<Corpus, LoadError> {
    let corpus = Corpus::load(dir, layout);
    match (&corpus, ImageFiles::load(dir, layout)) {
        (Ok(corpus), Ok(pictures)) => {
            assert_eq!(pictures.fingerprint, corpus.fingerprint());
            assert_eq!(pictures.warnings, corpus.warnings);
            assert_eq!(pictures.names.len(), corpus.images.len());
            for (index, name) in pictures.names.iter().enumerate() {
                assert_eq!(*name, corpus.images[index].file_name);
                assert_eq!(pictures.locations.find(index, name), corpus.picture(index));
            }
        }
        (Err(error), Err(same)) => assert_eq!(error.to_string(), same.to_string()),
        (corpus, pictures) => panic!("{:?} and {:?}", corpus.is_ok(), pictures.is_ok()),
    }
    corpus
}
