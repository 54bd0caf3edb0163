//! A sentence encoder and its tokenizer, by which the paper finds near-synonyms.

use std::path::Path;

use networks::bert::BertEncoder;
use tch::{Device, Tensor};
use words::{BertTokenizer, check_vocabulary};

use crate::error::Error;

/// Number of texts per batch.
const BATCH: usize = 256;

/// BERT sentence encoder and its tokenizer.
#[derive(Debug)]
pub struct SentenceEncoder {
    encoder: BertEncoder,
    tokenizer: BertTokenizer,
    identity: String,
}

impl SentenceEncoder {
    /// Loads a folder of sentence-transformers, such as `sentence-transformers/all-MiniLM-L6-v2`.
    ///
    /// # Errors
    /// Names the file. Also fails if the tokenizer has more tokens than the model.
    pub fn load(folder: &Path, device: Device) -> Result<Self, Error> {
        let encoder = BertEncoder::from_folder(folder, device)?;
        let tokenizer = BertTokenizer::from_folder(folder)?;
        check_vocabulary(folder, tokenizer.vocab_size(), encoder.config().vocab_size)?;
        let identity = encoder.identity();
        Ok(Self { encoder, tokenizer, identity })
    }

    /// Returns embeddings `[texts, hidden]`, each of length 1.
    ///
    /// Texts that are too long for the model are truncated.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn encode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor, Error> {
        Ok(self.encoder.encode(&self.tokenizer.encode_batch(texts)?, BATCH)?)
    }

    /// Returns the SHA-256 of the weights.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }
}
