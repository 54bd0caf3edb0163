//! From two sides of captions to scores: words once, n-grams once, then every image on its own.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::corpus::{Image, join, tokenize};
use crate::ngrams::{Counts, Grams};
use crate::words::{Caption, Vocabulary};
use crate::{
    Error, Evaluation, ImageScores, Metric, Options, Predictions, Protocol, References, Scores,
    Tokenizer, bleu, cider, meteor, numerics, rouge_l,
};

/// Scores predictions against references.
///
/// The two sides must name the same images. The order of images is that of the references; it
/// matters to nothing but the rounding of means and, with [`Tokenizer::Ptb`], to the few tokens that
/// depend on the next caption (see [`ptb`](crate::ptb)). Results do not depend on the number of
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
    let mut images = join(references, predictions)?;
    let captions_with_line_separators = match options.tokenizer {
        Tokenizer::None => images.iter().map(Image::line_separators).sum(),
        Tokenizer::Ptb => tokenize(&mut images),
    };
    let wants = |metric| options.metrics.contains(&metric);
    let mut vocabulary = Vocabulary::default();
    let captions: Vec<ImageCaptions> =
        images.iter().map(|image| ImageCaptions::new(&mut vocabulary, image)).collect();

    let mut statistics = Statistics::default();
    if wants(Metric::Bleu) || wants(Metric::Cider) {
        let mut grams = document_frequencies(&captions);
        if wants(Metric::Cider) && grams.document_frequencies().all(|frequency| frequency == 0) {
            return Err(Error::NoReferenceWords);
        }
        let weights = cider::Weights::new(&grams, images.len());
        let mut both = Vec::with_capacity(images.len());
        for captions in captions.chunks(COUNTED_AT_A_TIME) {
            let counted: Vec<ImageGrams> =
                captions.iter().map(|image| ImageGrams::new(&mut grams, image)).collect();
            both.par_extend(captions.par_iter().zip(&counted).map(|(captions, grams)| {
                let overlap = Overlap::new(grams);
                (
                    wants(Metric::Bleu).then(|| overlap.bleu(captions, grams)),
                    wants(Metric::Cider).then(|| {
                        let references = &grams.references;
                        cider::score(&weights, &grams.prediction, references, &overlap.shared)
                    }),
                )
            }));
        }
        statistics.bleu = both.iter().map(|(bleu, _)| *bleu).collect();
        statistics.cider = both.iter().map(|(_, cider)| *cider).collect();
    }
    if wants(Metric::Rouge) {
        statistics.rouge = Some(
            captions
                .par_iter()
                .map(|image| {
                    let references = image.references.iter().map(Caption::spaced);
                    rouge_l::score(image.prediction.spaced(), references)
                })
                .collect(),
        );
    }
    if wants(Metric::Meteor) {
        let resources = options.meteor.as_ref().ok_or(Error::NoMeteorResources)?;
        let segments: Vec<_> = images.iter().map(Image::segment).collect();
        statistics.meteor = Some(meteor::score(resources, &segments)?);
    }

    let everything: Vec<Pick> = (0..images.len()).map(|image| (&statistics, image)).collect();
    let corpus_scores = corpus(&everything);
    let per_image = images
        .iter()
        .enumerate()
        .map(|(i, image)| ImageScores {
            id: image.id.to_owned(),
            scores: corpus(&[(&statistics, i)]),
        })
        .collect();
    Ok(Evaluation {
        protocol: Protocol {
            equivalent: "pycocoevalcap 1.2",
            tokenizer: options.tokenizer,
            captions_with_line_separators,
        },
        n: images.len(),
        corpus: corpus_scores,
        per_image,
        confidence: None,
        statistics,
    })
}

/// One image's captions as numbers.
struct ImageCaptions {
    prediction: Caption,
    references: Vec<Caption>,
}

impl ImageCaptions {
    fn new<'a>(vocabulary: &mut Vocabulary<'a>, image: &'a Image) -> Self {
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

/// Images whose n-grams are held at a time: an image's are some kilobytes.
const COUNTED_AT_A_TIME: usize = 8192;

/// All n-grams of a corpus, with how many images' references hold each.
fn document_frequencies(captions: &[ImageCaptions]) -> Grams {
    let mut grams = Grams::default();
    for (image, number) in captions.iter().zip(0..) {
        grams.count(&image.prediction);
        for reference in &image.references {
            grams.reference(reference, number);
        }
    }
    grams
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

/// Per image, what the corpus scores are made of; `None` for a metric that was not asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    bleu: Option<Vec<bleu::Statistics>>,
    meteor: Option<Vec<meteor::Statistics>>,
    rouge: Option<Vec<f64>>,
    cider: Option<Vec<f64>>,
}

/// One image of one system.
pub(crate) type Pick<'a> = (&'a Statistics, usize);

/// The scores of a corpus of these images, which may repeat. All systems have the same metrics.
pub(crate) fn corpus(picks: &[Pick]) -> Scores {
    let mut scores = Scores::default();
    if let Some(all) = picked(picks, |statistics| statistics.bleu.as_deref()) {
        let mut sum = bleu::Statistics::default();
        for image in all {
            sum += image;
        }
        for (name, score) in Metric::Bleu.names().iter().zip(sum.scores()) {
            scores.push(name, score);
        }
    }
    if let Some(all) = picked(picks, |statistics| statistics.meteor.as_deref()) {
        scores.push("METEOR", meteor::Statistics::sum(all).score());
    }
    let mean =
        |values: Vec<&f64>| numerics::mean(&values.into_iter().copied().collect::<Vec<f64>>());
    if let Some(all) = picked(picks, |statistics| statistics.rouge.as_deref()) {
        scores.push("ROUGE_L", mean(all));
    }
    if let Some(all) = picked(picks, |statistics| statistics.cider.as_deref()) {
        scores.push("CIDEr", mean(all));
    }
    scores
}

fn picked<'a, T>(
    picks: &[Pick<'a>],
    of: impl Fn(&'a Statistics) -> Option<&'a [T]>,
) -> Option<Vec<&'a T>> {
    picks.iter().map(|&(statistics, image)| of(statistics)?.get(image)).collect()
}
