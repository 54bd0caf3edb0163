//! Document frequencies of CIDEr in a file, for scores that do not depend on which images are
//! scored together.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::counting::count_references;
use crate::ngrams::{DocumentFrequencies, ORDER};
use crate::{Error, References, Tokenizer, text};

/// For each n-gram of one to four words the number of images whose references hold it.
///
/// As a file it is JSON: `{"tokenizer": "ptb", "images": 8091, "document_frequencies": {"a dog":
/// 1243, …}}`, where single spaces stand between the words of an n-gram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiderFrequencies {
    tokenizer: Tokenizer,
    images: u32,
    document_frequencies: BTreeMap<String, u32>,
}

impl CiderFrequencies {
    /// Counts the n-grams of references.
    ///
    /// # Errors
    /// [`Error::NoImages`] and [`Error::NoReferenceWords`].
    pub fn new(references: &References, tokenizer: Tokenizer) -> Result<Self, Error> {
        let (frequencies, vocabulary) = count_references(references, tokenizer)?;
        let images = references.len() as u32;
        Ok(Self { tokenizer, images, document_frequencies: frequencies.named(&vocabulary) })
    }

    /// Reads a file that [`write_json`](Self::write_json) wrote.
    ///
    /// # Errors
    /// Names the file that is not of this kind.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let malformed = |message| Error::Malformed { path: path.to_owned(), message };
        let read: Self = serde_json::from_str(&text::read(path)?).map_err(|error| {
            malformed(format!(
                "{error}; expected document frequencies, as `caption-eval df` writes them"
            ))
        })?;
        let wrong = read
            .document_frequencies
            .iter()
            .find(|&(gram, &frequency)| frequency > read.images || gram.split(' ').count() > ORDER);
        match wrong {
            Some((gram, frequency)) => Err(malformed(format!(
                "{gram:?} in {frequency} of {} images cannot be: n-grams have at most {ORDER} words \
                 and occur in no more images than there are",
                read.images
            ))),
            None if read.document_frequencies.is_empty() => {
                Err(malformed("it holds no n-grams".to_owned()))
            }
            None => Ok(read),
        }
    }

    /// Writes the frequencies as JSON, in the order of the n-grams.
    ///
    /// # Errors
    /// Fails if `out` does.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// Returns the tokenizer of the references.
    #[must_use]
    pub fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// Returns the number of images whose references were counted.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images as usize
    }

    /// Returns the number of distinct n-grams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.document_frequencies.len()
    }

    /// Returns whether there is no n-gram.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the frequencies with words as numbers, which `number` gives.
    pub(crate) fn numbered(&self, mut number: impl FnMut(&str) -> u32) -> DocumentFrequencies {
        let mut frequencies = DocumentFrequencies::default();
        for (gram, &frequency) in &self.document_frequencies {
            frequencies.insert(gram.split(' ').map(&mut number), frequency);
        }
        frequencies
    }
}
