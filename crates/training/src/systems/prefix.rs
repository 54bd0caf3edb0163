//! CLIP-prefix: a mapper turns an image embedding into GPT-2's first input vectors, and GPT-2
//! continues them with the caption.

use networks::decode::{self, Options};
use networks::gpt2::{Gpt2Config, Vocabulary};
use networks::prefix::{CaptionerInitialWeights, ClipCaptioner, MapperConfig, TokenBatch};
use networks::{InitialWeights, Pass, Standardization};
use progress::Progress;
use recipes::{ClipPrefix, Config, Decoding, Strategy, Tokenizer, Tuning};
use runs::checkpoints::Checkpoint;
use runs::{Provenance, RunFolder};
use tch::{Device, Kind, Tensor, nn};
use words::Gpt2Tokenizer;

use super::{Setup, System, check_examples};
use crate::batches::TokenRow;
use crate::captions::{Caption, ImageInputs, Writer, decoded, first_sentence};
use crate::checkpoint;
use crate::error::Error;
use crate::inputs::{Inputs, load_tokenizer};
use crate::language_model;
use crate::learner::Model;
use crate::pretrained::Pretrained;
use crate::tokenizers;

/// Captions on the device.
#[derive(Debug)]
pub struct Batch {
    /// Embeddings of all images of the data set, `[images, clip_dim]`. Captions name their rows.
    pub embeddings: Tensor,
    /// Tokens of the captions.
    pub tokens: TokenBatch,
}

impl Batch {
    /// Lays out captions on `device`, where the data set's `embeddings` are.
    #[must_use]
    pub fn new(
        rows: &[&TokenRow],
        embeddings: &Tensor,
        prefix_length: i64,
        device: Device,
    ) -> Self {
        let tokens: Vec<&[i64]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        let images: Vec<i64> = rows.iter().map(|row| row.embedding).collect();
        Self {
            embeddings: embeddings.shallow_clone(),
            tokens: TokenBatch::new(&tokens, &images, prefix_length, device),
        }
    }
}

impl Model for ClipCaptioner {
    type Batch = Batch;

    fn targets(batch: &Batch) -> usize {
        batch.tokens.targets()
    }

    fn standardization(&self) -> Option<&Standardization> {
        self.standardization()
    }

    fn loss<'m>(&'m self, batch: &'m Batch, pass: Pass<'_, 'm>) -> Tensor {
        self.caption_loss(&batch.embeddings, &batch.tokens, pass)
    }
}

/// Examples of the CLIP-prefix system, and the models it starts from.
pub(crate) struct Prefix {
    system: ClipPrefix,
    pretrained: Pretrained,
    tokenizer: Gpt2Tokenizer,
    gpt2: Gpt2Config,
    clip_dim: usize,
    device: Device,
    rows: Vec<TokenRow>,
    held_out: Vec<TokenRow>,
}

impl System for Prefix {
    type Example = TokenRow;
    type Model = ClipCaptioner;

    fn load(setup: &Setup, progress: &mut dyn Progress) -> Result<Self, Error> {
        let system = setup.config.clip_prefix()?.clone();
        let inputs = setup.inputs;
        let pretrained = Pretrained::open(setup.language_model)?;
        pretrained.note_other_heads(progress);
        let tokenizer = tokenizer(setup, &system, &pretrained)?;
        let gpt2 = match system.tokenizer {
            Tokenizer::Pretrained {} => pretrained.config.clone(),
            Tokenizer::Custom { .. } => Gpt2Config {
                vocab_size: tokenizer.vocab_size() as i64,
                ..pretrained.config.clone()
            },
        };
        let rows = inputs.token_rows(&inputs.split.train, &tokenizer)?;
        check_examples(setup.config, inputs, rows.len(), "captions", progress)?;
        check_lengths(setup.config, &system, &gpt2, &rows)?;
        // Held-out captions that are too long for the model are left out.
        let mut held_out = inputs.token_rows(&inputs.split.validation, &tokenizer)?;
        let room = gpt2.tokens_after(system.mapper.prefix_length);
        held_out.retain(|row| row.tokens.len() <= room);
        let (clip_dim, device) = (inputs.identity.dimension, setup.device);
        MapperConfig::new(&system.mapper, clip_dim).check(gpt2.n_embd).map_err(Error::Mismatch)?;
        Ok(Self { system, pretrained, tokenizer, gpt2, clip_dim, device, rows, held_out })
    }

