//! Captioning with a trained run of any system.

use std::rc::Rc;

use keywords::{Keyword, TextEncoder};
use networks::libtorch::Tf32Scope;
use networks::normalized;
use precompute::ImageEncoder;
use progress::Progress;
use recipes::{CheckpointChoice, Config, Decoding, DecodingDtype, System};
use runs::checkpoints::{self, Checkpoint};
use runs::{Provenance, RunFolder, UsedCheckpoint};
use tch::{Device, Kind, Tensor};

use crate::captions::{Caption, ImageInputs, Writer};
use crate::error::Error;
use crate::keyword_selector::KeywordSelector;
use crate::memory;
use crate::systems::merge_rnn::MergeRnnWriter;
use crate::systems::prefix::PrefixWriter;
use crate::systems::sbg::SbgWriter;

/// Checkpoint of a run, ready to caption.
pub struct Captioner {
    /// Configuration of the run.
    pub config: Config,
    /// Provenance of the run: data and weights.
    pub provenance: Provenance,
    /// Checkpoint that captions.
    pub(crate) checkpoint: UsedCheckpoint,
    writer: Box<dyn Writer>,
}

/// Returns libtorch's type of weights and activations.
fn decoding_kind(dtype: DecodingDtype) -> Kind {
    match dtype {
        DecodingDtype::F32 | DecodingDtype::Tf32 => Kind::Float,
        DecodingDtype::Bf16 => Kind::BFloat16,
        DecodingDtype::F16 => Kind::Half,
    }
}

impl Captioner {
    /// Loads a checkpoint of a run; `sets` of `KEY=VALUE` override its decoding.
    ///
    /// By default, the checkpoint is the best one if held-out captions end training, and else the
    /// newest. `clip` is the text tower of `reranking.clip`, for systems that have it; captioners
    /// may share it.
    ///
    /// # Errors
    /// Fails if the run has no checkpoint; names a damaged file.
    pub fn load(
        folder: &RunFolder,
        device: Device,
        choice: Option<CheckpointChoice>,
        sets: &[String],
        clip: Option<Rc<TextEncoder>>,
    ) -> Result<Self, Error> {
        let config = folder.config()?.with_settings(sets)?;
        if matches!(config.system, System::Sbg(_)) && clip.is_none() {
            return Err(Error::Mismatch(
                "the configured reranking.clip was not looked for".to_owned(),
            ));
        }
        let choice = choice.unwrap_or_else(|| config.usual_checkpoint());
        let checkpoint = checkpoints::find(&folder.checkpoints(), choice)?;
        Self::at(folder, config, &checkpoint, device, clip)
    }

    /// Loads a checkpoint with the decoding of `config`.
    ///
    /// Without `clip`, SBG's captions are not compared with their images.
    pub(crate) fn at(
        folder: &RunFolder,
        config: Config,
        checkpoint: &Checkpoint,
        device: Device,
        clip: Option<Rc<TextEncoder>>,
    ) -> Result<Self, Error> {
        let provenance = folder.provenance()?;
        let dimension = provenance.clip_dim;
        let kind = decoding_kind(config.decoding.dtype);
        let writer: Box<dyn Writer> = match &config.system {
            System::ClipPrefix(system) => {
                Box::new(PrefixWriter::load(folder, system, dimension, checkpoint, kind, device)?)
            }
            System::Sbg(_) => Box::new(SbgWriter::load(folder, checkpoint, clip, kind, device)?),
            System::MergeRnn(system) => {
                Box::new(MergeRnnWriter::load(folder, system, dimension, checkpoint, device)?)
            }
        };
        let checkpoint = UsedCheckpoint {
            step: checkpoint.position.step,
            epoch: Some(checkpoint.position.epoch),
            model_sha256: checkpoint.model_sha256().to_owned(),
        };
        Ok(Self { config, provenance, checkpoint, writer })
    }

