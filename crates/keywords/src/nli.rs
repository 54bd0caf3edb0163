//! Categories by natural language inference, which is the paper's method.
//!
//! BART, trained on MNLI, rates how far a word entails "This example is CATEGORY.".

use std::path::Path;

use networks::bart::BartClassifier;
use tch::Device;
use words::{BartTokenizer, Label, check_vocabulary};

use crate::compare::largest_of_rows;
use crate::error::Error;

/// Number of pairs per batch.
const BATCH: usize = 64;
/// Number of words whose pairs with all categories are built together.
const WORDS: usize = 64;

/// Zero-shot classifier and its tokenizer.
#[derive(Debug)]
pub struct ZeroShot {
    classifier: BartClassifier,
    tokenizer: BartTokenizer,
    identity: String,
}

impl ZeroShot {
    /// Loads a Hugging Face folder, such as `facebook/bart-large-mnli`.
    ///
    /// # Errors
    /// Names the file. Also fails if the tokenizer has more tokens than the model.
    pub fn load(folder: &Path, device: Device) -> Result<Self, Error> {
        let classifier = BartClassifier::from_folder(folder, device)?;
        let tokenizer = BartTokenizer::from_folder(folder)?;
        check_vocabulary(folder, tokenizer.vocab_size(), classifier.config().vocab_size)?;
        let identity = classifier.identity();
        Ok(Self { classifier, tokenizer, identity })
    }

    /// Returns the SHA-256 of the weights.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns, for each label, the index of the most probable category; the first of equal ones.
    ///
    /// `first` holds the results of the first labels, which are already known. `keep` receives all
    /// results so far, after every 64 labels.
    ///
    /// # Errors
    /// Returns errors of `keep`. Also fails if memory is exhausted.
    pub fn nearest(
        &self,
        labels: &[&Label],
        categories: &[&str],
        first: Vec<usize>,
        mut keep: impl FnMut(&[usize]) -> Result<(), Error>,
    ) -> Result<Vec<usize>, Error> {
        let mut nearest = first;
        for some in labels[nearest.len().min(labels.len())..].chunks(WORDS) {
            let texts: Vec<&str> = some.iter().map(|label| label.word.as_str()).collect();
            let rows = self.tokenizer.encode_zero_shot(&texts, categories)?;
            let probabilities = self.classifier.zero_shot(&rows, categories.len(), BATCH)?;
            nearest.extend(largest_of_rows(&probabilities));
            keep(&nearest)?;
        }
        Ok(nearest)
    }
}
