//! CLIP's text tower and its tokenizer: computes embeddings of texts.

use std::path::{Path, PathBuf};

use networks::clip::{self, ClipModel, LoadedClip};
use networks::normalized;
use networks::transfer;
use tch::{Device, Kind, Tensor, no_grad};
use words::ClipTokenizer;

use crate::error::{Error, check_vocabulary};

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
        // Batches of texts of similar length need little padding.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].len());
        let kind = (Kind::Float, self.device);
        let all = Tensor::zeros([texts.len() as i64, self.dimension() as i64], kind);
        for batch in order.chunks(BATCH) {
            let padded =
                self.tokenizer.pad(&batch.iter().map(|&row| &rows[row][..]).collect::<Vec<_>>());
            let shape = [padded.rows as i64, padded.tokens as i64];
            let ids = Tensor::f_from_slice(&padded.ids)?.f_view(shape)?;
            let embeddings = no_grad(|| self.model.encode_text(&ids, None))?;
            let embeddings = embeddings.f_to_kind(Kind::Float)?;
            let indices: Vec<i64> = batch.iter().map(|&row| row as i64).collect();
            let indices = transfer::to_device(&Tensor::f_from_slice(&indices)?, self.device)?;
            let _ = all.shallow_clone().f_index_copy_(0, &indices, &normalized(&embeddings)?)?;
        }
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