    fn record_provenance(&self, provenance: &mut Provenance) {
        provenance.gpt2_sha256 = Some(self.pretrained.identity());
    }

    fn build_model(
        &self,
        store: &nn::VarStore,
        initial: InitialWeights,
    ) -> Result<ClipCaptioner, Error> {
        let mapper = MapperConfig::new(&self.system.mapper, self.clip_dim);
        let initial = CaptionerInitialWeights { mapper: initial, gpt2: InitialWeights::Zeros };
        Ok(ClipCaptioner::with_initial(store.root(), &self.gpt2, &mapper, initial))
    }

    fn load_pretrained(&self, store: &mut nn::VarStore) -> Result<(), Error> {
        let vocabulary = match self.system.tokenizer {
            Tokenizer::Pretrained {} => Vocabulary::Same,
            Tokenizer::Custom { .. } => Vocabulary::FirstRows,
        };
        self.pretrained.fill(store, vocabulary)
    }

    fn is_trained(&self, name: &str) -> bool {
        self.system.gpt2.tuning == Tuning::Full || !name.starts_with("gpt.")
    }

    fn has_dropout(&self) -> bool {
        self.system.gpt2.tuning == Tuning::Full
    }

    fn save(&self, folder: &RunFolder) -> Result<(), Error> {
        language_model::save(folder, &self.gpt2, &self.tokenizer)
    }

    fn examples(&self) -> &[TokenRow] {
        &self.rows
    }

    fn held_out(&self) -> &[TokenRow] {
        &self.held_out
    }

    fn vocabulary(&self) -> usize {
        self.gpt2.vocab_size as usize
    }

    fn targets(&self, row: &TokenRow) -> usize {
        TokenBatch::count_targets(&row.tokens)
    }

    fn batch(&self, rows: &[&TokenRow], inputs: &Inputs) -> Batch {
        Batch::new(rows, &inputs.embeddings, self.system.mapper.prefix_length, self.device)
    }

    fn describe(&self, row: &TokenRow, inputs: &Inputs) -> String {
        inputs.describe(row)
    }
}

/// Returns GPT-2's own tokenizer, or one trained on the training captions.
///
/// A resumed run keeps its tokenizer.
fn tokenizer(
    setup: &Setup,
    system: &ClipPrefix,
    pretrained: &Pretrained,
) -> Result<Gpt2Tokenizer, Error> {
    let (folder, gpt2) = (setup.folder, &pretrained.config);
    let Tokenizer::Custom { vocab_size } = system.tokenizer else {
        return load_tokenizer(&pretrained.folder, gpt2.vocab_size);
    };
    if folder.exists() {
        return load_tokenizer(&folder.gpt2(), gpt2.vocab_size);
    }
    if vocab_size as i64 > gpt2.vocab_size {
        return Err(Error::Mismatch(format!(
            "tokenizer.vocab_size is {vocab_size}, but GPT-2 has embeddings for {} tokens only; a custom tokenizer takes the first of them",
            gpt2.vocab_size
        )));
    }
    let captions = setup.inputs.captions(&setup.inputs.split.train);
    match setup.tokenizers {
        None => Ok(Gpt2Tokenizer::train(captions, vocab_size)?),
        Some(kept) => tokenizers::trained_once(kept, &captions, vocab_size),
    }
}

