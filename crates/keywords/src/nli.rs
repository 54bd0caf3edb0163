//! Categories by natural language inference, as the paper has them: BART, trained on MNLI, says how far a
//! word entails "This example is CATEGORY.".

use std::path::Path;

use networks::bart::BartClassifier;
use tch::Device;
use words::{BartTokenizer, Label};

use crate::compare::largest_of_rows;
use crate::error::{Error, check_vocabulary};

/// Pairs in a batch.
const BATCH: usize = 64;
/// Words whose pairs with all categories are made together.
const WORDS: usize = 64;

/// A zero-shot classifier with its tokenizer.
#[derive(Debug)]
pub struct ZeroShot {
    classifier: BartClassifier,
    tokenizer: BartTokenizer,
    identity: String,
}

impl ZeroShot {
    /// Loads a Hugging Face folder, such as `facebook/bart-large-mnli`'s.
    ///
    /// # Errors
    /// Names the file; also where the tokenizer has more tokens than the model.
    pub fn load(folder: &Path, device: Device) -> Result<Self, Error> {
        let classifier = BartClassifier::from_folder(folder, device)?;
        let tokenizer = BartTokenizer::from_folder(folder)?;
        check_vocabulary(folder, tokenizer.vocab_size(), classifier.config().vocab_size)?;
        let identity = classifier.identity();
        Ok(Self { classifier, tokenizer, identity })
    }

    /// SHA-256 of the weights.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// For each label the place of the most probable category; of equal ones the first. The `first`
    /// ones are known already; `keep` is given all that are known, now and then.
    ///
    /// # Errors
    /// `keep`'s, or when memory is exhausted.
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
