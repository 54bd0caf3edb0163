//! Results, and the two files for them.

use std::borrow::Cow;
use std::io::{self, Write};
use std::str::FromStr;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::clip_score::ClipProtocol;
use crate::diversity::Diversity;
use crate::interner::Strings;
use crate::names::{UnknownName, parse};
use crate::resampling::{self, Interval, Resampling};
use crate::scores::{Scores, Statistics, corpus};
use crate::tokenizer::Tokenizer;

/// Protocol of the scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Protocol {
    /// The program that gives the same numbers.
    pub equivalent: &'static str,
    /// The tokenizer of the captions.
    pub tokenizer: Tokenizer,
    /// Captions in which a line separator is read as white space, while in pycocoevalcap it would
    /// pair the captions after it with the wrong images: with the PTB tokenizer CR, VT, FF, U+2028
    /// and U+2029, without tokenizer (for METEOR's sake) LF and CR.
    pub captions_with_line_separators: usize,
    /// Images with references that were left out; only where
    /// [`Options::subset`](crate::Options::subset) leaves images out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references_left_out: Option<usize>,
    /// Images of CIDEr's document frequencies, where stored ones were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cider_images: Option<usize>,
    /// CLIP, weight and prompt of CLIPScore, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipProtocol>,
}

/// The scores of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageScores<'a> {
    /// The image.
    pub id: &'a str,
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
    /// The scores of the corpus. Those of BLEU and METEOR are not means over images.
    pub corpus: Scores,
    /// Diversity of the predictions, where it was asked for.
    pub diversity: Option<Diversity>,
    /// Bootstrap intervals of the corpus scores, once asked for.
    pub confidence: Option<Confidence>,
}

/// The result of [`evaluate`](crate::evaluate).
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The scores of the corpus.
    pub summary: Summary,
    pub(crate) ids: Strings,
    pub(crate) statistics: Vec<Statistics>,
}