/// Checks that captions and `decoding.max_new_tokens` fit into GPT-2's positions.
fn check_lengths(
    config: &Config,
    system: &ClipPrefix,
    gpt2: &Gpt2Config,
    rows: &[TokenRow],
) -> Result<(), Error> {
    let prefix_length = system.mapper.prefix_length;
    let longest = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
    let (needed, room) =
        (longest.max(config.decoding.max_new_tokens), gpt2.tokens_after(prefix_length));
    if needed > room {
        return Err(Error::Mismatch(format!(
            "captions have up to {needed} tokens, but behind {prefix_length} prefix vectors GPT-2's {} positions have room for {room}; lower mapper.prefix_length or decoding.max_new_tokens",
            gpt2.n_positions,
        )));
    }
    Ok(())
}

/// Trained CLIP-prefix captioner.
pub(crate) struct PrefixWriter {
    model: ClipCaptioner,
    tokenizer: Gpt2Tokenizer,
    /// For each token, true if it ends a caption: its text has a full stop.
    stops: Vec<bool>,
    /// For each token, true if it ends a beam: the token `.` alone, as in ClipCap.
    ///
    /// Captions are cut afterwards; other ends would let other beams win.
    beam_stops: Vec<bool>,
}

impl PrefixWriter {
    /// Loads a checkpoint of a run, with weights of type `kind`.
    pub(crate) fn load(
        folder: &RunFolder,
        system: &ClipPrefix,
        clip_dim: usize,
        checkpoint: &Checkpoint,
        kind: Kind,
        device: Device,
    ) -> Result<Self, Error> {
        let (gpt2, tokenizer) = language_model::load(folder)?;
        let mut store = nn::VarStore::new(device);
        let mapper = MapperConfig::new(&system.mapper, clip_dim);
        let mut model = ClipCaptioner::with_initial(
            store.root(),
            &gpt2,
            &mapper,
            CaptionerInitialWeights::ZEROS,
        );
        checkpoint::load_model(checkpoint, &mut store)?;
        store.freeze();
        ClipCaptioner::convert_weights(&store, kind);
        drop(store);
        model.pack();
        let stops = tokenizer.stop_tokens('.');
        let full_stop = tokenizer.encode(".")?.first().copied();
        let beam_stops = (0..).take(stops.len()).map(|id| full_stop == Some(id)).collect();
        Ok(Self { model, tokenizer, stops, beam_stops })
    }
}

impl Writer for PrefixWriter {
    fn vocabulary(&self) -> usize {
        self.model.gpt2().config().vocab_size as usize
    }

    fn most_tokens(&self) -> Result<usize, Error> {
        Ok(self.model.gpt2().config().tokens_after(self.model.prefix_length()))
    }

    fn write(
        &self,
        images: &ImageInputs,
        decoding: &Decoding,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let options = Options {
            strategy: decoding.strategy,
            max_tokens: decoding.max_new_tokens,
            stops: match decoding.strategy {
                Strategy::Beam { .. } => &self.beam_stops,
                Strategy::Greedy {} | Strategy::Sampling(_) => &self.stops,
            },
            constraints: decoding.constraints,
            ends: &self.stops,
            vocabulary: Some(self.tokenizer.vocab_size()),
        };
        let mut captions = Vec::new();
        let batch_size = decoding.caption_batch_size(images.embeddings.device().is_cuda());
        let batches = images.embeddings.split(batch_size as i64, 0);
        for (batch, numbers) in batches.iter().zip(images.numbers.chunks(batch_size)) {
            let prompt = tch::no_grad(|| self.model.prefix(batch));
            for written in decode::generate(self.model.gpt2(), &prompt, numbers, &options)? {
                let mut all = Vec::with_capacity(written.len());
                for hypothesis in &written {
                    let text = decoded(&self.tokenizer, &hypothesis.tokens, decoding)?;
                    let text = first_sentence(&text);
                    let score = hypothesis.penalized_score(decoding.constraints.length_penalty);
                    all.push(Caption { text, score });
                }
                captions.push(all);
            }
            progress.position(captions.len() as u64);
        }
        Ok(captions)
    }
}
