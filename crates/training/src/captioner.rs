//! A trained run that captions pictures, whatever its system.

use std::ops::Range;
use std::path::Path;

use keywords::Keyword;
use precompute::ImageEncoder;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};
use words::Gpt2Tokenizer;

use crate::error::Error;
use crate::inputs;
use crate::memory;
use crate::systems::merge_rnn::MergeRnnWriter;
use crate::systems::prefix::PrefixWriter;
use crate::systems::sbg::{KeywordSelector, SbgWriter};
use recipes::CheckpointChoice;
use recipes::{Config, Decoding, System};
use runs::UsedCheckpoint;
use runs::checkpoints::{self, Checkpoint};
use runs::{Provenance, RunFolder};

/// A run's checkpoint, ready to caption.
pub struct Captioner {
    /// The run's configuration.
    pub config: Config,
    /// What the run was trained from.
    pub provenance: Provenance,
    /// The checkpoint that captions.
    pub(crate) checkpoint: UsedCheckpoint,
    writer: Box<dyn Writer>,
}

/// What is known of pictures, one entry or row for each.
pub struct Pictures {
    /// Image embeddings `[pictures, dim]`, f32, on the captioner's device.
    pub embeddings: Tensor,
    /// Their keywords, for systems that write from keywords.
    pub keywords: Option<Vec<Vec<String>>>,
    /// The numbers that random draws know them by: pictures of one number and one prompt get the same
    /// draws, whatever they are captioned with.
    pub numbers: Vec<u64>,
}

impl Pictures {
    /// Some of them.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let keywords = self.keywords.as_ref().map(|all| all[range.clone()].to_vec());
        Self {
            embeddings: self.embeddings.narrow(0, range.start as i64, range.len() as i64),
            keywords,
            numbers: self.numbers[range].to_vec(),
        }
    }
}

/// What happens while pictures are captioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// So many pictures are captioned.
    Done(usize),
    /// Something a person should know.
    Note(&'a str),
}

/// Told what happens.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(Event);

/// The part of a captioner that is its system's own.
pub(crate) trait Writer {
    /// Captions of each picture, in the order in which they were written or found.
    fn write(
        &self,
        pictures: &Pictures,
        decoding: &Decoding,
        progress: Progress,
    ) -> Result<Vec<Vec<Caption>>, Error>;

    /// Words or tokens that may follow each other.
    fn vocabulary(&self) -> usize;

    /// What `decoding.max_new_tokens` may be at most.
    fn most_tokens(&self) -> Result<usize, Error> {
        Ok(usize::MAX)
    }

    /// What selects the keywords that captions are written from, where they are.
    fn keyword_selector(&self) -> Result<Option<KeywordSelector>, Error> {
        Ok(None)
    }
}

/// A caption that a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// Its text.
    pub text: String,
    /// What captions of a picture are compared by: the mean log-probability of its tokens by the
    /// model; of an SBG caption its cosine with the picture, by CLIP, or 0 where none is loaded; of
    /// a Merge-RNN's its whole log-probability.
    #[serde(with = "bits")]
    pub score: f64,
}

/// Scores as they are to the bit, which in JSON infinities and what is no number are not.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(score: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(score.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// One way of choosing a picture's caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it is called where there are several, such as `best-of-2`.
    pub name: Option<String>,
    /// The best of so many of a picture's captions, the first ones, is its caption.
    pub among: usize,
}

impl Captioner {
    /// Loads a checkpoint of a run, to be decoded as `sets` of `KEY=VALUE` change its
    /// configuration. `which` checkpoint is else the best where the held-out captions end training, and
    /// the newest elsewhere. `clip` is where the configured `reranking.clip` was found, for systems
    /// that have it.
    ///
    /// # Errors
    /// Says so when there is none, or names what is damaged.
    pub fn load(
        folder: &RunFolder,
        device: Device,
        which: Option<CheckpointChoice>,
        sets: &[String],
        clip: Option<&Path>,
    ) -> Result<Self, Error> {
        let config = folder.config()?.with_settings(sets)?;
        if matches!(config.system, System::Sbg(_)) && clip.is_none() {
            return Err(Error::Mismatch(
                "the configured reranking.clip was not looked for".to_owned(),
            ));
        }
        let which = which.unwrap_or_else(|| config.usual_checkpoint());
        let checkpoint = checkpoints::find(&folder.checkpoints(), which)?;
        Self::at(folder, config, &checkpoint, device, clip)
    }

