//! Digest of a data set's names and captions.

use sha2::{Digest, Sha256};

/// State of [`Corpus::fingerprint`](crate::Corpus::fingerprint) for the images so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds the next image.
    pub(crate) fn add(&mut self, file_name: &str, captions: &[String]) {
        self.text(file_name);
        self.text(&captions.len().to_string());
        for caption in captions {
            self.text(caption);
        }
    }

    fn text(&mut self, text: &str) {
        // The length keeps "ab","c" apart from "a","bc".
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    /// Returns the SHA-256 in hexadecimal.
    pub(crate) fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}
