//! The two sides of an evaluation: reference captions and predicted captions, each by image.
//!
//! Image identifiers are strings; an integer in a file is its decimal string, so that `7` and `"7"`
//! name the same image. Both sides keep the order in which images were given.

use std::borrow::Cow;
use std::path::Path;

use rustc_hash::FxHashMap;

use crate::meteor::Segment;
use crate::{Error, readers};

/// A map from image identifier to `T` that keeps the order of insertion.
#[derive(Clone, Debug, PartialEq)]
struct ByImage<T> {
    entries: Vec<(String, T)>,
    positions: FxHashMap<String, usize>,
}

impl<T> ByImage<T> {
    fn new(entries: impl IntoIterator<Item = (String, T)>) -> Result<Self, Error> {
        let entries: Vec<_> = entries.into_iter().collect();
        let mut positions = FxHashMap::default();
        positions.reserve(entries.len());
        for (position, (id, _)) in entries.iter().enumerate() {
            if positions.insert(id.clone(), position).is_some() {
                return Err(Error::DuplicateId { id: id.clone() });
            }
        }
        Ok(Self { entries, positions })
    }

    fn get(&self, id: &str) -> Option<&T> {
        let position = *self.positions.get(id)?;
        self.entries.get(position).map(|(_, value)| value)
    }
}

/// The reference captions of every image, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct References(ByImage<Vec<String>>);

impl References {
    /// References from `(image, captions)` pairs.
    ///
    /// # Errors
    /// [`Error::DuplicateId`] for an image given twice, [`Error::NoReferences`] for an empty list.
    /// An empty *caption* is allowed.
    pub fn new<I, C, S>(pairs: impl IntoIterator<Item = (I, C)>) -> Result<Self, Error>
    where
        I: Into<String>,
        C: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let images = ByImage::new(pairs.into_iter().map(|(id, captions)| {
            (id.into(), captions.into_iter().map(Into::into).collect::<Vec<String>>())
        }))?;
        match images.entries.iter().find(|(_, captions)| captions.is_empty()) {
            Some((id, _)) => Err(Error::NoReferences { id: id.clone() }),
            None => Ok(Self(images)),
        }
    }

    /// Reads a file: `{image_id: [captions]}`, COCO annotations, JSONL or CSV (see
    /// [`readers`](crate::readers)).
    ///
    /// # Errors
    /// Names the file, the place and the rule that is broken.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::new(readers::references(path)?).map_err(|error| error.in_file(path))
    }

    /// The captions of one image.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&[String]> {
        self.0.get(id).map(Vec::as_slice)
    }

    /// Images and their captions, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[String])> {
        self.0.entries.iter().map(|(id, captions)| (id.as_str(), captions.as_slice()))
    }

    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

/// One predicted caption for every image, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions(ByImage<String>);

impl Predictions {
    /// Predictions from `(image, caption)` pairs.
    ///
    /// # Errors
    /// [`Error::DuplicateId`] for an image given twice. An empty caption is allowed.
    pub fn new<I, S>(pairs: impl IntoIterator<Item = (I, S)>) -> Result<Self, Error>
    where
        I: Into<String>,
        S: Into<String>,
    {
        let pairs = pairs.into_iter().map(|(id, caption)| (id.into(), caption.into()));
        ByImage::new(pairs).map(Self)
    }

    /// Reads a file: `{image_id: caption}`, COCO results, JSONL or CSV (see
    /// [`readers`](crate::readers)).
    ///
    /// # Errors
    /// Names the file, the place and the rule that is broken.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::new(readers::predictions(path)?).map_err(|error| error.in_file(path))
    }

    /// The caption of one image.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }

    /// Images and their captions, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.entries.iter().map(|(id, caption)| (id.as_str(), caption.as_str()))
    }

    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

/// What is scored: images in the order of the references, which can be gone through again and again.
pub(crate) trait Source {
    /// The number of images.
    fn len(&self) -> usize;

