//! Merge-RNN: a recurrent network over whole words, merged with image features.

use foreign_text::printable_path;
use networks::merge_rnn::{self, MergeRnnConfig, WordBatch};
use networks::{InitialWeights, Pass, Standardization};
use progress::Progress;
use recipes::{Decoding, MergeRnn as Settings, Strategy};
use runs::RunFolder;
use runs::checkpoints::Checkpoint;
use tch::{Device, Tensor, nn};
use words::Vocabulary;

use super::{Setup, System, check_examples};
use crate::batches::TokenRow;
use crate::captions::{Caption, ImageInputs, Writer};
use crate::checkpoint;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::learner::{Model, Reduction};

// The vocabulary writes these ids and the network reads them; the two crates are independent.
const _: () = assert!(
    Vocabulary::EDGE == merge_rnn::EDGE && Vocabulary::UNKNOWN == merge_rnn::UNKNOWN,
    "words and networks number the edge and the unknown word alike"
);

/// Captions on the device.
#[derive(Debug)]
pub struct Batch {
    /// Embeddings of all images of the data set, `[images, image_dim]`. Captions name their rows.
    pub embeddings: Tensor,
    /// Words of the captions.
    pub words: WordBatch,
}

impl Batch {
    /// Lays out captions on `device`, where the data set's `embeddings` are.
    #[must_use]
    pub fn new(rows: &[&TokenRow], embeddings: &Tensor, device: Device) -> Self {
        let words: Vec<&[i64]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        let images: Vec<i64> = rows.iter().map(|row| row.embedding).collect();
        Self {
            embeddings: embeddings.shallow_clone(),
            words: WordBatch::new(&words, &images, device),
        }
    }
}

impl Model for merge_rnn::MergeRnn {
    type Batch = Batch;

    const REDUCTION: Reduction = Reduction::Sum;

    fn targets(batch: &Batch) -> usize {
        batch.words.targets()
    }

    fn standardization(&self) -> Option<&Standardization> {
        self.standardization()
    }

    /// With gradient checkpointing, too, activations stay in memory: they are few.
    fn loss<'m>(&'m self, batch: &'m Batch, pass: Pass<'_, 'm>) -> Tensor {
        self.loss(&batch.embeddings, &batch.words, pass) / batch.words.targets() as f64
    }
}

/// Examples of the Merge-RNN system, with its vocabulary.
pub(crate) struct MergeRnn {
    network: MergeRnnConfig,
    vocabulary: Vocabulary,
    device: Device,
    rows: Vec<TokenRow>,
    held_out: Vec<TokenRow>,
}

impl System for MergeRnn {
    type Example = TokenRow;
    type Model = merge_rnn::MergeRnn;

    fn load(setup: &Setup, progress: &mut dyn Progress) -> Result<Self, Error> {
        let Setup { config, inputs, .. } = *setup;
        let settings = config.merge_rnn()?;
        let vocabulary = vocabulary(setup, settings)?;
        let rows = |images: &[usize]| inputs.rows(images, |words| vocabulary.encode(words));
        let (rows, held_out) = (rows(&inputs.split.train), rows(&inputs.split.validation));
        check_examples(config, inputs, rows.len(), "captions", progress)?;
        Ok(Self {
            network: network(settings, &vocabulary, inputs.identity.dimension),
            vocabulary,
            device: setup.device,
            rows,
            held_out,
        })
    }

    fn build_model(
        &self,
        store: &nn::VarStore,
        initial: InitialWeights,
    ) -> Result<merge_rnn::MergeRnn, Error> {
        Ok(merge_rnn::MergeRnn::with_initial(store.root(), &self.network, initial))
    }

    fn has_dropout(&self) -> bool {
        self.network.dropout > 0.0
    }

    fn save(&self, folder: &RunFolder) -> Result<(), Error> {
        Ok(self.vocabulary.save(&folder.words())?)
    }

    fn examples(&self) -> &[TokenRow] {
        &self.rows
    }

    fn held_out(&self) -> &[TokenRow] {
        &self.held_out
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary.size()
    }

    fn targets(&self, row: &TokenRow) -> usize {
        // One target for each word, and one for the end.
        row.tokens.len() + 1
    }

    fn batch(&self, rows: &[&TokenRow], inputs: &Inputs) -> Batch {
        Batch::new(rows, &inputs.embeddings, self.device)
    }

    fn describe(&self, row: &TokenRow, inputs: &Inputs) -> String {
        inputs.describe(row)
    }
}

/// Returns the vocabulary of the training captions; a resumed run must have the same.
fn vocabulary(setup: &Setup, settings: &Settings) -> Result<Vocabulary, Error> {
    let Setup { folder, config, inputs, .. } = *setup;
    let captions = inputs.words(&inputs.split.train);
    let vocabulary = Vocabulary::new(&captions, settings.vocabulary.min_frequency);
    // Another configuration is refused later, with its differences.
    let is_resumed = folder.exists() && folder.config()?.difference_of_run(config).is_empty();
    if is_resumed && Vocabulary::open(&folder.words())? != vocabulary {
        return Err(Error::Mismatch(format!(
            "{} has other words than the training captions: the data set has changed, or capsmith 0.1.0 started this run, which dropped all punctuation and joined words at \"-\"\nhint: start a new run, or resume with that version",
            printable_path(&folder.words())
        )));
    }
    Ok(vocabulary)
}

fn network(settings: &Settings, vocabulary: &Vocabulary, image_dim: usize) -> MergeRnnConfig {
    MergeRnnConfig {
        architecture: settings.network.architecture,
        vocab_size: vocabulary.size() as i64,
        layer_size: settings.network.layer_size,
        image_dim: image_dim as i64,
        dropout: settings.network.dropout,
        standardize: settings.network.standardize,
    }
}

/// Trained Merge-RNN captioner.
pub(crate) struct MergeRnnWriter {
    model: merge_rnn::MergeRnn,
    vocabulary: Vocabulary,
}

impl MergeRnnWriter {
    /// Loads a checkpoint of a run.
    pub(crate) fn load(
        folder: &RunFolder,
        settings: &Settings,
        image_dim: usize,
        checkpoint: &Checkpoint,
        device: Device,
    ) -> Result<Self, Error> {
        let vocabulary = Vocabulary::open(&folder.words())?;
        let mut store = nn::VarStore::new(device);
        let shape = network(settings, &vocabulary, image_dim);
        let model = merge_rnn::MergeRnn::with_initial(store.root(), &shape, InitialWeights::Zeros);
        checkpoint::load_model(checkpoint, &mut store)?;
        store.freeze();
        Ok(Self { model, vocabulary })
    }
}

impl Writer for MergeRnnWriter {
    fn vocabulary(&self) -> usize {
        self.vocabulary.size()
    }

    fn write(
        &self,
        images: &ImageInputs,
        decoding: &Decoding,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let Strategy::Beam { num_beams: beams } = decoding.strategy else {
            return Err(Error::Mismatch("Merge-RNN captions by beam search only".to_owned()));
        };
        let mut captions = Vec::new();
        let batch_size = decoding.caption_batch_size(images.embeddings.device().is_cuda());
        for batch in images.embeddings.split(batch_size as i64, 0) {
            for sentence in
                merge_rnn::beam_search(&self.model, &batch, beams, decoding.max_new_tokens)
            {
                captions.push(vec![Caption {
                    text: self.vocabulary.decode(&sentence.words),
                    score: sentence.log_probability,
                }]);
            }
            progress.position(captions.len() as u64);
        }
        Ok(captions)
    }
}
