//! From captions to scores: the references' n-grams once, then every image on its own, block by block.

use std::ops::AddAssign;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::blocks::{Block, Blocks};
use crate::corpus::{Image, Pairs, Source};
use crate::ngrams::{Counts, Grams};
use crate::numerics::PairwiseSum;
use crate::words::{Caption, Vocabulary};
use crate::{
    Error, Evaluation, ImageScores, Metric, Options, Predictions, Protocol, References, Scores,
    Summary, bleu, cider, meteor, rouge_l,
};

/// Scores predictions against references.
///
/// The two sides must name the same images. The order of images is that of the references; it
/// matters to nothing but the rounding of means and, with [`Tokenizer::Ptb`](crate::Tokenizer::Ptb), to the few
/// tokens that depend on the next caption (see [`ptb`](crate::ptb)). Results do not depend on the number of
/// threads, to the last bit.
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
    let source = Pairs::new(references, predictions)?;
    let mut per_image = Vec::with_capacity(source.len());
    let mut statistics = Vec::with_capacity(source.len());
    let summary = score(&source, options, |image, of_image| {
        per_image.push(ImageScores { id: image.id.as_ref().to_owned(), scores: of_image.scores() });
        statistics.push(of_image);
        Ok(())
    })?;
    Ok(Evaluation { summary, per_image, statistics })
}

/// Scores all images of a source, and gives each with what its scores are made of to `each`, in order.
pub(crate) fn score(
    source: &impl Source,
    options: &Options,
    mut each: impl FnMut(&Image, Statistics) -> Result<(), Error>,
) -> Result<Summary, Error> {
    let mut scorer = Scorer::new(options)?;
    let blocks = || Blocks::new(source.images(), options.tokenizer);
    if scorer.wants(Metric::Cider) {
        let mut number = 0;
        for block in blocks() {
            for image in block?.images {
                scorer.count(&image, number);
                number += 1;
            }
        }
        scorer.weigh(source.len())?;
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
    }
    Ok(Summary {
        protocol: Protocol {
            equivalent: "pycocoevalcap 1.2",
            tokenizer: options.tokenizer,
            captions_with_line_separators,
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
    grams: Grams,
    /// Of n-grams, once all references have been counted.
    weights: Option<cider::Weights>,
}

impl<'a> Scorer<'a> {
    fn new(options: &'a Options) -> Result<Self, Error> {
        if options.metrics.contains(&Metric::Meteor) && options.meteor.is_none() {
            return Err(Error::NoMeteorResources);
        }
        let (vocabulary, grams) = (Vocabulary::default(), Grams::default());
        Ok(Self { options, vocabulary, grams, weights: None })
    }

    fn wants(&self, metric: Metric) -> bool {
        self.options.metrics.contains(&metric)
    }

    /// Counts in how many images' references n-grams occur.
    fn count(&mut self, image: &Image, number: u32) {
        for reference in &image.references {
            let caption = self.vocabulary.caption(reference);
            self.grams.reference(&caption, number);
        }
    }

    /// Weighs the n-grams that were counted.
    fn weigh(&mut self, images: usize) -> Result<(), Error> {
        if self.grams.is_empty() {
            return Err(Error::NoReferenceWords);
        }
        self.weights = Some(cider::Weights::new(&self.grams, images));
        Ok(())
    }

    fn score(&mut self, block: &Block) -> Result<Vec<Statistics>, Error> {
        let mut statistics = vec![Statistics::default(); block.images.len()];
        let captions: Vec<ImageCaptions> = block
            .images
            .iter()
            .map(|image| ImageCaptions::new(&mut self.vocabulary, image))
            .collect();
        let (wants_bleu, wants_rouge) = (self.wants(Metric::Bleu), self.wants(Metric::Rouge));
        if wants_bleu || self.weights.is_some() {
            let counted: Vec<ImageGrams> =
                captions.iter().map(|image| ImageGrams::new(&mut self.grams, image)).collect();
            let images = statistics.par_iter_mut().zip(captions.par_iter().zip(&counted));
            images.for_each(|(statistics, (captions, grams))| {
                let overlap = Overlap::new(grams);
                statistics.bleu = wants_bleu.then(|| overlap.bleu(captions, grams));
                statistics.cider = self.weights.as_ref().map(|weights| {
                    cider::score(weights, &grams.prediction, &grams.references, &overlap.shared)
                });
            });
        }
        if wants_rouge {
            statistics.par_iter_mut().zip(&captions).for_each(|(statistics, image)| {
                let references = image.references.iter().map(Caption::spaced);
                statistics.rouge = Some(rouge_l::score(image.prediction.spaced(), references));
            });
        }
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
}

/// One image's captions as numbers.
struct ImageCaptions {
    prediction: Caption,
    references: Vec<Caption>,
}

impl ImageCaptions {
    fn new(vocabulary: &mut Vocabulary, image: &Image) -> Self {
        Self {
            prediction: vocabulary.caption(&image.prediction),
            references: image.references.iter().map(|text| vocabulary.caption(text)).collect(),
        }
    }
}

/// One image's captions as counted n-grams.
struct ImageGrams {
    prediction: Counts,
    references: Vec<Counts>,
}

impl ImageGrams {
    fn new(grams: &mut Grams, image: &ImageCaptions) -> Self {
        Self {
            prediction: grams.count(&image.prediction),
            references: image.references.iter().map(|text| grams.count(text)).collect(),
        }
    }
}

/// Which n-grams of a prediction its references hold.
struct Overlap {
    /// For each n-gram of the prediction, the largest count in one reference.
    most: Vec<u32>,
    /// For each reference, where the same n-gram stands in the prediction's and its own counts, in
    /// the prediction's order.
    shared: Vec<Vec<(u32, u32)>>,
}

impl Overlap {
    fn new(grams: &ImageGrams) -> Self {
        let predicted = grams.prediction.all();
        let positions: FxHashMap<u32, u32> =
            predicted.iter().map(|count| count.gram).zip(0..).collect();
        let mut most = vec![0; predicted.len()];
        let shared = grams
            .references
            .iter()
            .map(|reference| {
                let mut pairs: Vec<(u32, u32)> = reference
                    .all()
                    .iter()
                    .zip(0..)
                    .filter_map(|(count, at)| Some((*positions.get(&count.gram)?, at, count)))
                    .map(|(position, at, count)| {
                        let most: &mut u32 = &mut most[position as usize];
                        *most = count.count.max(*most);
                        (position, at)
                    })
                    .collect();
                pairs.sort_unstable();
                pairs
            })
            .collect();
        Self { most, shared }
    }

    fn bleu(&self, captions: &ImageCaptions, grams: &ImageGrams) -> bleu::Statistics {
        bleu::Statistics::new(
            &grams.prediction,
            &self.most,
            captions.prediction.words().len(),
            captions.references.iter().map(|reference| reference.words().len()),
        )
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
