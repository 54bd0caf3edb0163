//! CLIP's text tower and its tokenizer: computes embeddings of texts.

use std::path::{Path, PathBuf};

use networks::clip::{self, ClipModel, LoadedClip};
use networks::{compute_by_length, normalized};
use tch::{Device, Kind, Tensor};
use words::{ClipTokenizer, check_vocabulary};

use crate::error::Error;

/// Number of texts per batch.
const BATCH: usize = 256;

/// CLIP's text tower and its tokenizer.
#[derive(Debug)]
pub struct TextEncoder {
    path: PathBuf,
    model: ClipModel,
    tokenizer: ClipTokenizer,
    device: Device,
    identity: String,
}

impl TextEncoder {
    /// Loads a Hugging Face folder or a weights file in it, onto `device` as type `kind`.
    ///
    /// # Errors
    /// Names the file. Also fails if the tokenizer has more tokens than the model.
    pub fn load(path: &Path, device: Device, kind: Kind) -> Result<Self, Error> {
        let clip = LoadedClip::text_from_folder(path, device, kind)?;
        let folder = clip::folder_of(path)?;
        let tokenizer = ClipTokenizer::from_folder(folder)?;
        check_vocabulary(
            folder,
            tokenizer.vocab_size(),
            clip.model.config().text_config.vocab_size,
        )?;
        let identity = clip.identity();
        // The rest of `clip` keeps the weights file mapped.
        Ok(Self { path: path.to_owned(), model: clip.model, tokenizer, device, identity })
    }

    /// Returns embeddings `[texts, dim]`, f32, each of length 1.
    ///
    /// Texts with more tokens than CLIP has positions are truncated.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn encode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor, Error> {
        Ok(self.encode_counting_cut(texts)?.0)
    }

    /// Returns the same as [`Self::encode`], and the number of texts that were truncated.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn encode_counting_cut<S: AsRef<str>>(
        &self,
        texts: &[S],
    ) -> Result<(Tensor, usize), Error> {
        let (rows, cut) = self.tokenizer.encode_batch_counting_cut(texts)?;
        let encode = |rows: &[&[u32]]| {
            let padded = self.tokenizer.pad(rows);
            let shape = [padded.rows as i64, padded.tokens as i64];
            let ids = Tensor::f_from_slice(&padded.ids)?.f_view(shape)?;
            let embeddings = self.model.encode_text(&ids, None)?.f_to_kind(Kind::Float)?;
            Ok::<_, Error>(normalized(&embeddings)?)
        };
        let all = compute_by_length(&rows, BATCH, self.dimension() as i64, self.device, encode)?;
        Ok((all, cut))
    }

    /// Returns the number of tokens at which texts are truncated.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.tokenizer.context_length()
    }

    /// Returns the path that the encoder was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the SHA-256 of the weights.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns the number of values in an embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.model.config().projection_dim as usize
    }

    /// Returns the device of the computation.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }
}