impl Evaluation {
    /// Returns the scores of every image, in the order of the references.
    #[must_use]
    pub fn per_image(&self) -> impl ExactSizeIterator<Item = ImageScores<'_>> {
        let images = self.ids.iter().zip(&self.statistics);
        images.map(|(id, image)| ImageScores { id, scores: corpus(&[image]) })
    }

    /// Computes bootstrap intervals of the corpus scores.
    pub fn add_confidence(&mut self, resampling: Resampling) {
        let intervals = resampling::bootstrap(&self.summary.corpus, &self.statistics, resampling);
        self.summary.confidence = Some(Confidence { resampling, intervals });
    }

    /// Writes all scores as JSON, every number so that it reads back as the same double.
    ///
    /// # Errors
    /// Fails if `out` does.
    pub fn write_json(&self, out: &mut dyn Write, keys: KeyStyle) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, &Report { evaluation: self, keys })?;
        out.write_all(b"\n")
    }

    /// Writes the scores of every image as CSV: `image_id`, then a column a score.
    ///
    /// # Errors
    /// Fails if `out` does.
    pub fn write_csv(&self, out: &mut dyn Write, keys: KeyStyle) -> io::Result<()> {
        write!(out, "image_id")?;
        let names = self.summary.corpus.iter().map(|(name, _)| keys.name(name));
        names.into_iter().try_for_each(|name| write!(out, ",{name}"))?;
        writeln!(out)?;
        for image in self.per_image() {
            write!(out, "{}", quoted(image.id))?;
            image.scores.iter().try_for_each(|(_, score)| write!(out, ",{score}"))?;
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Names of scores, and the layout of the JSON file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyStyle {
    /// `BLEU-1`; `{"protocol": …, "n": …, "corpus": {name: score}, "per_image": {image: {name:
    /// score}}}`, and `"diversity"` and `"confidence"` where they were asked for.
    #[default]
    Plain,
    /// `Bleu_1`, as in pycocoevalcap; in place of `corpus` and `per_image` the attributes of its
    /// `COCOEvalCap`: `"eval": {name: score}` and `"evalImgs": [{"image_id": 1, name: score}, …]`.
    Pycocoevalcap,
}

impl KeyStyle {
    /// Returns the key of a score.
    #[must_use]
    pub fn name(self, name: &'static str) -> &'static str {
        match (self, name) {
            (Self::Pycocoevalcap, "BLEU-1") => "Bleu_1",
            (Self::Pycocoevalcap, "BLEU-2") => "Bleu_2",
            (Self::Pycocoevalcap, "BLEU-3") => "Bleu_3",
            (Self::Pycocoevalcap, "BLEU-4") => "Bleu_4",
            _ => name,
        }
    }
}

impl FromStr for KeyStyle {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = [("plain", Self::Plain), ("pycocoevalcap", Self::Pycocoevalcap)];
        parse("key style", name, &known)
    }
}

/// The JSON file of an evaluation.
struct Report<'a> {
    evaluation: &'a Evaluation,
    keys: KeyStyle,
}

impl Serialize for Evaluation {
    /// Serializes as [`KeyStyle::Plain`] describes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Report { evaluation: self, keys: KeyStyle::Plain }.serialize(serializer)
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { evaluation, keys } = self;
        let summary = &evaluation.summary;
        let (corpus, per_image) = match keys {
            KeyStyle::Plain => ("corpus", "per_image"),
            KeyStyle::Pycocoevalcap => ("eval", "evalImgs"),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("protocol", &summary.protocol)?;
        map.serialize_entry("n", &summary.n)?;
        map.serialize_entry(corpus, &Entries(|| named(&summary.corpus, *keys)))?;
        if let Some(diversity) = &summary.diversity {
            map.serialize_entry("diversity", diversity)?;
        }
        if let Some(confidence) = &summary.confidence {
            let Confidence { resampling, intervals } = confidence;
            let confidence = ConfidenceReport {
                level: resampling::LEVEL,
                resamples: resampling.resamples,
                seed: resampling.seed,
                intervals: Entries(|| intervals.iter().map(|i| (keys.name(i.name), i))),
            };
            map.serialize_entry("confidence", &confidence)?;
        }
        let images = || evaluation.per_image();
        match keys {
            KeyStyle::Plain => {
                let images = || images().map(|image| (image.id, image.scores));
                map.serialize_entry(per_image, &Entries(images))?;
            }
            KeyStyle::Pycocoevalcap => {
                let records = List(|| images().map(|image| Record { image, keys: *keys }));
                map.serialize_entry(per_image, &records)?;
            }
        }
        map.end()
    }
}

/// Returns scores with their keys.
fn named(scores: &Scores, keys: KeyStyle) -> impl Iterator<Item = (&'static str, f64)> {
    scores.iter().map(move |(name, score)| (keys.name(name), score))
}

/// An element of `evalImgs`.
struct Record<'a> {
    image: ImageScores<'a>,
    keys: KeyStyle,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let id = self.image.id;
        // An identifier that was an integer is one again.
        match id.parse::<i128>() {
            Ok(number) if number.to_string() == id => map.serialize_entry("image_id", &number)?,
            _ => map.serialize_entry("image_id", id)?,
        }
        named(&self.image.scores, self.keys)
            .try_for_each(|(name, score)| map.serialize_entry(name, &score))?;
        map.end()
    }
}

/// Bootstrap intervals of corpus scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Confidence {
    /// The number of resamples and the seed.
    pub resampling: Resampling,
    /// An interval for each corpus score.
    pub intervals: Vec<Interval>,
}

/// Bootstrap intervals in the JSON file.
#[derive(Serialize)]
struct ConfidenceReport<I> {
    level: f64,
    resamples: usize,
    seed: u64,
    intervals: I,
}

/// A map of the entries that a function gives.
struct Entries<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = (K, V)>, K: Serialize, V: Serialize> Serialize
    for Entries<F>
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// A list of the elements that a function gives.
struct List<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// Quotes a CSV cell where RFC 4180 asks for it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}
