//! Sentence encoders of sentence-transformers (Reimers and Gurevych 2019, arXiv 1908.10084): BERT
//! (Devlin et al. 2018, arXiv 1810.04805) with the mean of its last states as the embedding.
//!
//! Reads Hugging Face folders such as `sentence-transformers/all-MiniLM-L6-v2`. Variables have the
//! checkpoint's names. Embeddings equal those of transformers 4.57.6, pooled and normalised as
//! sentence-transformers does, to 1e-5.

mod config;
mod layers;

use std::path::Path;

use tch::nn::VarStore;
use tch::{Device, Kind, TchError, Tensor};

pub use config::BertConfig;
use layers::Layer;

use crate::device::upload;
use crate::error::ModelError;
use crate::layers::{AttentionMask, Builder, InitialWeights, LayerNorm};
use crate::token_rows::{check_ids, compute_by_length};
use crate::weights::{self, Checkpoint};

/// BERT sentence encoder with frozen weights.
#[derive(Debug)]
pub struct BertEncoder {
    config: BertConfig,
    word_embeddings: Tensor,
    position_embeddings: Tensor,
    token_type_embeddings: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    checkpoint: Checkpoint,
}

impl BertEncoder {
    /// Reads the configs and the weights of `folder` onto `device`, as f32.
    ///
    /// # Errors
    /// Fails if a file cannot be read, the folder describes another pooling than the mean, or a
    /// tensor is missing, unexpected or misshapen.
    pub fn from_folder(folder: &Path, device: Device) -> Result<Self, ModelError> {
        let config = BertConfig::open(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let mut store = VarStore::new(device);
        let root = Builder::new(store.root(), InitialWeights::Zeros);
        let (embeddings, layers) = (root.sub("embeddings"), root.sub("encoder").sub("layer"));
        let hidden = config.hidden_size;
        let table =
            |name: &str, rows| embeddings.sub(name).constant("weight", &[rows, hidden], 0.0);
        let word_embeddings = table("word_embeddings", config.vocab_size)?;
        let position_embeddings = table("position_embeddings", config.max_position_embeddings)?;
        let token_type_embeddings = table("token_type_embeddings", config.type_vocab_size)?;
        let norm = LayerNorm::new(&embeddings.sub("LayerNorm"), hidden, config.layer_norm_eps)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::new(&layers.sub(index), &config))
            .collect::<Result<_, _>>()?;
        // The mean over tokens does not use the pooler, which reads the first token.
        let is_unused =
            |name: &str| name.starts_with("pooler.") || name == "embeddings.position_ids";
        weights::load(&mut store, &checkpoint, str::to_owned, is_unused)?;
        store.freeze();
        Ok(Self {
            config,
            word_embeddings,
            position_embeddings,
            token_type_embeddings,
            norm,
            layers,
            checkpoint,
        })
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Returns the SHA-256 of the weight files; see [`Checkpoint::identity`]. Reads them whole.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }

    /// Returns embeddings `[rows, hidden]` of length 1, on the model's device, for rows of token
    /// ids.
    ///
    /// Computes at most `batch` rows at a time, sorted by length to keep padding small.
    ///
    /// # Errors
    /// [`ModelError::Tokens`] if a row is empty, has more tokens than the model has positions, or
    /// has ids outside the vocabulary; [`ModelError::Torch`] for example if memory is exhausted.
    pub fn encode(&self, rows: &[Vec<u32>], batch: usize) -> Result<Tensor, ModelError> {
        for row in rows {
            self.check_row(row)?;
        }
        let (width, device) = (self.config.hidden_size, self.word_embeddings.device());
        Ok(compute_by_length(rows, batch, width, device, |rows| self.encode_batch(rows))?)
    }

    /// Returns embeddings `[rows, hidden]` of one batch.
    fn encode_batch(&self, rows: &[&[u32]]) -> Result<Tensor, TchError> {
        let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = [rows.len() as i64, tokens as i64];
        // The id of padding does not matter, since no token attends to it and the mean skips it.
        let padded = rows.iter().flat_map(|row| {
            let ids = row.iter().map(|&id| i64::from(id));
            ids.chain(std::iter::repeat_n(0, tokens - row.len()))
        });
        let padded: Vec<i64> = padded.collect();
        let real =
            rows.iter().flat_map(|row| (0..tokens).map(|token| i64::from(token < row.len())));
        let real: Vec<i64> = real.collect();
        let [ids, real] = upload([&padded, &real], self.word_embeddings.device());
        let (ids, real) = (ids.f_view(shape)?, real.f_view(shape)?);
        let mask = real.f_to_kind(Kind::Bool)?.f_view([shape[0], 1, 1, shape[1]])?;
        let visible = AttentionMask::Custom(mask);
        let embeddings = Tensor::f_embedding(&self.word_embeddings, &ids, -1, false, false)?
            .f_add(&self.position_embeddings.f_narrow(0, 0, shape[1])?)?
            .f_add(&self.token_type_embeddings.f_select(0, 0)?)?;
        let mut states_bth = self.norm.forward(&embeddings)?;
        for layer in &self.layers {
            states_bth = layer.forward(&states_bth, &visible)?;
        }
        let real = real.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
        let dim = [1_i64].as_slice();
        let sum = states_bth.f_mul(&real)?.f_sum_dim_intlist(dim, false, Kind::Float)?;
        let mean = sum.f_div(&real.f_sum_dim_intlist(dim, false, Kind::Float)?)?;
        mean.f_div(&mean.f_norm_scalaropt_dim(2.0, dim, true)?.f_clamp_min(1e-12)?)
    }

    fn check_row(&self, row: &[u32]) -> Result<(), ModelError> {
        let BertConfig { vocab_size, max_position_embeddings, .. } = self.config;
        let tokens = row.len();
        if !(1..=max_position_embeddings).contains(&(tokens as i64)) {
            return Err(ModelError::Tokens(format!(
                "a text has {tokens} tokens, but this BERT takes 1 to {max_position_embeddings}"
            )));
        }
        check_ids(row.iter().map(|&id| i64::from(id)), vocab_size)
    }
}
