//! How well a run captions after each epoch, on a few pictures that it does not learn from.
//!
//! The pictures are the first of the validation split, or of the test split where none is held out.
//! Captions are those of the epoch's checkpoint, loaded beside the model that trains, so that training
//! goes on to the same bits. SBG writes one caption for each and compares none.

use caption_metrics::{Options, Scores};
use tch::Device;

use crate::captioner::{Captioner, Choice, Event};
use crate::error::Error;
use crate::evaluate::{chosen, pictures, scores, scoring_tokenizer};
use crate::inputs::Inputs;
use recipes::{CheckpointChoice, Config, Sampling, Strategy, System};
use runs::RunFolder;
use runs::checkpoints;
use runs::metrics::{EpochScores, ScoredSplit};

/// The pictures that are captioned after each epoch.
pub(crate) struct ScoredPictures {
    split: ScoredSplit,
    images: Vec<usize>,
}

impl ScoredPictures {
    /// As many as `training.scored_pictures` asks for, or as there are; `None` where it is 0.
    ///
    /// # Errors
    /// When there is no such picture.
    pub(crate) fn new(config: &Config, inputs: &Inputs) -> Result<Option<Self>, Error> {
        let wanted = config.training.scored_pictures;
        if wanted == 0 {
            return Ok(None);
        }
        let (split, images) = match &inputs.split.validation[..] {
            [] => (ScoredSplit::Test, &inputs.split.test[..]),
            held_out => (ScoredSplit::Validation, held_out),
        };
        let with_embedding = images.iter().copied().filter(|&image| inputs.row(image).is_some());
        let images: Vec<usize> = with_embedding.take(wanted).collect();
        if images.is_empty() {
            return Err(Error::Mismatch(format!(
                "training.scored_pictures is {wanted}, but the {split} split has no picture with an embedding; set it to 0, or check data.split and data.test_captions"
            )));
        }
        Ok(Some(Self { split, images }))
    }

    /// Captions the pictures with the newest checkpoint, and scores the captions. `progress` is told
    /// how many of how many pictures are captioned.
    ///
    /// # Errors
    /// Bad input is named.
    pub(crate) fn score(
        &self,
        folder: &RunFolder,
        config: &Config,
        inputs: &Inputs,
        device: Device,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<EpochScores, Error> {
        let checkpoint = checkpoints::find(&folder.checkpoints(), CheckpointChoice::Newest)?;
        let captioner = Captioner::at(folder, one_caption(config), &checkpoint, device, None)?;
        let known = pictures(inputs, &captioner, &self.images)?;
        let written = captioner.caption_with(&known, &captioner.config.decoding, |event| {
            if let Event::Done(done) = event {
                progress(done, self.images.len());
            }
        })?;
        let choice = Choice { name: None, among: usize::MAX };
        let captions = chosen(inputs, &config.system, &self.images, &written, &choice);
        let options =
            Options { tokenizer: scoring_tokenizer(&config.system), ..Options::default() };
        let scores = scores(&captions, &options)?.summary.corpus;
        let position = &checkpoint.position;
        Ok(self.record(position.epoch, position.step, &scores))
    }

    fn record(&self, epoch: u64, step: u64, scores: &Scores) -> EpochScores {
        let score = |name: &str| scores.get(name).unwrap_or(f64::NAN);
        EpochScores {
            epoch,
            step,
            split: self.split,
            pictures: self.images.len(),
            bleu_1: score("BLEU-1"),
            bleu_2: score("BLEU-2"),
            bleu_3: score("BLEU-3"),
            bleu_4: score("BLEU-4"),
            rouge_l: score("ROUGE_L"),
            cider: score("CIDEr"),
        }
    }
}

/// Of a system that chooses among captions only the first is written.
fn one_caption(config: &Config) -> Config {
    let mut config = config.clone();
    if let (System::Sbg(_), Strategy::Sampling(Sampling { num_return_sequences: samples, .. })) =
        (&config.system, &mut config.decoding.strategy)
    {
        *samples = 1;
    }
    config
}