    /// Loads a checkpoint to be decoded as `config` says. Without `clip`, captions of a system that has
    /// it are not compared with their pictures.
    pub(crate) fn at(
        folder: &RunFolder,
        config: Config,
        checkpoint: &Checkpoint,
        device: Device,
        clip: Option<&Path>,
    ) -> Result<Self, Error> {
        let provenance = folder.provenance()?;
        let dimension = provenance.clip_dim;
        let writer: Box<dyn Writer> = match &config.system {
            System::ClipPrefix(system) => {
                Box::new(PrefixWriter::load(folder, system, dimension, checkpoint, device)?)
            }
            System::Sbg(_) => Box::new(SbgWriter::load(folder, checkpoint, clip, device)?),
            System::MergeRnn(system) => {
                Box::new(MergeRnnWriter::load(folder, system, dimension, checkpoint, device)?)
            }
        };
        let checkpoint = UsedCheckpoint {
            step: checkpoint.position.step,
            model_sha256: checkpoint.model_sha256().to_owned(),
        };
        Ok(Self { config, provenance, checkpoint, writer })
    }

    /// Refuses an image encoder that is not the one of the run's embeddings; `model` is its name.
    ///
    /// # Errors
    /// Says in what it differs.
    pub fn check_encoder(&self, encoder: &ImageEncoder, model: &str) -> Result<(), Error> {
        let wanted = self.provenance.clip_dim;
        if encoder.dimension() != wanted {
            return Err(Error::Mismatch(format!(
                "{model} makes embeddings of {} values, but the run takes {wanted}; name the model that it was trained on",
                encoder.dimension(),
            )));
        }
        let identity = self.provenance.embeddings.as_ref();
        if identity.is_some_and(|identity| encoder.sha256() != identity.model_sha256) {
            return Err(Error::Mismatch(format!(
                "{model} is not the model that the run was trained on (its weights have another SHA-256); name the right one"
            )));
        }
        Ok(())
    }

    /// What is known of pictures by embeddings `[pictures, dim]` that the run's image encoder has just
    /// made: normalised as those of the run were, and with keywords by the run's selector, if it has
    /// one. Random draws know each as number 0, as if it were alone.
    ///
    /// # Errors
    /// When the selector is of another run.
    pub fn pictures(
        &self,
        embeddings: &Tensor,
        selector: Option<&KeywordSelector>,
    ) -> Result<Pictures, Error> {
        let identity = self.provenance.embeddings.as_ref();
        let normalize = self.config.data.normalize_embeddings
            || identity.is_some_and(|identity| identity.normalize);
        let embeddings =
            if normalize { inputs::normalized(embeddings) } else { embeddings.shallow_clone() };
        let words = |chosen: Vec<Keyword>| chosen.into_iter().map(|keyword| keyword.word).collect();
        let keywords = selector
            .map(|selector| selector.select(&embeddings))
            .transpose()?
            .map(|all| all.into_iter().map(words).collect());
        let numbers = vec![0; embeddings.size()[0] as usize];
        Ok(Pictures { embeddings, keywords, numbers })
    }

    /// Captions of each picture as the run is configured to decode, in batches, in the order in which
    /// they were written or found.
    ///
    /// # Errors
    /// When a text cannot be decoded, or so many captions at a time have no room in memory.
    pub fn caption(
        &self,
        pictures: &Pictures,
        progress: impl FnMut(Event),
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let decoding = &self.config.decoding;
        let device = pictures.embeddings.device();
        let together = decoding.pictures_together(device.is_cuda()).min(pictures.numbers.len());
        memory::within(&memory::fewer_together(together), || {
            self.caption_with(pictures, decoding, progress)
        })
    }

