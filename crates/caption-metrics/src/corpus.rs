//! The two sides of an evaluation: reference captions and predicted captions, each by image.
//!
//! Image identifiers are strings; an integer in a file is its decimal string, so that `7` and `"7"`
//! name the same image. Both sides keep the order in which images were given.

use std::path::Path;

use crate::captions::{Builder, Captions};
use crate::readers::{self, Side};
use crate::subset::Subset;
use crate::{Error, meteor::Segment};

/// The reference captions of every image, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct References(pub(crate) Captions);

impl References {
    /// Collects `(image, captions)` pairs.
    ///
    /// # Errors
    /// [`Error::DuplicateId`] for an image given twice, [`Error::NoReferences`] for an empty list.
    /// An empty *caption* is allowed.
    pub fn new<I, C, S>(pairs: impl IntoIterator<Item = (I, C)>) -> Result<Self, Error>
    where
        I: AsRef<str>,
        C: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut builder = Builder::default();
        pairs.into_iter().try_for_each(|(id, captions)| builder.all(id.as_ref(), captions))?;
        builder.finish().map(Self)
    }

    /// Reads a file: `{image_id: [captions]}`, COCO annotations, JSONL or CSV (see
    /// [`readers`](crate::readers)).
    ///
    /// # Errors
    /// Names the file, the place and the rule that is broken.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        readers::read(path.as_ref(), Side::References).map(Self)
    }

    /// Returns the captions of one image.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Vec<String>> {
        self.0.find(id).map(|image| self.0.of(image as usize).collect())
    }

    /// Returns images and their captions, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Vec<String>)> {
        self.0.ids().iter().enumerate().map(|(image, id)| (id, self.0.of(image).collect()))
    }

    /// Returns the number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ids().len()
    }

    /// Returns whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One predicted caption for every image, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions(pub(crate) Captions);

impl Predictions {
    /// Collects `(image, caption)` pairs.
    ///
    /// # Errors
    /// [`Error::DuplicateId`] for an image given twice. An empty caption is allowed.
    pub fn new<I, S>(pairs: impl IntoIterator<Item = (I, S)>) -> Result<Self, Error>
    where
        I: AsRef<str>,
        S: AsRef<str>,
    {
        let mut builder = Builder::default();
        pairs.into_iter().try_for_each(|(id, caption)| builder.all(id.as_ref(), [caption]))?;
        builder.finish().map(Self)
    }

    /// Reads a file: `{image_id: caption}`, COCO results, JSONL or CSV (see
    /// [`readers`](crate::readers)).
    ///
    /// # Errors
    /// Names the file, the place and the rule that is broken.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        readers::read(path.as_ref(), Side::Predictions).map(Self)
    }

    /// Returns the number of captions that are empty or white space.
    #[must_use]
    pub fn empty(&self) -> usize {
        self.0.empty()
    }

    /// Returns the caption of one image.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<String> {
        self.0.of(self.0.find(id)? as usize).next()
    }

    /// Returns images and their captions, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, String)> {
        self.0.ids().iter().enumerate().map(|(image, id)| (id, self.0.of(image).collect()))
    }

    /// Returns the number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ids().len()
    }

    /// Returns whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The images that are scored, in the order of the references.
pub(crate) struct Pairs<'a> {
    references: &'a Captions,
    predictions: &'a Captions,
    /// The number of each image among the references and among the predictions.
    images: Vec<(u32, u32)>,
}

impl<'a> Pairs<'a> {
    /// Pairs every image's prediction with its references.
    ///
    /// # Errors
    /// Unless both sides name the images of the subset, and at least one.
    pub(crate) fn new(
        references: &'a References,
        predictions: &'a Predictions,
        subset: &Subset,
    ) -> Result<Self, Error> {
        let (references, predictions) = (&references.0, &predictions.0);
        if let Subset::Images(images) = subset {
            let unknown = || images.iter().filter(|id| references.find(id).is_none());
            if let Some((count, examples)) = examples(unknown) {
                return Err(Error::UnknownImages { count, examples });
            }
        }
        if let (Some(reference), Some(prediction)) =
            (references.ids().iter().next(), predictions.ids().iter().next())
            && !predictions.ids().iter().any(|id| references.find(id).is_some())
        {
            let [reference, prediction] = [reference, prediction].map(ToString::to_string);
            return Err(Error::NoCommonImages { reference, prediction });
        }
        let without_prediction = || {
            let ids = references.ids().iter().filter(|id| subset.needs(id));
            ids.filter(|id| predictions.find(id).is_none())
        };
        if let Some((count, examples)) = examples(without_prediction) {
            return Err(Error::MissingPredictions { count, examples });
        }
        let without_references = || {
            let ids = predictions.ids().iter().filter(|id| subset.allows(id));
            ids.filter(|id| references.find(id).is_none())
        };
        if let Some((count, examples)) = examples(without_references) {
            return Err(Error::ExtraPredictions { count, examples });
        }
        let scored = (0..).zip(references.ids().iter()).filter(|(_, id)| subset.allows(id));
        let paired = |(image, id)| Some((image, predictions.find(id)?));
        let images: Vec<_> = scored.filter_map(paired).collect();
        if images.is_empty() {
            return Err(Error::NoImages);
        }
        Ok(Self { references, predictions, images })
    }

    /// Returns the number of images.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// Returns the number of images with references that are left out.
    pub(crate) fn left_out(&self) -> usize {
        self.references.ids().len() - self.len()
    }

    /// Returns image `index` of those that are scored.
    pub(crate) fn image(&self, index: usize) -> Image<'a> {
        let (references, prediction) = self.images[index];
        Image {
            id: self.references.ids().get(references as usize),
            prediction: self.predictions.of(prediction as usize).collect(),
            references: self.references.of(references as usize).collect(),
        }
    }
}

/// Returns the number of identifiers and the first few of them; `None` if there is none.
fn examples<S: AsRef<str>, I: Iterator<Item = S>>(ids: impl Fn() -> I) -> Option<(usize, String)> {
    let count = ids().count();
    let first: Vec<String> = ids().take(3).map(|id| format!("{:?}", id.as_ref())).collect();
    (count > 0).then(|| (count, first.join(", ")))
}

/// An image to score.
#[derive(Clone, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) id: &'a str,
    pub(crate) prediction: String,
    pub(crate) references: Vec<String>,
}

impl Image<'_> {
    /// Returns the image as METEOR scores it.
    pub(crate) fn segment(&self) -> Segment<'_, String> {
        Segment { id: self.id, hypothesis: &self.prediction, references: &self.references }
    }

    /// Counts the captions with a character at which METEOR's line protocol would end the line.
    pub(crate) fn line_separators(&self) -> usize {
        let captions = self.references.iter().chain([&self.prediction]);
        captions.filter(|caption| caption.contains(['\n', '\r'])).count()
    }
}
