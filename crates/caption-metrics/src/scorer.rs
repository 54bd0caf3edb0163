//! From captions to scores: the references' n-grams once, then every image on its own, block by block.

use std::ops::AddAssign;

use rayon::prelude::*;

use crate::blocks::{Block, Blocks};
use crate::corpus::{Image, Pairs, Source};
use crate::ngrams::{Counts, DocumentFrequencies, ImageGrams};
use crate::numerics::PairwiseSum;
use crate::words::{Caption, Vocabulary};
use crate::{
    Error, Evaluation, ImageScores, Metric, Options, Predictions, Protocol, References, Scores,
    Summary, bleu, cider, meteor, rouge_l,
};

/// Scores predictions against references.
///
/// The two sides must name the same images; with [`Options::only_predicted`] references may name
/// more, which are left out as if they were not there. The order of images is that of the
/// references; it matters to nothing but the rounding of means and, with
/// [`Tokenizer::Ptb`](crate::Tokenizer::Ptb), to the few tokens that depend on the next caption
/// (see [`ptb`](crate::ptb)). Results do not depend on the number of threads, to the last bit.
///
/// # Errors
/// [`Error::MissingPredictions`], [`Error::ExtraPredictions`], [`Error::NoImages`];
/// [`Error::NoReferenceWords`] where CIDEr is asked for and no reference holds a word;
/// [`Error::NoMeteorResources`] where METEOR is asked for and its resources are not given.
pub fn evaluate(
    references: &References,
    predictions: &Predictions,
    options: &Options,
) -> Result<Evaluation, Error> {
    let source = Pairs::new(references, predictions, options.only_predicted)?;
    let mut per_image = Vec::with_capacity(source.len());
    let mut statistics = Vec::with_capacity(source.len());
    let each = |image: &Image, of_image: Statistics| {
        per_image.push(ImageScores { id: image.id.as_ref().to_owned(), scores: of_image.scores() });
        statistics.push(of_image);
        Ok(())
    };
    let summary = score(&source, options, each, |_, _| {})?;
    Ok(Evaluation { summary, per_image, statistics })
}

/// Scores all images of a source, and gives each with what its scores are made of to `each`, in order.
/// `progress` is told how much is done, of how much.
pub(crate) fn score(
    source: &impl Source,
    options: &Options,
    mut each: impl FnMut(&Image, Statistics) -> Result<(), Error>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Summary, Error> {
    let mut scorer = Scorer::new(options)?;
    let blocks = || Blocks::new(source.images(), options.tokenizer);
    // CIDEr has to know all references first.
    let passes = if scorer.wants(Metric::Cider) { 2 } else { 1 };
    let mut done = 0;
    let mut advance = |images: usize| {
        done += images;
        progress(done, passes * source.len());
    };
    if scorer.wants(Metric::Cider) {
        let mut frequencies = DocumentFrequencies::default();
        for block in blocks() {
            let block = block?;
            scorer.count(&block, &mut frequencies);
            advance(block.images.len());
        }
        if frequencies.is_empty() {
            return Err(Error::NoReferenceWords);
        }
        scorer.weights = Some(cider::Weights::new(frequencies, source.len()));
    }
    let mut totals = Totals::new(source.len());
    let mut captions_with_line_separators = 0;
    for block in blocks() {
        let block = block?;
        captions_with_line_separators += block.line_separators;
        for (image, statistics) in block.images.iter().zip(scorer.score(&block)?) {
            totals += &statistics;
            each(image, statistics)?;
        }
        advance(block.images.len());
    }
    Ok(Summary {
        protocol: Protocol {
            equivalent: "pycocoevalcap 1.2",
            tokenizer: options.tokenizer,
            captions_with_line_separators,
            images_without_prediction: options.only_predicted.then(|| source.without_prediction()),
        },
        n: source.len(),
        corpus: totals.scores(),
        confidence: None,
    })
}

/// What is known of all captions.
struct Scorer<'a> {
    options: &'a Options,
    vocabulary: Vocabulary,
    /// Of n-grams, where CIDEr is asked for and all references have been counted.
    weights: Option<cider::Weights>,
}

impl<'a> Scorer<'a> {
    fn new(options: &'a Options) -> Result<Self, Error> {
        if options.metrics.contains(&Metric::Meteor) && options.meteor.is_none() {
            return Err(Error::NoMeteorResources);
        }
        Ok(Self { options, vocabulary: Vocabulary::default(), weights: None })
    }

    fn wants(&self, metric: Metric) -> bool {
        self.options.metrics.contains(&metric)
    }