    /// The number of images with references that are left out, as they have no prediction.
    fn without_prediction(&self) -> usize;

    /// The images; one that cannot be had is the last.
    fn images(&self) -> impl Iterator<Item = Result<Image<'_>, Error>>;
}

/// Two sides in memory that name the same images.
pub(crate) struct Pairs<'a> {
    references: &'a References,
    predictions: &'a Predictions,
}

impl<'a> Pairs<'a> {
    /// Pairs every image's prediction with its references.
    ///
    /// # Errors
    /// Unless both sides name the same images, and at least one. With `only_predicted` references
    /// may name more.
    pub(crate) fn new(
        references: &'a References,
        predictions: &'a Predictions,
        only_predicted: bool,
    ) -> Result<Self, Error> {
        let mut missing = Unpaired::default();
        for (id, _) in references.iter().filter(|(id, _)| predictions.get(id).is_none()) {
            missing.add(|| Ok(id.to_owned()))?;
        }
        let mut extra = Unpaired::default();
        for (id, _) in predictions.iter().filter(|(id, _)| references.get(id).is_none()) {
            extra.add(|| Ok(id.to_owned()))?;
        }
        check(predictions.len(), &missing, &extra, only_predicted)?;
        Ok(Self { references, predictions })
    }
}

impl Source for Pairs<'_> {
    fn len(&self) -> usize {
        self.predictions.len()
    }

    fn without_prediction(&self) -> usize {
        self.references.len() - self.predictions.len()
    }

    fn images(&self) -> impl Iterator<Item = Result<Image<'_>, Error>> {
        self.references.iter().filter_map(|(id, references)| {
            let prediction = self.predictions.get(id)?;
            Some(Ok(Image {
                id: Cow::Borrowed(id),
                prediction: Cow::Borrowed(prediction),
                references: references.iter().map(|text| Cow::Borrowed(text.as_str())).collect(),
            }))
        })
    }
}

/// Images of one side that the other does not name.
#[derive(Default)]
pub(crate) struct Unpaired {
    count: usize,
    examples: Vec<String>,
}

impl Unpaired {
    /// Counts one, whose identifier is asked for if it is one of the first.
    pub(crate) fn add(&mut self, id: impl FnOnce() -> Result<String, Error>) -> Result<(), Error> {
        self.count += 1;
        if self.examples.len() < 3 {
            self.examples.push(format!("{:?}", id()?));
        }
        Ok(())
    }
}

/// Checks that the two sides of `predictions` images name the same ones, at least one; with
/// `only_predicted`, some may have no prediction.
pub(crate) fn check(
    predictions: usize,
    missing: &Unpaired,
    extra: &Unpaired,
    only_predicted: bool,
) -> Result<(), Error> {
    let examples = |unpaired: &Unpaired| unpaired.examples.join(", ");
    if missing.count > 0 && !only_predicted {
        return Err(Error::MissingPredictions {
            count: missing.count,
            examples: examples(missing),
        });
    }
    if extra.count > 0 {
        return Err(Error::ExtraPredictions { count: extra.count, examples: examples(extra) });
    }
    if predictions == 0 { Err(Error::NoImages) } else { Ok(()) }
}

/// One image to score.
#[derive(Clone, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) prediction: Cow<'a, str>,
    pub(crate) references: Vec<Cow<'a, str>>,
}

impl<'a> Image<'a> {
    /// The image as METEOR scores it.
    pub(crate) fn segment(&self) -> Segment<'_, Cow<'a, str>> {
        Segment { id: &self.id, hypothesis: &self.prediction, references: &self.references }
    }

    /// How many of the captions hold a character at which METEOR's line protocol would end the line.
    pub(crate) fn line_separators(&self) -> usize {
        let captions = self.references.iter().chain([&self.prediction]);
        captions.filter(|caption| caption.contains(['\n', '\r'])).count()
    }
}
