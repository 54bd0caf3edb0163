//! Scoring: counts the references' n-grams once, then scores every image, block by block.

use rayon::prelude::*;

use crate::blocks::{Block, blocks};
use crate::clip_score::ClipScore;
use crate::corpus::{Image, Pairs};
use crate::counting::{count, references_of};
use crate::diversity;
use crate::interner::{Interner, Strings};
use crate::ngrams::{Counts, ImageGrams};
use crate::scores::{Statistics, corpus};
use crate::words::Caption;
use crate::{
    CiderFrequencies, Error, Evaluation, Metric, Options, Predictions, Protocol, References,
    Subset, Summary, Tokenizer, bleu, cider, meteor, rouge_l,
};

/// Images whose captions a CLIP reads at a time: their embeddings take some 10 MB.
const CLIP_IMAGES: usize = 1024;

/// Scores predictions against references.
///
/// The two sides must name the same images, but for those that [`Options::subset`] leaves out as if
/// they were not there. The order of images is that of the
/// references; it matters to nothing but the rounding of means and, with
/// [`Tokenizer::Ptb`](crate::Tokenizer::Ptb), to the few tokens that depend on the next caption
/// (see [`ptb`](crate::ptb)). Results do not depend on the number of threads, to the last bit.
///
/// # Errors
/// [`Error::NoCommonImages`], [`Error::MissingPredictions`], [`Error::ExtraPredictions`],
/// [`Error::UnknownImages`], [`Error::NoImages`]; [`Error::FrequenciesOfOtherTokens`];
/// [`Error::NoReferenceWords`] where CIDEr is asked for and no reference holds a word;
/// [`Error::NoMeteorResources`] or [`Error::NoClip`] where a metric needs what is not given;
/// [`Error::Clip`].
pub fn evaluate(
    references: &References,
    predictions: &Predictions,
    options: &Options,
) -> Result<Evaluation, Error> {
    evaluate_with_progress(references, predictions, options, |_, _| {})
}

/// Scores as [`evaluate`] does, and calls `progress` with the work done and all work.
///
/// # Errors
/// The errors of [`evaluate`].
pub fn evaluate_with_progress(
    references: &References,
    predictions: &Predictions,
    options: &Options,
    mut progress: impl FnMut(usize, usize),
) -> Result<Evaluation, Error> {
    let pairs = Pairs::new(references, predictions, &options.subset)?;
    let mut scorer = Scorer::new(options)?;
    let stored = options.cider_frequencies.as_ref().filter(|_| scorer.wants(Metric::Cider));
    if let Some(stored) = stored {
        scorer.weights = Some(stored_weights(stored, options.tokenizer, &mut scorer.vocabulary)?);
    }
    // Without stored frequencies CIDEr has to know all references first.
    let counts_first = scorer.wants(Metric::Cider) && stored.is_none();
    let clip = options.clip.as_ref().filter(|_| options.metrics.iter().any(|m| m.needs_clip()));
    let passes = 1 + usize::from(counts_first) + usize::from(clip.is_some());
    let mut done = 0;
    let mut advance = |images: usize| {
        done += images;
        progress(done, passes * pairs.len());
    };
    if counts_first {
        let frequencies = count(&pairs, options.tokenizer, &mut scorer.vocabulary, &mut advance)?;
        scorer.weights = Some(cider::Weights::new(frequencies, pairs.len()));
    }
    let mut ids = Strings::default();
    let mut statistics: Vec<Statistics> = Vec::with_capacity(pairs.len());
    let mut captions_with_line_separators = 0;
    let mut diversity = scorer.wants(Metric::Diversity).then(|| diversity::Counter::new(options));
    for block in blocks(&pairs, options.tokenizer) {
        captions_with_line_separators += block.line_separators;
        block.images.iter().for_each(|image| ids.push(image.id));
        if let Some(diversity) = &mut diversity {
            block.images.iter().for_each(|image| diversity.add(&image.prediction));
        }
        statistics.extend(scorer.score(&block)?);
        advance(block.images.len());
    }
    let mut clip_protocol = clip.map(ClipScore::protocol);
    if let (Some(clip), Some(protocol)) = (clip, &mut clip_protocol) {
        // CLIP reads captions before the tokenizer.
        for (block, statistics) in statistics.chunks_mut(CLIP_IMAGES).enumerate() {
            let images = (block * CLIP_IMAGES..).take(statistics.len());
            let images: Vec<Image> = images.map(|index| pairs.image(index)).collect();
            let segments: Vec<_> = images.iter().map(Image::segment).collect();
            let scores = clip.score(&segments, &options.metrics, protocol)?;
            statistics.iter_mut().zip(scores).for_each(|(image, scores)| image.clip = scores);
            advance(images.len());
        }
    }
    let summary = Summary {
        protocol: Protocol {
            equivalent: "pycocoevalcap 1.2",
            tokenizer: options.tokenizer,
            captions_with_line_separators,
            references_left_out: (options.subset != Subset::All).then(|| pairs.left_out()),
            cider_images: stored.map(|stored| stored.images()),
            clip: clip_protocol,
        },
        n: pairs.len(),
        corpus: corpus(&statistics.iter().collect::<Vec<_>>()),
        diversity: diversity.map(diversity::Counter::finish),
        confidence: None,
    };
    Ok(Evaluation { summary, ids, statistics })
}

