//! CLIP from scratch on pictures with texts (Radford et al. 2021, arXiv 2103.00020).

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

use super::{Course, Progress, TRAINED_COPIES};

/// What CLIP to train, and how.
#[derive(Debug, Clone)]
pub struct ClipOptions {
    /// The towers. Vocabulary and end token are the tokenizer's.
    pub config: ClipConfig,
    /// Most tokens that the tokenizer, which is trained on the texts, may have.
    pub vocab_size: usize,
    /// How long and how fast.
    pub course: Course,
    /// The type that weights are stored in.
    pub kind: Kind,
}

/// A CLIP that learns.
struct Contrastive(ClipModel);

/// Pictures with their own texts, one each.
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

    /// Not a number where libtorch refuses, which ends training.
    fn loss<'m>(&'m self, part: &'m Pairs, _pass: Pass<'_, 'm>) -> Tensor {
        self.0
            .contrastive_loss(&part.pixels, &part.ids, Some(&part.attention_mask))
            .unwrap_or_else(|_| Tensor::from(f32::NAN))
    }
}

/// Trains a CLIP on those `images` of a corpus and their captions, and writes it to `folder` as Hugging
/// Face has it. In each step a picture is seen with one of its captions. False, with nothing written, where
/// `stop` was set.
///
/// # Errors
/// Names the picture that cannot be read, or the file that cannot be written.
pub fn clip(
    folder: &Path,
    corpus: &Corpus,
    images: &[usize],
    options: &ClipOptions,
    progress: &mut dyn FnMut(Progress),
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let ClipOptions { config, vocab_size, course, kind } = options;
    let captions = images.iter().flat_map(|&image| &corpus.images[image].captions);
    let captions: Vec<&str> = captions.map(String::as_str).collect();
    let tokenizer = ClipTokenizer::train(captions, *vocab_size)?;
    let mut config = config.clone();
    config.text_config.vocab_size = tokenizer.vocab_size() as i64;
    config.text_config.eos_token_id = vec![i64::from(tokenizer.end_of_text())];

    memory::check_model(config.parameters(), TRAINED_COPIES)?;
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(course.seed, Purpose::Initialisation, 0));
    let model = ClipModel::new(store.root(), &config)?;
    let mut learner = course.learner(Contrastive(model), named_variables(&store), false);
    let size = u32::try_from(config.vision_config.image_size).unwrap_or(u32::MAX);
    let data =
        Data { corpus, images, tokenizer: &tokenizer, preprocessing: Preprocessing::clip(size) };
    let finished = course.walk(
        &mut learner,
        |step| data.pairs(course, step),
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
    fn pairs(&self, course: &Course, step: u64) -> Result<Pairs, Error> {
        let images: Vec<usize> =
            course.batch(step, self.images.len()).into_iter().map(|at| self.images[at]).collect();
        let texts: Vec<&str> = images.iter().map(|&image| self.text(course, step, image)).collect();
        let padded = self.tokenizer.pad(&self.tokenizer.encode_batch(&texts)?);
        let shape = [padded.rows as i64, padded.tokens as i64];
        Ok(Pairs {
            pixels: self.pixels(&images)?,
            ids: Tensor::from_slice(&padded.ids).view(shape),
            attention_mask: Tensor::from_slice(&padded.attention_mask).view(shape),
        })
    }

    /// One of the picture's captions.
    fn text(&self, course: &Course, step: u64, image: usize) -> &str {
        let captions = &self.corpus.images[image].captions;
        let number = step.wrapping_mul(self.corpus.images.len() as u64) + image as u64;
        let drawn = seeds::derive(course.seed, Purpose::Text, number).unsigned_abs();
        &captions[(drawn % captions.len() as u64) as usize]
    }

    /// `[images, 3, size, size]`, decoded on all cores.
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
