//! Files of captions that may be larger than memory: scored as [`evaluate`](crate::evaluate) scores what is in
//! memory, to the last bit.
//!
//! Captions and scores of single images are in temporary files meanwhile. What is in memory is a
//! few thousand images at a time, the distinct n-grams of the references, and about 24 bytes an
//! image (75 for a moment, while the two files' images are paired).

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;

use crate::corpus::{Image, Source, Unpaired, check};
use crate::readers::{self, Side};
use crate::records::{Reader, Writer};
use crate::scorer::{Statistics, score};
use crate::significance::Resampling;
use crate::spool::Spool;
use crate::{Error, ImageScores, Options, Scores, Summary, report};

/// Two files that name the same images, in the references' order.
struct Files {
    references: Spool,
    predictions: Spool,
    /// Each image's number among the references and among the predictions.
    pairs: Vec<(u32, u32)>,
}

impl Files {
    /// Pairs every image's prediction with its references.
    ///
    /// # Errors
    /// Unless both sides name the same images, and at least one. With `only_predicted` references
    /// may name more.
    fn new(
        mut references: Spool,
        mut predictions: Spool,
        only_predicted: bool,
    ) -> Result<Self, Error> {
        references.forget_ids();
        let mut pairs = Vec::with_capacity(predictions.len());
        let mut has_references = vec![false; predictions.len()];
        let mut missing = Unpaired::default();
        for number in 0..references.len() {
            let id = references.id(number)?;
            match predictions.find(&id) {
                Some(prediction) => {
                    pairs.push((number as u32, prediction));
                    has_references[prediction as usize] = true;
                }
                None => missing.add(|| Ok(id))?,
            }
        }
        let mut extra = Unpaired::default();
        for (number, _) in has_references.iter().enumerate().filter(|(_, has)| !**has) {
            extra.add(|| predictions.id(number))?;
        }
        check(predictions.len(), &missing, &extra, only_predicted)?;
        predictions.forget_ids();
        Ok(Self { references, predictions, pairs })
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn without_prediction(&self) -> usize {
        self.references.len() - self.pairs.len()
    }

    fn images(&self) -> impl Iterator<Item = Result<Image<'_>, Error>> {
        self.pairs.iter().map(|&(references, prediction)| {
            let (id, references) = self.references.image(references as usize)?;
            let (_, prediction) = self.predictions.image(prediction as usize)?;
            Ok(Image {
                id: Cow::Owned(id),
                prediction: Cow::Owned(prediction.concat()),
                references: references.into_iter().map(Cow::Owned).collect(),
            })
        })
    }
}

/// The result of [`evaluate`].
pub struct Evaluation {
    /// The scores of the corpus.
    pub summary: Summary,
    /// Identifier and scores of every image.
    per_image: RefCell<Reader>,
}

/// Scores a file of predictions against a file of references, and computes bootstrap intervals if they are
/// asked for, for which about 300 bytes an image are held in memory. `progress` is told how much is
/// done, of how much.
///
/// # Errors
/// As [`evaluate`](crate::evaluate) and [`readers`]; [`Error::Temporary`] where the folder of
/// temporary files has no room.
pub fn evaluate(
    references: &Path,
    predictions: &Path,
    options: &Options,
    resampling: Option<Resampling>,
    progress: impl FnMut(usize, usize),
) -> Result<Evaluation, Error> {
    let (references, predictions) = rayon::join(
        || readers::read(references, Side::References),
        || readers::read(predictions, Side::Predictions),
    );
    let files = Files::new(references?, predictions?, options.only_predicted)?;
    let mut per_image = Writer::new();
    let mut statistics: Vec<Statistics> = Vec::new();
    let each = |image: &Image, of_image: Statistics| {
        per_image.text(&image.id)?;
        for (_, score) in of_image.scores().iter() {
            per_image.number(score.to_bits())?;
        }
        if resampling.is_some() {
            statistics.push(of_image);
        }
        Ok(())
    };
    let mut summary = score(&files, options, each, progress)?;
    if let Some(resampling) = resampling {
        summary.add_confidence(&statistics, resampling);
    }
    Ok(Evaluation { summary, per_image: RefCell::new(per_image.finish()?) })
}

impl Evaluation {
    /// The scores of every image, in the order of the references.
    pub fn per_image(&self) -> impl Iterator<Item = Result<ImageScores, Error>> {
        let start = self.per_image.borrow_mut().go_to(0).err().map(Err);
        start.into_iter().chain((0..self.summary.n).map(|_| {
            let mut records = self.per_image.borrow_mut();
            let id = records.text()?;
            let mut scores = Scores::default();
            for (name, _) in self.summary.corpus.iter() {
                scores.push(name, f64::from_bits(records.number()?));
            }
            Ok(ImageScores { id, scores })
        }))
    }

    /// Writes all scores, of the corpus and of every image, as JSON, every number so that it reads back as
    /// the same double.
    ///
    /// # Errors
    /// Names the file; whatever was there before is untouched.
    pub fn write_json(&self, path: &Path) -> Result<(), durable::Error> {
        durable::write_with(path, |out| report::write_json(out, &self.summary, self.per_image()))
    }

    /// Writes the scores of every image as CSV: `image_id`, then a column a score.
    ///
    /// # Errors
    /// Names the file; whatever was there before is untouched.
    pub fn write_csv(&self, path: &Path) -> Result<(), durable::Error> {
        durable::write_with(path, |out| report::write_csv(out, &self.summary, self.per_image()))
    }
}