    fn captions(&mut self, block: &Block) -> Vec<ImageCaptions> {
        let captions = block.images.iter().map(|image| ImageCaptions {
            prediction: self.vocabulary.caption(&image.prediction),
            references: image.references.iter().map(|text| self.vocabulary.caption(text)).collect(),
        });
        captions.collect()
    }

    /// Counts in how many images' references n-grams occur.
    fn count(&mut self, block: &Block, frequencies: &mut DocumentFrequencies) {
        let captions = self.captions(block);
        let of_references = captions.par_iter().map(|image| {
            let mut grams = ImageGrams::default();
            for reference in &image.references {
                grams.count(reference);
            }
            grams
        });
        for grams in of_references.collect::<Vec<_>>() {
            frequencies.add(&grams);
        }
    }

    fn score(&mut self, block: &Block) -> Result<Vec<Statistics>, Error> {
        let captions = self.captions(block);
        let mut statistics: Vec<Statistics> =
            captions.par_iter().map(|captions| self.of_words(captions)).collect();
        if let (true, Some(resources)) = (self.wants(Metric::Meteor), &self.options.meteor) {
            let segments: Vec<_> = block.images.iter().map(Image::segment).collect();
            for (statistics, meteor) in
                statistics.iter_mut().zip(meteor::score(resources, &segments)?)
            {
                statistics.meteor = Some(meteor);
            }
        }
        Ok(statistics)
    }

    /// What the scores of an image are made of, but for METEOR's.
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

/// One image's captions as numbers.
struct ImageCaptions {
    prediction: Caption,
    references: Vec<Caption>,
}

/// Which n-grams of a prediction its references hold.
struct Overlap {
    grams: ImageGrams,
    prediction: Counts,
    references: Vec<Counts>,
    /// For each n-gram of the prediction, the largest count in one reference.
    most: Vec<u32>,
    /// For each reference, where the same n-gram stands in the prediction's and its own counts, in
    /// the prediction's order.
    shared: Vec<Vec<(u32, u32)>>,
}

impl Overlap {
    fn new(captions: &ImageCaptions) -> Self {
        let mut grams = ImageGrams::default();
        // It comes first, so that its n-grams have the numbers of their places in its counts.
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

/// What the scores of an image are made of; `None` for a metric that was not asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    bleu: Option<bleu::Statistics>,
    meteor: Option<meteor::Statistics>,
    rouge: Option<f64>,
    cider: Option<f64>,
}

impl Statistics {
    /// The scores of the image.
    pub(crate) fn scores(&self) -> Scores {
        corpus([self].into_iter())
    }
}

/// What the scores of a corpus are made of.
struct Totals {
    images: usize,
    bleu: Option<bleu::Statistics>,
    meteor: Option<meteor::Statistics>,
    rouge: Option<PairwiseSum>,
    cider: Option<PairwiseSum>,
}

impl Totals {
    fn new(images: usize) -> Self {
        Self { images, bleu: None, meteor: None, rouge: None, cider: None }
    }

    fn scores(&self) -> Scores {
        let mut scores = Scores::default();
        if let Some(bleu) = &self.bleu {
            for (name, score) in Metric::Bleu.names().iter().zip(bleu.scores()) {
                scores.push(name, score);
            }
        }
        if let Some(meteor) = &self.meteor {
            scores.push("METEOR", meteor.score());
        }
        let mean = |sum: &PairwiseSum| sum.sum() / self.images as f64;
        if let Some(rouge) = &self.rouge {
            scores.push("ROUGE_L", mean(rouge));
        }
        if let Some(cider) = &self.cider {
            scores.push("CIDEr", mean(cider));
        }
        scores
    }
}

impl AddAssign<&Statistics> for Totals {
    fn add_assign(&mut self, image: &Statistics) {
        if let Some(bleu) = &image.bleu {
            *self.bleu.get_or_insert_default() += bleu;
        }
        if let Some(meteor) = &image.meteor {
            *self.meteor.get_or_insert_default() += meteor;
        }
        let images = self.images;
        let add = |sum: &mut Option<PairwiseSum>, score: Option<f64>| {
            if let Some(score) = score {
                sum.get_or_insert_with(|| PairwiseSum::new(images)).push(score);
            }
        };
        add(&mut self.rouge, image.rouge);
        add(&mut self.cider, image.cider);
    }
}

/// The scores of a corpus of these images, which may repeat. All have the same metrics.
pub(crate) fn corpus<'a>(images: impl ExactSizeIterator<Item = &'a Statistics>) -> Scores {
    let mut totals = Totals::new(images.len());
    images.for_each(|image| totals += image);
    totals.scores()
}
