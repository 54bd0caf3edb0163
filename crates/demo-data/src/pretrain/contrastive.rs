//! CLIP trained from scratch on images with texts (Radford et al. 2021, arXiv 2103.00020).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use datasets::Corpus;
use networks::Pass;
use networks::clip::{self, ClipConfig, ClipModel};
use pictures::Preprocessing;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};
use training::Error;
use training::learner::Model;
use training::memory;
use training::named_variables;
use training::seeds::{self, Purpose};
use words::ClipTokenizer;

use super::{StepProgress, TRAINED_COPIES, TrainingOptions};

/// Options of a CLIP model and its training.
#[derive(Debug, Clone)]
pub struct ClipOptions {
    /// Sizes of the towers. Vocabulary and end token are the tokenizer's.
    pub config: ClipConfig,
    /// Largest vocabulary of the tokenizer, which is trained on the texts.
    pub vocab_size: usize,
    /// Length, batch size and learning rate.
    pub training: TrainingOptions,
    /// Floating-point type of the stored weights.
    pub kind: Kind,
}

/// CLIP in training.
struct Contrastive(ClipModel);

/// Images with one of their texts each.
struct Pairs {
    pixels: Tensor,
    ids: Tensor,
    attention_mask: Tensor,
}

impl Model for Contrastive {
    type Batch = Pairs;

    fn targets(part: &Pairs) -> usize {
        part.ids.size().first().map_or(0, |&rows| rows as usize)
    }

    /// Returns NaN if libtorch fails, which ends training.
    fn loss<'m>(&'m self, part: &'m Pairs, _pass: Pass<'_, 'm>) -> Tensor {
        self.0
            .contrastive_loss(&part.pixels, &part.ids, Some(&part.attention_mask))
            .unwrap_or_else(|_| Tensor::from(f32::NAN))
    }
}

/// Trains a CLIP on `images` of a corpus, and writes it to `folder` in Hugging Face's format.
///
/// In each step an image is paired with one of its captions. Returns false, without writing
/// anything, if `stop` was set.
///
/// # Errors
/// Names the image that cannot be read, or the file that cannot be written.
pub fn clip(
    folder: &Path,
    corpus: &Corpus,
    images: &[usize],
    options: &ClipOptions,
    progress: &mut dyn FnMut(StepProgress),
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let ClipOptions { config, vocab_size, training, kind } = options;
    let captions = images.iter().flat_map(|&image| &corpus.images[image].captions);
    let captions: Vec<&str> = captions.map(String::as_str).collect();
    let tokenizer = ClipTokenizer::train(captions, *vocab_size)?;
    let mut config = config.clone();
    config.text_config.vocab_size = tokenizer.vocab_size() as i64;
    config.text_config.eos_token_id = vec![i64::from(tokenizer.end_of_text())];

    memory::check_model(config.parameters(), TRAINED_COPIES)?;
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(training.seed, Purpose::Initialisation, 0));
    let model = ClipModel::new(store.root(), &config)?;
    let mut learner = training.learner(Contrastive(model), named_variables(&store), false);
    let size = u32::try_from(config.vision_config.image_size).unwrap_or(u32::MAX);
    let data =
        Data { corpus, images, tokenizer: &tokenizer, preprocessing: Preprocessing::clip(size) };
    let finished = training.train(
        &mut learner,
        |step| data.pairs(training, step),
        |model| Ok(model.0.limit_similarity_factor()?),
        progress,
        stop,
    )?;
    if finished {
        store.set_kind(*kind);
        tokenizer.save(folder)?;
        clip::save_folder(folder, &store, &config)?;
    }
    Ok(finished)
}

struct Data<'a> {
    corpus: &'a Corpus,
    images: &'a [usize],
    tokenizer: &'a ClipTokenizer,
    preprocessing: Preprocessing,
}

impl Data<'_> {
    fn pairs(&self, training: &TrainingOptions, step: u64) -> Result<Pairs, Error> {
        let images: Vec<usize> =
            training.batch(step, self.images.len()).into_iter().map(|at| self.images[at]).collect();
        let text = |&image: &usize| {
            self.corpus.images[image].captions[training.caption(step, self.corpus, image)].as_str()
        };
        let texts: Vec<&str> = images.iter().map(text).collect();
        let padded = self.tokenizer.pad(&self.tokenizer.encode_batch(&texts)?);
        let shape = [padded.rows as i64, padded.tokens as i64];
        Ok(Pairs {
            pixels: self.pixels(&images)?,
            ids: Tensor::from_slice(&padded.ids).view(shape),
            attention_mask: Tensor::from_slice(&padded.attention_mask).view(shape),
        })
    }

    /// Returns pixels `[images, 3, size, size]`, decoded on all cores.
    fn pixels(&self, images: &[usize]) -> Result<Tensor, Error> {
        let crop = self.preprocessing.crop as usize;
        let mut pixels = vec![0.0_f32; images.len() * 3 * crop * crop];
        pixels.par_chunks_mut(3 * crop * crop).zip(images).try_for_each(|(pixels, &image)| {
            let picture = self.corpus.picture(image).decode()?;
            self.preprocessing.apply_into(&picture, pixels);
            Ok::<(), Error>(())
        })?;
        let crop = crop as i64;
        Ok(Tensor::from_slice(&pixels).view([images.len() as i64, 3, crop, crop]))
    }
}
