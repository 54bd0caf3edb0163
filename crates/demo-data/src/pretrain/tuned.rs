//! Image encoder tuned on captions: EfficientNet-Lite's last stages, by CLIP's contrastive loss
//! between pictures and sentence embeddings that stay as they are.
//!
//! A projection of the standardised features to the size of the sentence embeddings starts as a
//! ridge regression to each image's mean sentence embedding, and a linear map of the sentence
//! embeddings as the identity. Both are trained with the network and left out of the written file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use datasets::{Corpus, Split};
use keywords::SentenceEncoder;
use networks::clip::{contrastive_loss, limit_logit_scale};
use networks::efficientnet::EfficientNetLite;
use networks::{Pass, Standardization, libtorch};
use pictures::Preprocessing;
use progress::{Progress, Unit};
use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};
use training::Error;
use training::learner::{Learner, Model};

use super::TrainingOptions;
use super::contrastive::pixels;
use super::retrieval::{self, RETRIEVAL_FILE, Retrieval, Retrievals};

/// Penalty of the ridge regression per image. Standardised features have a square sum of 1 each.
const RIDGE: f64 = 5.0 / 3.0;
/// Logarithm of the first factor of cosine similarities.
const FIRST_LOGIT_SCALE: f32 = 3.0;
/// Images that pass through the network's fixed layers at a time, whose activations are large.
const ENCODED_TOGETHER: i64 = 32;
/// Captions that are embedded between two looks at the stop flag.
const CAPTIONS_TOGETHER: usize = 2048;

/// Options of an encoder's training.
#[derive(Debug, Clone)]
pub struct EncoderOptions {
    /// Probability of setting a feature to 0 in a step.
    pub feature_dropout: f64,
    /// Length, batch size and learning rate.
    pub training: TrainingOptions,
}

/// Retrieval of held-out images by the ridge regression before training, and by the trained
/// projection after it.
#[derive(Debug, Clone, Serialize)]
pub struct TunedRetrievals {
    /// Before training.
    pub before: Retrievals,
    /// After training.
    pub after: Retrievals,
}

/// Network, projection and map of sentence embeddings in training.
struct Tuned {
    network: EfficientNetLite,
    standard: Standardization,
    /// Weight of the linear projection of image features, `[dimension, features]`.
    projection: Tensor,
    /// Bias of the projection, `[dimension]`.
    bias: Tensor,
    /// Map of sentence embeddings, `[dimension, dimension]`.
    text_map: Tensor,
    /// Logarithm of the factor of cosine similarities, a scalar.
    logit_scale: Tensor,
    feature_dropout: f64,
}

/// Images with the sentence embedding of one caption each.
struct Captioned {
    /// `[images, 3, size, size]`.
    pixels: Tensor,
    /// `[images, dimension]`.
    texts: Tensor,
}

impl Tuned {
    /// Starts from a network and its features `[images, features]` of training images, whose mean
    /// sentence embeddings are `[images, dimension]`; returns it with its trained parameters.
    fn new(
        mut network: EfficientNetLite,
        features: &Tensor,
        texts: &Tensor,
        feature_dropout: f64,
    ) -> Result<(Self, Vec<(String, Tensor)>), TchError> {
        let standard = Standardization::of(features);
        let (projection, bias) = ridge(&standard.apply(features), texts)?;
        let mut parameters = network.tune()?;
        let mut trained = |name: &str, tensor: &Tensor| {
            let tensor = tensor.set_requires_grad(true);
            parameters.push((name.to_owned(), tensor.shallow_clone()));
            tensor
        };
        let dimension = bias.size()[0];
        let tuned = Self {
            projection: trained("projection.weight", &projection),
            bias: trained("projection.bias", &bias),
            text_map: trained("text_map", &Tensor::f_eye(dimension, (Kind::Float, Device::Cpu))?),
            logit_scale: trained("logit_scale", &Tensor::from(FIRST_LOGIT_SCALE)),
            network,
            standard,
            feature_dropout,
        };
        Ok((tuned, parameters))
    }

    fn batch_loss(&self, part: &Captioned, dropout: bool) -> Result<Tensor, TchError> {
        let features = encode(&self.network, &part.pixels)?;
        let features = self.standard.apply(&features).f_dropout(self.feature_dropout, dropout)?;
        contrastive_loss(&self.project(&features)?, &self.texts(&part.texts)?, &self.logit_scale)
    }

    /// Projects standardised features `[images, features]` to `[images, dimension]`.
    fn project(&self, features: &Tensor) -> Result<Tensor, TchError> {
        features.f_linear(&self.projection, Some(&self.bias))
    }

    /// Maps sentence embeddings: `[captions, dimension]` in and out.
    fn texts(&self, texts: &Tensor) -> Result<Tensor, TchError> {
        texts.f_matmul(&self.text_map)
    }
}

