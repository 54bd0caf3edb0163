//! CLIP trained on features of an image encoder that stays as it is: locked-image tuning, LiT (Zhai
//! et al. 2022, arXiv 2111.07991).
//!
//! A projection of the features and a text tower are trained by CLIP's contrastive loss. In
//! training the features are standardised, which brings dimensions of different scale into reach
//! of one learning rate. Mean and deviation are those of the training images; at the end they
//! become part of the projection, so that it takes the encoder's own features.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use datasets::{Corpus, Split};
use networks::clip::{self, ClipConfig, ClipModel};
use networks::{Pass, Standardization, libtorch};
use precompute::Embeddings;
use progress::Progress;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, nn};
use training::Error;
use training::learner::Model;
use training::memory;
use training::named_variables;
use training::seeds::{self, Purpose};
use words::ClipTokenizer;

use super::contrastive::{Pairs, trained_tokenizer};
use super::retrieval::{self, RETRIEVAL_FILE, Retrievals};
use super::{TRAINED_COPIES, TrainingOptions};

/// Options of a CLIP on features and of its training.
#[derive(Debug, Clone)]
pub struct LitOptions {
    /// Sizes of the text tower and the embeddings. Vocabulary, end token and image encoder are
    /// replaced.
    pub config: ClipConfig,
    /// Largest vocabulary of the tokenizer, which is trained on the texts.
    pub vocab_size: usize,
    /// Probability of setting a feature to 0 in a step.
    pub feature_dropout: f64,
    /// Probability of leaving a token out of a caption in a step.
    pub token_dropout: f64,
    /// Length, batch size and learning rate.
    pub training: TrainingOptions,
    /// Floating-point type of the stored weights.
    pub kind: Kind,
}

/// CLIP in training.
struct Lit {
    model: ClipModel,
    feature_dropout: f64,
}

impl Model for Lit {
    type Batch = Pairs;

    fn targets(part: &Pairs) -> usize {
        part.count()
    }

    fn loss<'m>(&'m self, part: &'m Pairs, pass: Pass<'_, 'm>) -> Tensor {
        let features = part.images.dropout(self.feature_dropout, pass.dropout);
        let mask = Some(&part.attention_mask);
        libtorch::expect(self.model.contrastive_loss(&features, &part.ids, mask))
    }
}

/// Trains a CLIP on the stored features of a split's training images and on their captions.
///
/// Writes a Hugging Face folder, and measures the retrieval of validation and test images by their
/// captions, which are not trained on. In each step an image is paired with one of its captions.
/// Images without features are left out. Returns `None`, without writing anything, if `stop` was
/// set.
///
/// # Errors
/// Names the file that cannot be written, and refuses what memory does not hold.
pub fn lit(
    folder: &Path,
    corpus: &Corpus,
    split: &Split,
    features: &Embeddings,
    options: &LitOptions,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<Retrievals>, Error> {
    let training = &options.training;
    let images: Vec<usize> = with_features(corpus, &split.train, features);
    if images.is_empty() {
        return Err(Error::Mismatch("no training picture has image features".to_owned()));
    }
    let mut config = options.config.clone();
    let tokenizer = trained_tokenizer(corpus, &images, options.vocab_size, &mut config)?;
    config.image_encoder = Some(precompute::locked_encoder(features.identity()));
    config.towers = clip::Towers::Text;

    memory::check_model(config.parameters(), TRAINED_COPIES)?;
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(training.seed, Purpose::Initialisation, 0));
    let model = ClipModel::new(store.root(), &config)?;
    let stored = features.tensor(Device::Cpu)?;
    let rows = |images: &[usize]| rows(corpus, images, features, &stored);
    let trained = rows(&images);
    let standard = Standardization::of(&trained);
    let model = Lit { model, feature_dropout: options.feature_dropout };
    let mut learner = training.learner(model, named_variables(&store), true);
    let texts = images.iter().map(|&image| tokenizer.encode_batch(&corpus.images[image].captions));
    let data = Data {
        corpus,
        images: &images,
        texts: texts.collect::<Result<_, _>>()?,
        features: standard.apply(&trained),
        tokenizer: &tokenizer,
    };
    let finished = training.train(
        &mut learner,
        |step| Ok(data.pairs(options, step)),
        |lit| Ok(lit.model.limit_similarity_factor()?),
        progress,
        stop,
    )?;
    if !finished {
        return Ok(None);
    }
    let variables = store.variables();
    standard
        .fold_into(&variables["visual_projection.weight"], &variables["visual_projection.bias"]);
    let model = &learner.model_mut().model;
    let measure = |images: &[usize]| {
        let images = with_features(corpus, images, features);
        if images.is_empty() {
            return Ok(None);
        }
        let captions: Vec<&[String]> =
            images.iter().map(|&image| &corpus.images[image].captions[..]).collect();
        retrieval::measure(model, &tokenizer, &rows(&images), &captions).map(Some)
    };
    let retrievals =
        Retrievals { validation: measure(&split.validation)?, test: measure(&split.test)? };
    store.set_kind(options.kind);
    tokenizer.save(folder)?;
    clip::save_folder(folder, &store, &config)?;
    durable::write_json(&folder.join(RETRIEVAL_FILE), &retrievals)?;
    Ok(Some(retrievals))
}

/// Returns those of `images` that have features.
fn with_features(corpus: &Corpus, images: &[usize], features: &Embeddings) -> Vec<usize> {
    let has = |&image: &usize| features.row_of(&corpus.images[image].file_name).is_some();
    images.iter().copied().filter(has).collect()
}

/// Returns the features `[images, dimension]` of images that have them, out of all in the file.
fn rows(corpus: &Corpus, images: &[usize], features: &Embeddings, stored: &Tensor) -> Tensor {
    let row = |&image: &usize| features.row_of(&corpus.images[image].file_name);
    let rows: Vec<i64> = images.iter().filter_map(row).map(|row| row as i64).collect();
    stored.index_select(0, &Tensor::from_slice(&rows))
}

struct Data<'a> {
    corpus: &'a Corpus,
    images: &'a [usize],
    /// Tokens of each image's captions.
    texts: Vec<Vec<Vec<u32>>>,
    /// Standardised features of each image, `[images, dimension]`.
    features: Tensor,
    tokenizer: &'a ClipTokenizer,
}

impl Data<'_> {
    fn pairs(&self, options: &LitOptions, step: u64) -> Pairs {
        let training = &options.training;
        let batch = training.batch(step, self.images.len());
        let seed = seeds::derive(training.seed, Purpose::Dropout, step).unsigned_abs();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let texts: Vec<Vec<u32>> = batch
            .iter()
            .map(|&at| {
                let caption = training.caption(step, self.corpus, self.images[at]);
                without_some(&self.texts[at][caption], options.token_dropout, &mut random)
            })
            .collect();
        let padded = self.tokenizer.pad(&texts);
        let batch: Vec<i64> = batch.into_iter().map(|at| at as i64).collect();
        Pairs::new(self.features.index_select(0, &Tensor::from_slice(&batch)), &padded)
    }
}

/// Leaves tokens out by chance, but not the first and the last, which mark the text's ends.
fn without_some(tokens: &[u32], probability: f64, random: &mut ChaCha8Rng) -> Vec<u32> {
    let last = tokens.len().saturating_sub(1);
    let mut stays = |at: usize| at == 0 || at == last || !random.random_bool(probability);
    (0..tokens.len()).filter(|&at| stays(at)).map(|at| tokens[at]).collect()
}
