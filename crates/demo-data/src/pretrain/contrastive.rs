//! CLIP trained from scratch on images with texts (Radford et al. 2021, arXiv 2103.00020).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use datasets::Corpus;
use networks::clip::{self, ClipConfig, ClipModel};
use networks::{Pass, libtorch};
use pictures::Preprocessing;
use progress::Progress;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor, nn};
use training::Error;
use training::learner::Model;
use training::memory;
use training::named_variables;
use training::seeds::{self, Purpose};
use words::{ClipTokenizer, PaddedRows};

use super::{TRAINED_COPIES, TrainingOptions};

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
pub(super) struct Pairs {
    /// Pixels or features, `[images, …]`.
    pub(super) images: Tensor,
    pub(super) ids: Tensor,
    pub(super) attention_mask: Tensor,
}

impl Pairs {
    pub(super) fn new(images: Tensor, texts: &PaddedRows) -> Self {
        let shape = [texts.rows as i64, texts.tokens as i64];
        Self {
            images,
            ids: Tensor::from_slice(&texts.ids).view(shape),
            attention_mask: Tensor::from_slice(&texts.attention_mask).view(shape),
        }
    }

    /// Returns the number of pairs, each of which is a target of the loss.
    pub(super) fn count(&self) -> usize {
        self.ids.size().first().map_or(0, |&rows| rows as usize)
    }
}

impl Model for Contrastive {
    type Batch = Pairs;

    fn targets(part: &Pairs) -> usize {
        part.count()
    }

    fn loss<'m>(&'m self, part: &'m Pairs, _pass: Pass<'_, 'm>) -> Tensor {
        let mask = Some(&part.attention_mask);
        libtorch::expect(self.0.contrastive_loss(&part.images, &part.ids, mask))
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
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let ClipOptions { config, vocab_size, training, kind } = options;
    let mut config = config.clone();
    let tokenizer = trained_tokenizer(corpus, images, *vocab_size, &mut config)?;

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

/// Trains a tokenizer on the captions of `images`, and enters its sizes into the config.
pub(super) fn trained_tokenizer(
    corpus: &Corpus,
    images: &[usize],
    vocab_size: usize,
    config: &mut ClipConfig,
) -> Result<ClipTokenizer, Error> {
    let captions = images.iter().flat_map(|&image| &corpus.images[image].captions);
    let captions: Vec<&str> = captions.map(String::as_str).collect();
    let tokenizer = ClipTokenizer::train(captions, vocab_size)?;
    config.text_config.vocab_size = tokenizer.vocab_size() as i64;
    config.text_config.eos_token_id = vec![i64::from(tokenizer.end_of_text())];
    Ok(tokenizer)
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
        let pixels = pixels(self.corpus, &self.preprocessing, &images, |_| false)?;
        Ok(Pairs::new(pixels, &padded))
    }
}

/// Returns pixels `[images, 3, size, size]`, decoded on all cores.
///
/// An image is mirrored left-right if `is_mirrored` returns true for its row.
pub(super) fn pixels(
    corpus: &Corpus,
    preprocessing: &Preprocessing,
    images: &[usize],
    is_mirrored: impl Fn(usize) -> bool + Sync,
) -> Result<Tensor, Error> {
    let crop = preprocessing.crop as usize;
    let mut pixels = vec![0.0_f32; images.len() * preprocessing.len()];
    let rows = pixels.par_chunks_mut(preprocessing.len()).zip(images).enumerate();
    rows.try_for_each(|(row, (pixels, &image))| {
        preprocessing.apply_into(&corpus.decode(image)?, pixels);
        if is_mirrored(row) {
            pixels.chunks_exact_mut(crop).for_each(<[f32]>::reverse);
        }
        Ok::<(), Error>(())
    })?;
    let crop = crop as i64;
    Ok(Tensor::from_slice(&pixels).view([images.len() as i64, 3, crop, crop]))
}
