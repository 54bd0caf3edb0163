//! BART sequence classification (Lewis et al. 2019, arXiv 1910.13461), and zero-shot classification
//! by natural language inference (Yin et al. 2019, arXiv 1909.00161).
//!
//! Reads Hugging Face folders such as `facebook/bart-large-mnli`. Variables have the checkpoint's
//! names. Logits equal those of `BartForSequenceClassification` in transformers 4.57.6,
//! probabilities those of its zero-shot pipeline. Inputs are rows of token ids, `<s> premise
//! </s></s> hypothesis </s>`.

mod config;
mod layers;

use std::path::Path;

use tch::nn::VarStore;
use tch::{Device, Kind, TchError, Tensor};

pub use config::BartConfig;
use layers::{Layer, linear, norm};

use crate::device::upload;
use crate::error::ModelError;
use crate::layers::{AttentionMask, Builder, InitialWeights, LayerNorm, Linear};
use crate::token_rows::{check_ids, compute_by_length};
use crate::weights::{self, Checkpoint};

/// Unused rows at the start of the position embedding, a relic of BART's padding index.
const OFFSET: i64 = 2;

/// Copies of the token embedding in older files, and fairseq's version numbers.
const IGNORED: [&str; 4] = [
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "model.encoder.version",
    "model.decoder.version",
];