    /// Checks that an image encoder is that of the run's embeddings; `model` is its name.
    ///
    /// # Errors
    /// Names the difference.
    pub fn check_encoder(&self, encoder: &ImageEncoder, model: &str) -> Result<(), Error> {
        let expected = self.provenance.clip_dim;
        if encoder.dimension() != expected {
            return Err(Error::Mismatch(format!(
                "{model} computes embeddings of {} values, but the run needs {expected}; name the model that it was trained with",
                encoder.dimension(),
            )));
        }
        let identity = self.provenance.embeddings.as_ref();
        if identity.is_some_and(|identity| encoder.sha256() != identity.model_sha256) {
            return Err(Error::Mismatch(format!(
                "{model} is not the model that the run was trained with: its weights have another SHA-256"
            )));
        }
        Ok(())
    }

    /// Prepares images given by their embeddings `[images, dim]`.
    ///
    /// Normalises embeddings as the run does, and selects keywords if the run has a selector. Each
    /// image gets number 0 in sampling, as if it were captioned alone.
    ///
    /// # Errors
    /// Fails if the selector is of another run.
    pub fn image_inputs(
        &self,
        embeddings: &Tensor,
        selector: Option<&KeywordSelector>,
    ) -> Result<ImageInputs, Error> {
        let identity = self.provenance.embeddings.as_ref();
        let normalize = self.config.data.normalize_embeddings
            || identity.is_some_and(|identity| identity.normalize);
        let embeddings =
            if normalize { normalized(embeddings)? } else { embeddings.shallow_clone() };
        let words = |chosen: Vec<Keyword>| chosen.into_iter().map(|keyword| keyword.word).collect();
        let keywords = selector
            .map(|selector| selector.select(&embeddings))
            .transpose()?
            .map(|all| all.into_iter().map(words).collect());
        let numbers = vec![0; embeddings.size()[0] as usize];
        Ok(ImageInputs { embeddings, keywords, numbers })
    }

    /// Captions images in batches with the run's decoding.
    ///
    /// Returns the captions of each image in the order of decoding. Reports finished images as
    /// progress.
    ///
    /// # Errors
    /// Fails if a text cannot be decoded, or a batch has no room in memory.
    pub fn caption(
        &self,
        images: &ImageInputs,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let decoding = &self.config.decoding;
        let device = images.embeddings.device();
        let batch_size = decoding.caption_batch_size(device.is_cuda()).min(images.numbers.len());
        memory::within(&memory::smaller_batch_advice(batch_size), || {
            self.caption_with(images, decoding, progress)
        })
    }

    /// Captions images with other decoding.
    ///
    /// `decoding` must have passed [`Config::check_decoding`] and be within [`Self::most_tokens`].
    ///
    /// # Errors
    /// Same as [`Self::caption`], except that libtorch panics if memory is exhausted.
    pub fn caption_with(
        &self,
        images: &ImageInputs,
        decoding: &Decoding,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let device = images.embeddings.device();
        let batch_size = decoding.caption_batch_size(device.is_cuda()).min(images.numbers.len());
        memory::check_logits(
            batch_size * decoding.strategy.continuations(),
            self.writer.vocabulary(),
            device,
            "lower decoding.batch_size",
        )?;
        let _tf32 = Tf32Scope::new(self.config.decoding.dtype == DecodingDtype::Tf32);
        self.writer.write(images, decoding, progress)
    }

    /// Returns the limit of [`Decoding::max_new_tokens`] that the model's positions allow.
    ///
    /// # Errors
    /// Fails if the tokenizer does.
    pub fn most_tokens(&self) -> Result<usize, Error> {
        self.writer.most_tokens()
    }

    /// Returns the keyword selector of the run, for systems that write from keywords.
    ///
    /// # Errors
    /// Fails if the run folder's labels or encyclopedia are damaged.
    pub fn keyword_selector(&self) -> Result<Option<KeywordSelector>, Error> {
        self.writer.keyword_selector()
    }

    /// Returns of how many captions of an image, from the first, the best is scored.
    ///
    /// There may be several such numbers; `None` is the caption of a system that writes one.
    #[must_use]
    pub fn best_of(&self) -> Vec<Option<usize>> {
        match &self.config.system {
            System::Sbg(system) => system.reranking.best_of.iter().copied().map(Some).collect(),
            _ => vec![None],
        }
    }
}