impl Model for Tuned {
    type Batch = Captioned;

    fn targets(part: &Captioned) -> usize {
        part.texts.size()[0] as usize
    }

    fn loss<'m>(&'m self, part: &'m Captioned, pass: Pass<'_, 'm>) -> Tensor {
        libtorch::expect(self.batch_loss(part, pass.dropout))
    }
}

/// Trains `network` on a split's training images and on their captions.
///
/// Writes `model.safetensors`, which [`EfficientNetLite::from_file`] reads, and the retrieval of
/// validation and test images by their captions, which are not trained on. In each step an image
/// is mirrored by chance and paired with one of its captions. The network must have f32 weights on
/// the CPU. Returns `None`, without writing anything, if `stop` was set.
///
/// # Errors
/// Names the image that cannot be read, or the file that cannot be written; fails without training
/// images.
pub fn encoder(
    folder: &Path,
    corpus: &Corpus,
    split: &Split,
    (network, sentences): (EfficientNetLite, &SentenceEncoder),
    options: &EncoderOptions,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<TunedRetrievals>, Error> {
    let EncoderOptions { feature_dropout, training } = options;
    if split.train.is_empty() {
        let text = "the split has no training picture; lower --test-captions or choose a --split";
        return Err(Error::Mismatch(text.to_owned()));
    }
    let data =
        Data { corpus, preprocessing: Preprocessing::efficientnet_lite(network.image_size()) };
    let mut texts = Vec::new();
    let mut features = Vec::new();
    for images in [&split.train, &split.validation, &split.test] {
        let Some(found) = data.texts(images, sentences, progress, stop)? else { return Ok(None) };
        texts.push(found);
    }
    for images in [&split.train, &split.validation, &split.test] {
        let found = data.features(images, &network, progress, stop)?;
        let Some(found) = found else { return Ok(None) };
        features.push(found);
    }
    let means = texts[0].means()?;
    let (tuned, parameters) = Tuned::new(network, &features[0], &means, *feature_dropout)?;
    let before = tuned.retrievals(&features[1..], &texts[1..])?;
    let mut learner: Learner<Tuned> = training.learner(tuned, parameters, true);
    let finished = training.train(
        &mut learner,
        |step| data.captioned(training, step, &split.train, &texts[0]),
        |tuned| Ok(limit_logit_scale(&tuned.logit_scale)?),
        progress,
        stop,
    )?;
    if !finished {
        return Ok(None);
    }
    let tuned = learner.model_mut();
    let mut features = Vec::new();
    for images in [&split.validation, &split.test] {
        let found = data.features(images, &tuned.network, progress, stop)?;
        let Some(found) = found else { return Ok(None) };
        features.push(found);
    }
    let after = tuned.retrievals(&features, &texts[1..])?;
    let retrievals = TunedRetrievals { before, after };
    durable::create_dir_all(folder)?;
    tuned.network.save(&folder.join("model.safetensors"))?;
    durable::write_json(&folder.join(RETRIEVAL_FILE), &retrievals)?;
    Ok(Some(retrievals))
}

impl Tuned {
    /// Measures retrieval by features and texts of validation and test images.
    fn retrievals(&self, features: &[Tensor], texts: &[Texts]) -> Result<Retrievals, Error> {
        let _no_grad = tch::no_grad_guard();
        let measure = |at: usize| -> Result<Option<Retrieval>, Error> {
            let (features, texts) = (&features[at], &texts[at]);
            if texts.own.is_empty() {
                return Ok(None);
            }
            let images = self.project(&self.standard.apply(features))?;
            let captions = self.texts(&texts.embeddings)?;
            retrieval::measure_embeddings(&images, &captions, &texts.own).map(Some)
        };
        Ok(Retrievals { validation: measure(0)?, test: measure(1)? })
    }
}

/// Sentence embeddings of the captions of some images.
struct Texts {
    /// `[captions, dimension]`, those of an image one after the other.
    embeddings: Tensor,
    /// Position of each caption's image.
    own: Vec<i64>,
    /// Row of each image's first caption.
    first: Vec<i64>,
}

impl Texts {
    /// Returns the mean embedding of each image's captions, `[images, dimension]`.
    fn means(&self) -> Result<Tensor, TchError> {
        let own = Tensor::from_slice(&self.own);
        let size = [self.first.len() as i64, self.embeddings.size()[1]];
        let sums = Tensor::f_zeros(size, (Kind::Float, Device::Cpu))?;
        let counts = own.f_bincount::<Tensor>(None, size[0])?.f_to_kind(Kind::Float)?;
        sums.f_index_add(0, &own, &self.embeddings)?.f_div(&counts.f_unsqueeze(1)?)
    }
}

/// Images as the network sees them.
struct Data<'a> {
    corpus: &'a Corpus,
    preprocessing: Preprocessing,
}