    /// [`Self::caption`] with other decoding, which [`Config::check_decoding`] has passed, of at most
    /// [`Self::most_tokens`].
    ///
    /// # Errors
    /// As [`Self::caption`], but for what libtorch panics with where memory is exhausted.
    pub fn caption_with(
        &self,
        pictures: &Pictures,
        decoding: &Decoding,
        mut progress: impl FnMut(Event),
    ) -> Result<Vec<Vec<Caption>>, Error> {
        let device = pictures.embeddings.device();
        let together = decoding.pictures_together(device.is_cuda()).min(pictures.numbers.len());
        memory::check_logits(
            together * decoding.strategy.continuations(),
            self.writer.vocabulary(),
            device,
            "lower decoding.batch_size",
        )?;
        self.writer.write(pictures, decoding, &mut progress)
    }

    /// What [`Decoding::max_tokens`] may be at most, where captions are written behind a prompt in a
    /// model of so many positions.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn most_tokens(&self) -> Result<usize, Error> {
        self.writer.most_tokens()
    }

    /// What selects the keywords of other pictures, for systems that write from keywords.
    ///
    /// # Errors
    /// When the run folder's labels or encyclopedia are damaged.
    pub fn keyword_selector(&self) -> Result<Option<KeywordSelector>, Error> {
        self.writer.keyword_selector()
    }

    /// The ways of choosing a picture's caption that are to be scored.
    #[must_use]
    pub fn choices(&self) -> Vec<Choice> {
        match &self.config.system {
            System::Sbg(system) => {
                let name = |among: &usize| Some(format!("best-of-{among}"));
                let choice = |among: &usize| Choice { name: name(among), among: *among };
                system.reranking.best_of.iter().map(choice).collect()
            }
            _ => vec![Choice { name: None, among: usize::MAX }],
        }
    }
}

/// The caption of the highest score among the first `among`; of equal ones the first.
#[must_use]
pub fn best(captions: &[Caption], among: usize) -> Option<&Caption> {
    let mut captions = captions.iter().take(among);
    let first = captions.next()?;
    Some(captions.fold(first, |best, next| if next.score > best.score { next } else { best }))
}

/// Returns the text of what a language model wrote, its spaces cleaned up where `decoding` has that.
/// A caption is cut from it afterwards.
pub(crate) fn decoded(
    tokenizer: &Gpt2Tokenizer,
    tokens: &[i64],
    decoding: &Decoding,
) -> Result<String, Error> {
    let ids: Vec<u32> = tokens.iter().filter_map(|&token| u32::try_from(token).ok()).collect();
    let mut text = tokenizer.decode(&ids)?;
    if decoding.clean_up_tokenization_spaces == Some(true) {
        text = words::clean_up_tokenization(&text);
    }
    Ok(text)
}

/// The paper's cut: the text up to its first '.', stripped, plus " .".
#[must_use]
pub fn first_sentence(text: &str) -> String {
    let sentence = text.split('.').next().unwrap_or_default();
    format!("{} .", sentence.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_ends_at_its_first_full_stop() {
        assert_eq!(first_sentence(" a dog runs . a cat"), "a dog runs .");
        assert_eq!(first_sentence("a dog runs"), "a dog runs .");
        assert_eq!(first_sentence("st. bernard"), "st .");
        assert_eq!(first_sentence(""), " .");
    }

    #[test]
    fn the_best_caption_is_the_first_of_the_highest_score_among_those_allowed() {
        let caption = |text: &str, score| Caption { text: text.to_owned(), score };
        let all = [caption("a", 0.2), caption("b", 0.5), caption("c", 0.5), caption("d", 0.9)];
        let best_of = |among| best(&all, among).map(|caption| caption.text.as_str());
        assert_eq!([best_of(0), best_of(1)], [None, Some("a")]);
        assert_eq!([best_of(3), best_of(usize::MAX)], [Some("b"), Some("d")]);
    }
}