/// Position embedding, first layer norm and layers of the encoder or the decoder.
#[derive(Debug)]
struct Stack {
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Stack {
    fn new(
        builder: &Builder,
        positions: i64,
        layers: i64,
        [hidden, heads, inner]: [i64; 3],
        decodes: bool,
    ) -> Result<Self, TchError> {
        let layer_builder = builder.sub("layers");
        let layer = |index| Layer::new(&layer_builder.sub(index), [hidden, heads, inner], decodes);
        let shape = [positions + OFFSET, hidden];
        Ok(Self {
            positions: builder.sub("embed_positions").constant("weight", &shape, 0.0)?,
            norm: norm(&builder.sub("layernorm_embedding"), hidden)?,
            layers: (0..layers).map(layer).collect::<Result<_, _>>()?,
        })
    }

    /// Returns hidden states `[batch, tokens, hidden]` for token embeddings of the same shape.
    ///
    /// `visible` masks the self-attention. For the decoder, `encoded` holds the encoder's states
    /// and the mask of its real tokens.
    ///
    /// # Errors
    /// Fails if there are more tokens than positions, or memory is exhausted.
    fn forward(
        &self,
        embeddings: &Tensor,
        visible: &AttentionMask,
        encoded: Option<(&Tensor, &AttentionMask)>,
    ) -> Result<Tensor, TchError> {
        let positions = self.positions.f_narrow(0, OFFSET, embeddings.size()[1])?;
        let mut states = self.norm.forward(&embeddings.f_add(&positions)?)?;
        for layer in &self.layers {
            states = layer.forward(&states, visible, encoded)?;
        }
        Ok(states)
    }
}

/// BART classifier with frozen weights.
#[derive(Debug)]
pub struct BartClassifier {
    config: BartConfig,
    token_embedding: Tensor,
    encoder: Stack,
    decoder: Stack,
    dense: Linear,
    out_proj: Linear,
    checkpoint: Checkpoint,
}

impl BartClassifier {
    /// Reads `config.json` and the weights of `folder` onto `device`, as f32.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or a tensor is missing, unexpected or misshapen.
    pub fn from_folder(folder: &Path, device: Device) -> Result<Self, ModelError> {
        let config = BartConfig::open(&folder.join("config.json"))?;
        let checkpoint = Checkpoint::open(folder)?;
        let mut store = VarStore::new(device);
        let root = Builder::new(store.root(), InitialWeights::Zeros);
        let (model, head) = (root.sub("model"), root.sub("classification_head"));
        let (hidden, positions) = (config.d_model, config.max_position_embeddings);
        let sizes = [hidden, config.encoder_attention_heads, config.encoder_ffn_dim];
        let encoder =
            Stack::new(&model.sub("encoder"), positions, config.encoder_layers, sizes, false)?;
        let sizes = [hidden, config.decoder_attention_heads, config.decoder_ffn_dim];
        let decoder =
            Stack::new(&model.sub("decoder"), positions, config.decoder_layers, sizes, true)?;
        let token_embedding =
            model.sub("shared").constant("weight", &[config.vocab_size, hidden], 0.0)?;
        let dense = linear(&head.sub("dense"), hidden, hidden)?;
        let out_proj = linear(&head.sub("out_proj"), hidden, config.num_labels())?;
        weights::load(&mut store, &checkpoint, str::to_owned, |name| IGNORED.contains(&name))?;
        store.freeze();
        Ok(Self { config, token_embedding, encoder, decoder, dense, out_proj, checkpoint })
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &BartConfig {
        &self.config
    }

    /// Returns the SHA-256 of the weight files; see [`Checkpoint::identity`]. Reads them whole.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }

    /// Returns logits `[rows, classes]`, in host memory, for rows of token ids.
    ///
    /// Computes at most `batch` rows at a time, sorted by length to keep padding small.
    ///
    /// # Errors
    /// [`ModelError::Tokens`] if a row has no end token, has more tokens than the model has
    /// positions, or has ids outside the vocabulary; [`ModelError::Torch`] for example if memory is
    /// exhausted.
    pub fn logits(&self, rows: &[Vec<i64>], batch: usize) -> Result<Tensor, ModelError> {
        for row in rows {
            self.check_row(row)?;
        }
        let (width, device) = (self.config.num_labels(), self.token_embedding.device());
        let logits = compute_by_length(rows, batch, width, device, |rows| self.batch_logits(rows))?;
        // One transfer at the end: the GPU has all batches queued before the host waits.
        Ok(logits.f_to_device(Device::Cpu)?)
    }

    /// Returns zero-shot probabilities `[texts, candidates]` with one label per text.
    ///
    /// They are the softmax of the entailment logits over the candidates of a text. `rows` holds
    /// one pair per text and candidate, text by text.
    ///
    /// # Errors
    /// Same as [`Self::logits`].
    ///
    /// # Panics
    /// Panics if `candidates` is 0 or does not divide the number of rows.
    pub fn zero_shot(
        &self,
        rows: &[Vec<i64>],
        candidates: usize,
        batch: usize,
    ) -> Result<Tensor, ModelError> {
        assert!(
            candidates > 0 && rows.len().is_multiple_of(candidates),
            "rows must hold one pair per text and candidate"
        );
        let entailed = self.logits(rows, batch)?.f_select(1, self.config.entailment_class())?;
        let texts = (rows.len() / candidates) as i64;
        Ok(entailed.f_view([texts, candidates as i64])?.f_softmax(1, Kind::Float)?)
    }

    /// Returns logits `[rows, classes]` of one batch.
    fn batch_logits(&self, rows: &[&[i64]]) -> Result<Tensor, TchError> {
        let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = [rows.len() as i64, tokens as i64];
        let padded = |row: &[i64]| {
            let mut row = row.to_vec();
            row.resize(tokens, self.config.pad_token_id);
            row
        };
        let read: Vec<i64> = rows.iter().flat_map(|row| padded(row)).collect();
        let shifted: Vec<i64> = rows
            .iter()
            .flat_map(|row| {
                let before = [&[self.config.decoder_start_token_id], &row[..row.len() - 1]];
                padded(&before.concat())
            })
            .collect();
        let real =
            rows.iter().flat_map(|row| (0..tokens).map(|position| i64::from(position < row.len())));
        let real: Vec<i64> = real.collect();
        let ends: Vec<i64> = rows
            .iter()
            .zip((0..).step_by(tokens.max(1)))
            .map(|(row, first)| {
                let is_end = |&id: &i64| id == self.config.eos_token_id;
                first + row.iter().rposition(is_end).unwrap_or(0) as i64
            })
            .collect();
        let [read, shifted, real, ends] =
            upload([&read, &shifted, &real, &ends], self.token_embedding.device());
        let embed = |ids: &Tensor| {
            Tensor::f_embedding(&self.token_embedding, &ids.f_view(shape)?, -1, false, false)
        };
        let mask = real.f_to_kind(Kind::Bool)?.f_view([shape[0], 1, 1, shape[1]])?;
        let visible = AttentionMask::Custom(mask);
        let encoded = self.encoder.forward(&embed(&read)?, &visible, None)?;
        let states = self.decoder.forward(
            &embed(&shifted)?,
            &AttentionMask::Causal,
            Some((&encoded, &visible)),
        )?;
        let pooled = states.f_flatten(0, 1)?.f_index_select(0, &ends)?;
        self.out_proj.forward(&self.dense.forward(&pooled)?.f_tanh()?)
    }

    fn check_row(&self, row: &[i64]) -> Result<(), ModelError> {
        let BartConfig { vocab_size, max_position_embeddings, eos_token_id, .. } = self.config;
        let tokens = row.len();
        if tokens as i64 > max_position_embeddings {
            return Err(ModelError::Tokens(format!(
                "a text has {tokens} tokens, but this BART takes at most {max_position_embeddings}"
            )));
        }
        check_ids(row.iter().copied(), vocab_size)?;
        if !row.contains(&eos_token_id) {
            return Err(ModelError::Tokens(format!("a text lacks the end token {eos_token_id}")));
        }
        Ok(())
    }
}