/// Returns CIDEr's weights by stored document frequencies.
fn stored_weights(
    stored: &CiderFrequencies,
    used: Tokenizer,
    vocabulary: &mut Interner,
) -> Result<cider::Weights, Error> {
    if stored.tokenizer() != used {
        return Err(Error::FrequenciesOfOtherTokens { stored: stored.tokenizer(), used });
    }
    let frequencies = stored.numbered(|word| vocabulary.intern(word));
    Ok(cider::Weights::new(frequencies, stored.images()))
}

/// State that lasts from block to block.
struct Scorer<'a> {
    options: &'a Options,
    vocabulary: Interner,
    /// Weights of n-grams, once all references have been counted for CIDEr.
    weights: Option<cider::Weights>,
}

impl<'a> Scorer<'a> {
    fn new(options: &'a Options) -> Result<Self, Error> {
        if options.metrics.contains(&Metric::Meteor) && options.meteor.is_none() {
            return Err(Error::NoMeteorResources);
        }
        let by_clip = options.metrics.iter().find(|metric| metric.needs_clip());
        if let (Some(metric), None) = (by_clip, &options.clip) {
            return Err(Error::NoClip(*metric));
        }
        Ok(Self { options, vocabulary: Interner::default(), weights: None })
    }

    fn wants(&self, metric: Metric) -> bool {
        self.options.metrics.contains(&metric)
    }

    fn score(&mut self, block: &Block) -> Result<Vec<Statistics>, Error> {
        let captions = block.images.iter().map(|image| ImageCaptions {
            prediction: Caption::new(&image.prediction, &mut self.vocabulary),
            references: references_of(image, &mut self.vocabulary),
        });
        let captions: Vec<ImageCaptions> = captions.collect();
        let mut statistics: Vec<Statistics> =
            captions.par_iter().map(|captions| self.of_words(captions)).collect();
        if let (true, Some(resources)) = (self.wants(Metric::Meteor), &self.options.meteor) {
            let segments: Vec<_> = block.images.iter().map(Image::segment).collect();
            let meteor = meteor::score(resources, &segments)?;
            for (statistics, meteor) in statistics.iter_mut().zip(meteor) {
                statistics.meteor = Some(meteor);
            }
        }
        Ok(statistics)
    }

    /// Returns the statistics of an image, but for METEOR's.
    fn of_words(&self, captions: &ImageCaptions) -> Statistics {
        let mut statistics = Statistics::default();
        if self.wants(Metric::Bleu) || self.weights.is_some() {
            let overlap = Overlap::new(captions);
            statistics.bleu = self.wants(Metric::Bleu).then(|| overlap.bleu(captions));
            statistics.cider = self.weights.as_ref().map(|weights| overlap.cider(weights));
        }
        if self.wants(Metric::Rouge) {
            let references = captions.references.iter().map(Caption::spaced);
            statistics.rouge = Some(rouge_l::score(captions.prediction.spaced(), references));
        }
        statistics
    }
}

/// An image's captions as numbers of words.
struct ImageCaptions {
    prediction: Caption,
    references: Vec<Caption>,
}

/// The n-grams that a prediction shares with its references.
struct Overlap {
    grams: ImageGrams,
    prediction: Counts,
    references: Vec<Counts>,
    /// For each n-gram of the prediction, the largest count in one reference.
    most: Vec<u32>,
    /// For each reference the positions of shared n-grams in the prediction's and its own counts,
    /// in the prediction's order.
    shared: Vec<Vec<(u32, u32)>>,
}

impl Overlap {
    fn new(captions: &ImageCaptions) -> Self {
        let mut grams = ImageGrams::default();
        // It comes first, so that its n-grams have the numbers of their positions in its counts.
        let prediction = grams.count(&captions.prediction);
        let references: Vec<Counts> =
            captions.references.iter().map(|reference| grams.count(reference)).collect();
        let mut most = vec![0; prediction.all().len()];
        let shared = references.iter().map(|reference| {
            let mut pairs: Vec<(u32, u32)> = Vec::new();
            for (count, at) in reference.all().iter().zip(0..) {
                if let Some(most) = most.get_mut(count.gram as usize) {
                    *most = count.count.max(*most);
                    pairs.push((count.gram, at));
                }
            }
            pairs.sort_unstable();
            pairs
        });
        Self { shared: shared.collect(), grams, prediction, references, most }
    }

    fn bleu(&self, captions: &ImageCaptions) -> bleu::Statistics {
        bleu::Statistics::new(
            &self.prediction,
            &self.most,
            captions.prediction.words().len(),
            captions.references.iter().map(|reference| reference.words().len()),
        )
    }

    fn cider(&self, weights: &cider::Weights) -> f64 {
        let weights = weights.of(&self.grams);
        cider::score(&weights, &self.prediction, &self.references, &self.shared)
    }
}