impl Data<'_> {
    /// Embeds the captions of images; returns `None` if `stop` was set.
    fn texts(
        &self,
        images: &[usize],
        sentences: &SentenceEncoder,
        progress: &mut dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Option<Texts>, Error> {
        let (mut captions, mut own, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for (at, &image) in images.iter().enumerate() {
            first.push(captions.len() as i64);
            captions.extend(&self.corpus.images[image].captions);
            own.resize(captions.len(), at as i64);
        }
        let rows = in_parts(
            &captions,
            CAPTIONS_TOGETHER,
            ("embedding captions", "captions"),
            |captions| Ok(sentences.encode(captions)?),
            (progress, stop),
        )?;
        Ok(rows.map(|embeddings| Texts { embeddings, own, first }))
    }

    /// Returns the features `[images, features]` of images; `None` if `stop` was set.
    fn features(
        &self,
        images: &[usize],
        network: &EfficientNetLite,
        progress: &mut dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Option<Tensor>, Error> {
        let _no_grad = tch::no_grad_guard();
        in_parts(
            images,
            ENCODED_TOGETHER as usize,
            ("embedding pictures", "pictures"),
            |images| {
                let pixels = pixels(self.corpus, &self.preprocessing, images, |_| false)?;
                Ok(network.encode(&pixels)?)
            },
            (progress, stop),
        )
    }

    /// Returns a step's batch of the training images.
    fn captioned(
        &self,
        training: &TrainingOptions,
        step: u64,
        train: &[usize],
        texts: &Texts,
    ) -> Result<Captioned, Error> {
        let batch = training.batch(step, train.len());
        let images: Vec<usize> = batch.iter().map(|&at| train[at]).collect();
        let caption =
            |&at: &usize| texts.first[at] + training.caption(step, self.corpus, train[at]) as i64;
        let rows: Vec<i64> = batch.iter().map(caption).collect();
        let is_mirrored = |row: usize| training.is_mirrored(step, self.corpus, images[row]);
        Ok(Captioned {
            pixels: pixels(self.corpus, &self.preprocessing, &images, is_mirrored)?,
            texts: texts.embeddings.f_index_select(0, &Tensor::from_slice(&rows))?,
        })
    }
}

/// Returns the rows of all items, computed part by part; `None` if `stop` was set.
fn in_parts<T>(
    items: &[T],
    together: usize,
    (task, unit): (&'static str, &'static str),
    mut rows: impl FnMut(&[T]) -> Result<Tensor, Error>,
    (progress, stop): (&mut dyn Progress, &AtomicBool),
) -> Result<Option<Tensor>, Error> {
    if items.is_empty() {
        return Ok(Some(Tensor::zeros([0, 0], (Kind::Float, Device::Cpu))));
    }
    let (mut parts, mut done) = (Vec::new(), 0);
    progress.start(task, Unit::Count(unit), Some(items.len() as u64), 0);
    for part in items.chunks(together) {
        if stop.load(Ordering::Relaxed) {
            progress.finish();
            return Ok(None);
        }
        parts.push(rows(part)?);
        done += part.len() as u64;
        progress.position(done);
    }
    progress.finish();
    Ok(Some(Tensor::f_cat(&parts, 0)?))
}

/// Returns the features `[images, features]` of pixels; only the tuned layers get gradients.
fn encode(network: &EfficientNetLite, pixels: &Tensor) -> Result<Tensor, TchError> {
    let parts = pixels.f_split(ENCODED_TOGETHER, 0)?;
    let states = parts.iter().map(|part| network.encode_fixed(part));
    network.encode_tuned(&Tensor::f_cat(&states.collect::<Result<Vec<_>, _>>()?, 0)?)
}

/// Returns weight `[dimension, features]` and bias `[dimension]` of the ridge regression from
/// standardised features `[images, features]` to `targets` `[images, dimension]`, solved in f64.
fn ridge(features: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let (features, targets) = (features.f_to_kind(Kind::Double)?, targets.f_to_kind(Kind::Double)?);
    let [images, columns] = [0, 1].map(|at| features.size()[at]);
    let bias = targets.f_mean_dim([0_i64].as_slice(), false, Kind::Double)?;
    let penalty = Tensor::f_eye(columns, (Kind::Double, Device::Cpu))? * (RIDGE * images as f64);
    let squares = features.f_tr()?.f_matmul(&features)?.f_add(&penalty)?;
    let products = features.f_tr()?.f_matmul(&targets.f_sub(&bias)?)?;
    let weight = Tensor::f_linalg_solve(&squares, &products, true)?.f_tr()?.f_contiguous()?;
    Ok((weight.f_to_kind(Kind::Float)?, bias.f_to_kind(Kind::Float)?))
}

#[cfg(test)]
mod tests;
