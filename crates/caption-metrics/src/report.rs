//! Results, and the two files they are written to.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Write};

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use crate::Error;
use crate::options::Tokenizer;
use crate::scorer::Statistics;
use crate::significance::{self, Interval, Resampling};

/// Scores by name, in the order BLEU-1..4, METEOR, `ROUGE_L`, `CIDEr`; those not asked for are left
/// out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(Vec<(&'static str, f64)>);

impl Scores {
    pub(crate) fn push(&mut self, name: &'static str, score: f64) {
        self.0.push((name, score));
    }

    /// The score of that name (`"BLEU-1"`, `"METEOR"`, `"ROUGE_L"`, `"CIDEr"`).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, score)| *score)
    }

    /// Names and scores, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, f64)> {
        self.0.iter().copied()
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Protocol of the scores.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Protocol {
    /// What else gives these numbers.
    pub equivalent: &'static str,
    /// How captions became words.
    pub tokenizer: Tokenizer,
    /// Captions in which a line separator is read as white space, while in pycocoevalcap it would
    /// pair the captions after it with the wrong images: with the PTB tokenizer CR, VT, FF, U+2028
    /// and U+2029, without tokenizer (for METEOR's sake) LF and CR.
    pub captions_with_line_separators: usize,
    /// Images with references that were left out, as they have no prediction; only where
    /// [`Options::only_predicted`](crate::Options::only_predicted) allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_without_prediction: Option<usize>,
}

/// The scores of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageScores {
    /// The image.
    pub id: String,
    /// Its scores.
    pub scores: Scores,
}

/// The scores of a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Protocol of the scores.
    pub protocol: Protocol,
    /// The number of images.
    pub n: usize,
    /// The scores of the corpus. Only those of ROUGE-L and CIDEr are means over images.
    pub corpus: Scores,
    /// Bootstrap intervals of the corpus scores, once asked for.
    pub confidence: Option<Confidence>,
}

/// The result of [`evaluate`](crate::evaluate).
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The scores of the corpus.
    pub summary: Summary,
    /// The scores of every image, in the order of the references.
    pub per_image: Vec<ImageScores>,
    /// What corpus scores of any selection of images are computed from.
    pub(crate) statistics: Vec<Statistics>,
}

/// Bootstrap intervals of corpus scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Confidence {
    /// How they were computed.
    pub resampling: Resampling,
    /// One for each corpus score.
    pub intervals: Vec<Interval>,
}

impl Serialize for Confidence {
    /// `{"level": 0.95, "resamples": …, "seed": …, "intervals": {name: {"low": …, "high": …}}}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("level", &significance::LEVEL)?;
        map.serialize_entry("resamples", &self.resampling.resamples)?;
        map.serialize_entry("seed", &self.resampling.seed)?;
        let intervals: Vec<_> = self.intervals.iter().map(|i| (i.name, i)).collect();
        map.serialize_entry("intervals", &Pairs(&intervals))?;
        map.end()
    }
}

/// Pairs as a map, in order.
struct Pairs<'a, K, V>(&'a [(K, V)]);

impl<K: Serialize, V: Serialize> Serialize for Pairs<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Scores of images as a map; an image that cannot be had is an error.
struct PerImage<I>(Cell<Option<I>>);

impl<I: Iterator<Item = Result<ImageScores, Error>>> Serialize for PerImage<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for image in self.0.take().into_iter().flatten() {
            let image = image.map_err(S::Error::custom)?;
            map.serialize_entry(&image.id, &image.scores)?;
        }
        map.end()
    }
}

/// Serializes `{"protocol": …, "n": …, "corpus": {name: score}, "per_image": {image: {name: score}}}`, and
/// `"confidence"` where it was asked for.
fn serialize<S: Serializer>(
    serializer: S,
    summary: &Summary,
    images: impl Iterator<Item = Result<ImageScores, Error>>,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("protocol", &summary.protocol)?;
    map.serialize_entry("n", &summary.n)?;
    map.serialize_entry("corpus", &summary.corpus)?;
    if let Some(confidence) = &summary.confidence {
        map.serialize_entry("confidence", confidence)?;
    }
    map.serialize_entry("per_image", &PerImage(Cell::new(Some(images))))?;
    map.end()
}

impl Serialize for Evaluation {
    /// `{"protocol": …, "n": …, "corpus": {name: score}, "per_image": {image: {name: score}}}`, and
    /// `"confidence"` where it was asked for.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(serializer, &self.summary, self.per_image.iter().cloned().map(Ok))
    }
}

impl Evaluation {
    /// Computes bootstrap intervals of the corpus scores.
    pub fn add_confidence(&mut self, resampling: Resampling) {
        self.summary.add_confidence(&self.statistics, resampling);
    }

    /// The result as JSON, every number so that it reads back as the same double.
    ///
    /// # Errors
    /// None that this type can cause; the signature is `serde_json`'s.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// The scores of every image as CSV: `image_id`, then a column a score.
    #[must_use]
    pub fn per_image_csv(&self) -> String {
        let mut csv = csv_header(&self.summary);
        for image in &self.per_image {
            csv_row(image, &mut csv);
        }
        csv
    }
}

impl Summary {
    /// Computes bootstrap intervals from what the images' scores are made of.
    pub(crate) fn add_confidence(&mut self, statistics: &[Statistics], resampling: Resampling) {
        let intervals = significance::bootstrap(&self.corpus, statistics, resampling);
        self.confidence = Some(Confidence { resampling, intervals });
    }
}

/// Writes what [`Evaluation::to_json`] gives.
pub(crate) fn write_json(
    out: &mut dyn Write,
    summary: &Summary,
    images: impl Iterator<Item = Result<ImageScores, Error>>,
) -> io::Result<()> {
    serialize(&mut serde_json::Serializer::pretty(&mut *out), summary, images)?;
    out.write_all(b"\n")
}

/// Writes what [`Evaluation::per_image_csv`] gives.
pub(crate) fn write_csv(
    out: &mut dyn Write,
    summary: &Summary,
    images: impl Iterator<Item = Result<ImageScores, Error>>,
) -> io::Result<()> {
    let mut text = csv_header(summary);
    for image in images {
        out.write_all(text.as_bytes())?;
        text.clear();
        csv_row(&image.map_err(io::Error::other)?, &mut text);
    }
    out.write_all(text.as_bytes())
}

fn csv_header(summary: &Summary) -> String {
    let names = summary.corpus.iter().map(|(name, _)| name);
    std::iter::once("image_id").chain(names).collect::<Vec<&str>>().join(",") + "\n"
}

fn csv_row(image: &ImageScores, csv: &mut String) {
    csv.push_str(&quoted(&image.id));
    for (_, score) in image.scores.iter() {
        csv.push(',');
        csv.push_str(&score.to_string());
    }
    csv.push('\n');
}

/// A CSV cell, quoted where RFC 4180 asks for it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}
