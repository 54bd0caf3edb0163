//! Scores of a small fixed set of images after each epoch.
//!
//! The images are the first of the validation split, or of the test split if none is held out. A
//! second model with the weights of the epoch's checkpoint captions them, so that training itself
//! stays bit-identical. SBG writes one caption for each image without reranking.

use caption_metrics::{Options, Scores};
use progress::{Progress, Unit};
use recipes::{CheckpointChoice, Config, Sampling, Strategy, System};
use runs::metrics::{EpochScores, SampleCaption, ScoredSplit};
use runs::{RunFolder, checkpoints};
use tch::Device;

use crate::captioner::Captioner;
use crate::error::Error;
use crate::evaluate::{choose_captions, image_inputs, scores, scoring_tokenizer};
use crate::inputs::Inputs;

/// Maximum number of captions that TensorBoard shows.
const SAMPLES: usize = 6;

/// Images that are captioned and scored after each epoch.
pub(crate) struct ScoredImages {
    split: ScoredSplit,
    images: Vec<usize>,
}

impl ScoredImages {
    /// Returns the first `training.scored_pictures` images, or all if fewer; `None` for 0.
    ///
    /// # Errors
    /// Fails if there is no such image.
    pub(crate) fn new(config: &Config, inputs: &Inputs) -> Result<Option<Self>, Error> {
        let count = config.training.scored_pictures;
        if count == 0 {
            return Ok(None);
        }
        let (split, images) = match &inputs.split.validation[..] {
            [] => (ScoredSplit::Test, &inputs.split.test[..]),
            held_out => (ScoredSplit::Validation, held_out),
        };
        let with_embedding = images.iter().copied().filter(|&image| inputs.row(image).is_some());
        let images: Vec<usize> = with_embedding.take(count).collect();
        if images.is_empty() {
            return Err(Error::Mismatch(format!(
                "training.scored_pictures is {count}, but the {split} split has no picture with an embedding; set it to 0, or check data.split and data.test_captions"
            )));
        }
        Ok(Some(Self { split, images }))
    }

    /// Captions the images with the newest checkpoint, and scores the captions.
    ///
    /// Also returns some of the captions, of images that are evenly spaced and the same each time.
    ///
    /// # Errors
    /// Names bad input.
    pub(crate) fn score(
        &self,
        folder: &RunFolder,
        config: &Config,
        inputs: &Inputs,
        device: Device,
        progress: &mut dyn Progress,
    ) -> Result<(EpochScores, Vec<SampleCaption>), Error> {
        let checkpoint = checkpoints::find(&folder.checkpoints(), CheckpointChoice::Newest)?;
        let captioner = Captioner::at(folder, one_caption(config), &checkpoint, device, None)?;
        let to_caption = image_inputs(inputs, &captioner, &self.images)?;
        let epoch = checkpoint.position.epoch;
        let total = Some(self.images.len() as u64);
        progress.start(
            &format!("captioning after epoch {epoch}"),
            Unit::Count("pictures"),
            total,
            0,
        );
        let written = captioner.caption_with(&to_caption, &captioner.config.decoding, progress)?;
        let captions = choose_captions(inputs, &config.system, &self.images, &written, None);
        let options =
            Options { tokenizer: scoring_tokenizer(&config.system), ..Options::default() };
        let scores = scores(&captions, &options)?.summary.corpus;
        let position = &checkpoint.position;
        let spacing = captions.len().div_ceil(SAMPLES).max(1);
        let captioned = self.images.iter().zip(captions).step_by(spacing);
        let samples = captioned.map(|(&image, caption)| SampleCaption {
            image: inputs.corpus.picture(image),
            file_name: caption.file_name,
            prediction: caption.prediction,
            reference: caption.references.into_iter().next().unwrap_or_default(),
        });
        Ok((self.record(position.epoch, position.step, &scores), samples.collect()))
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

/// Returns the configuration with one caption for each image, without choosing among several.
fn one_caption(config: &Config) -> Config {
    let mut config = config.clone();
    if let (System::Sbg(_), Strategy::Sampling(Sampling { num_return_sequences: samples, .. })) =
        (&config.system, &mut config.decoding.strategy)
    {
        *samples = 1;
    }
    config
}
